// A vCenter for tests: the simulator of govmomi, with a certificate of its own, one account, a folder for what
// is recovered, and two networks that real sites have and the simulator's model lacks: one that reaches nothing, and one
// for production.
//
// control.go has what tests ask of it beyond that.
//
//	vcsim ADDRESS USER PASSWORD-FILE CA-FILE READY-FILE
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

func main() {
	address, user, passwordFile, caFile, readyFile := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	password, err := os.ReadFile(passwordFile)
	check(err)
	model := simulator.VPX()
	defer model.Remove()
	check(model.Create())
	// The simulator numbers what it has in order: so the bubble is network-68, and production network-69.
	network("bubble", "vSwitch9", nil)
	network("production", "vSwitch1", []string{"key-vim.host.PhysicalNic-vmnic1"})
	folder("recovered")
	certificate, authority := certificates()
	check(os.WriteFile(caFile, authority, 0o644))
	model.Service.Listen = &url.URL{Host: address, User: url.UserPassword(user, strings.TrimSpace(string(password)))}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	model.Service.RegisterEndpoints = true
	server := model.Service.NewServer()
	defer server.Close()
	check(os.WriteFile(readyFile+".control", []byte(control(model, server)), 0o600))
	check(os.WriteFile(readyFile+".new", []byte("https://"+server.URL.Host), 0o644))
	check(os.Rename(readyFile+".new", readyFile))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
}

// A folder beside the machines.
func folder(name string) {
	center := simulator.Map.Any("Datacenter").(*simulator.Datacenter)
	machines := simulator.Map.Get(center.VmFolder).(*simulator.Folder)
	machines.CreateFolder(&simulator.Context{Map: simulator.Map}, &types.CreateFolder{This: machines.Self, Name: name})
}

// A standard port group on a virtual switch of its own, on every host.
func network(name, vswitch string, uplinks []string) {
	group := types.HostPortGroupSpec{Name: name, VswitchName: vswitch}
	center := simulator.Map.Any("Datacenter").(*simulator.Datacenter)
	folder := simulator.Map.Get(center.NetworkFolder).(*simulator.Folder)
	var hosts []types.ManagedObjectReference
	for i, entity := range simulator.Map.All("HostSystem") {
		host := simulator.Map.Get(entity.Reference()).(*simulator.HostSystem)
		hosts = append(hosts, host.Self)
		config := host.Config.Network
		config.Vswitch = append(config.Vswitch, types.HostVirtualSwitch{Name: vswitch, Pnic: uplinks})
		config.Portgroup = append(config.Portgroup, types.HostPortGroup{Spec: group})
		if i == 0 {
			system := simulator.Map.Get(*host.ConfigManager.NetworkSystem).(*simulator.HostNetworkSystem)
			system.AddVirtualSwitch(&types.AddVirtualSwitch{VswitchName: vswitch})
			system.AddPortGroup(&simulator.Context{Map: simulator.Map}, &types.AddPortGroup{Portgrp: group})
		}
	}
	found := simulator.Map.FindByName(name, folder.ChildEntity)
	simulator.Map.Update(found, []types.PropertyChange{{Name: "host", Val: hosts}})
}

func certificates() (tls.Certificate, []byte) {
	make := func(serial int64, name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(err)
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
		template.Subject.CommonName = name
		if parent == nil {
			parent, signer = template, key
			template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		} else {
			template.IPAddresses = []net.IP{net.ParseIP("127.0.0.1")}
			template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		check(err)
		return der, template, key
	}
	authority, parent, signer := make(1, "vcsim authority", nil, nil)
	der, _, key := make(2, "vcsim", parent, signer)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority})
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
