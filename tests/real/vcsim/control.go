package main

// The tests' own way in, past the adapter: it reads the inventory, so that what the adapter says can be judged, and
// plays the troubles of a real site. It listens on a loopback address without TLS or login, and must never do else.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

type machine struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Power     string            `json:"power"`
	Template  bool              `json:"template"`
	Folder    string            `json:"folder"`
	Networks  []string          `json:"networks"`
	Connected []bool            `json:"connected"`
	Extra     map[string]string `json:"extra"`
	Snapshots []string          `json:"snapshots"`
}

// Answers a request of a test, or says what is wrong.
type answer func(query func(string) string) (any, error)

// Where it listens.
func control(model *simulator.Model, server *simulator.Server) string {
	var cut, isFull atomic.Value
	cut.Store("")
	isFull.Store(false)
	inner := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		method := cut.Load().(string)
		if method != "" && bytes.Contains(body, []byte("<"+method+" ")) && cut.CompareAndSwap(method, "") {
			half(inner, w, r)
			return
		}
		if isFull.Load().(bool) && bytes.Contains(body, []byte("<CloneVM_Task ")) {
			noRoom(w)
			return
		}
		inner.ServeHTTP(w, r)
	})
	ctx := context.Background()
	client, err := govmomi.NewClient(ctx, server.URL, true)
	check(err)
	web := rest.NewClient(client.Client)
	check(web.Login(ctx, server.URL.User))
	tagging := tags.NewManager(web)
	vm := func(id string) *object.VirtualMachine {
		return object.NewVirtualMachine(client.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: id})
	}
	number := func(text string) int { n, _ := strconv.Atoi(text); return n }
	routes := map[string]answer{
		"/machines": func(func(string) string) (any, error) { return machines(), nil },
		// Somebody deletes a machine behind our back.
		"/destroy": func(query func(string) string) (any, error) {
			object := vm(query("machine"))
			if task, err := object.PowerOff(ctx); err == nil {
				_ = task.Wait(ctx)
			}
			task, err := object.Destroy(ctx)
			if err != nil {
				return nil, err
			}
			return nil, task.Wait(ctx)
		},
		// vCenter's own schedule takes a snapshot.
		"/snapshot": func(query func(string) string) (any, error) {
			task, err := vm(query("machine")).CreateSnapshot(ctx, query("name"), "nightly", false, false)
			if err != nil {
				return nil, err
			}
			return nil, task.Wait(ctx)
		},
		// An administrator ends all sessions but his own.
		"/sessions/end": func(func(string) string) (any, error) {
			var manager mo.SessionManager
			reference := *client.ServiceContent.SessionManager
			if err := property.DefaultCollector(client.Client).RetrieveOne(ctx, reference, nil, &manager); err != nil {
				return nil, err
			}
			ended := 0
			for _, session := range manager.SessionList {
				if session.Key != manager.CurrentSession.Key {
					request := types.TerminateSession{This: reference, SessionId: []string{session.Key}}
					if _, err := methods.TerminateSession(ctx, client, &request); err != nil {
						return nil, err
					}
					ended++
				}
			}
			return ended, nil
		},
		// A method takes its time.
		"/delay": func(query func(string) string) (any, error) {
			model.DelayConfig.MethodDelay = map[string]int{query("method"): number(query("ms"))}
			return nil, nil
		},
		// The next answer to a method breaks off in the middle.
		"/cut": func(query func(string) string) (any, error) {
			cut.Store(query("method"))
			return nil, nil
		},
		// So much is free on every datastore.
		"/free": func(query func(string) string) (any, error) {
			for _, entity := range simulator.Map.All("Datastore") {
				store := simulator.Map.Get(entity.Reference()).(*simulator.Datastore)
				store.Summary.FreeSpace = int64(number(query("bytes")))
			}
			return nil, nil
		},
		// Clones find no room, or do again.
		"/full": func(query func(string) string) (any, error) {
			isFull.Store(query("full") == "true")
			return nil, nil
		},
		// A tag of this name, in a category of its own.
		"/tag": func(query func(string) string) (any, error) {
			category, err := tagging.CreateCategory(ctx, &tags.Category{Name: "landfall", Cardinality: "SINGLE", AssociableTypes: []string{"VirtualMachine"}})
			if err != nil {
				return nil, err
			}
			return tagging.CreateTag(ctx, &tags.Tag{Name: query("name"), CategoryID: category})
		},
		// What has it.
		"/tagged": func(query func(string) string) (any, error) {
			objects, err := tagging.ListAttachedObjects(ctx, query("name"))
			found := []string{}
			for _, object := range objects {
				found = append(found, object.Reference().Value)
			}
			return found, err
		},
		// vCenter loses or finds the host of a machine.
		"/connection": func(query func(string) string) (any, error) {
			state := types.VirtualMachineConnectionState(query("state"))
			found := simulator.Map.Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: query("machine")})
			simulator.Map.Update(found, []types.PropertyChange{{Name: "runtime.connectionState", Val: state}})
			return nil, nil
		},
	}
	mux := http.NewServeMux()
	for path, route := range routes {
		route := route
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			said, err := route(r.URL.Query().Get)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("content-type", "application/json")
			_ = json.NewEncoder(w).Encode(said)
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { check(http.Serve(listener, mux)) }()
	return fmt.Sprintf("http://%s", listener.Addr())
}

// A task that ends as a clone does for which there is no room.
func noRoom(w http.ResponseWriter) {
	task := simulator.CreateTask(simulator.Map.Any("VirtualMachine"), "cloneVm", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		return nil, &types.NoDiskSpace{Datastore: "LocalDS_0"}
	})
	fmt.Fprintf(w, `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><CloneVM_TaskResponse xmlns="urn:vim25">`+
		`<returnval type="Task">%s</returnval></CloneVM_TaskResponse></e:Body></e:Envelope>`, task.Run().Value)
}

// Answers, and breaks off in the middle of it. What was asked for has happened.
func half(inner http.Handler, w http.ResponseWriter, r *http.Request) {
	whole := httptest.NewRecorder()
	inner.ServeHTTP(whole, r)
	connection, buffer, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	body := whole.Body.Bytes()
	fmt.Fprintf(buffer, "HTTP/1.1 %d OK\r\ncontent-type: text/xml\r\ncontent-length: %d\r\n\r\n", whole.Code, len(body))
	_, _ = buffer.Write(body[:len(body)/2])
	_ = buffer.Flush()
}

func machines() []machine {
	var found []machine
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := simulator.Map.Get(entity.Reference()).(*simulator.VirtualMachine)
		simulator.Map.WithLock(vm, func() {
			one := machine{ID: vm.Self.Value, Name: vm.Name, Power: string(vm.Runtime.PowerState), Template: vm.Config.Template}
			one.Folder = simulator.Map.Get(*vm.Parent).(mo.Entity).Entity().Name
			one.Extra = map[string]string{}
			for _, option := range vm.Config.ExtraConfig {
				value := option.GetOptionValue()
				one.Extra[value.Key] = fmt.Sprint(value.Value)
			}
			for _, device := range vm.Config.Hardware.Device {
				if card, ok := device.(types.BaseVirtualEthernetCard); ok {
					card := card.GetVirtualEthernetCard()
					one.Networks = append(one.Networks, backing(card.Backing))
					one.Connected = append(one.Connected, card.Connectable.StartConnected)
				}
			}
			if vm.Snapshot != nil {
				one.Snapshots = names(vm.Snapshot.RootSnapshotList)
			}
			found = append(found, one)
		})
	}
	return found
}

func backing(backing types.BaseVirtualDeviceBackingInfo) string {
	switch network := backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		return network.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		return network.Port.PortgroupKey
	}
	return ""
}

func names(tree []types.VirtualMachineSnapshotTree) []string {
	var all []string
	for _, snapshot := range tree {
		all = append(all, snapshot.Name)
		all = append(all, names(snapshot.ChildSnapshotList)...)
	}
	return all
}
