//! Who is let in: TLS with certificates that one side does not know, and a login that nobody can give. Each is said with
//! what to look at; with the right certificates the machines are listed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::guest::{self, Image};
use super::host::{Access, Landfall, configure, text};
use super::packages::Kernel;
use super::site::{Site, free_port};
use super::story::{PORTS, step};
use super::tell::print;

/// An authority, with what it vouches for.
struct Authority(PathBuf);

impl Authority {
    fn new(directory: &Path, name: &str) -> Result<Self> {
        let place = directory.join(name);
        fs::create_dir_all(&place)?;
        let authority = Self(place);
        openssl(
            &authority.0,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=authority",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
                "-addext",
                "keyUsage=critical,keyCertSign",
            ],
        )?;
        authority.sign("server", "serverAuth")?;
        authority.sign("client", "clientAuth")?;
        Ok(authority)
    }

    fn sign(&self, name: &str, purpose: &str) -> Result<()> {
        let more = format!(
            "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage={purpose}\n\
             subjectAltName=IP:127.0.0.1\n"
        );
        fs::write(self.0.join("more"), more)?;
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        openssl(
            &self.0,
            &[
                "req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out", &request,
            ],
        )?;
        openssl(
            &self.0,
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                "more",
                "-out",
                &certificate,
            ],
        )?;
        fs::set_permissions(self.0.join(key), fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Client certificate and key, as an endpoint names them.
    fn client(&self) -> String {
        format!(
            ", cert = {:?}, key = {:?}",
            self.file("client.pem"),
            self.file("client.key")
        )
    }
}

fn openssl(directory: &Path, arguments: &[&str]) -> Result<()> {
    let done = Command::new("openssl").args(arguments).current_dir(directory).output();
    let done = done.context("cannot run openssl")?;
    let why = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.success(), "openssl {}: {why}", arguments.join(" "));
    Ok(())
}

pub(super) fn play(program: &Path, plugins: &Path, directory: &Path, kernel: &Kernel) -> Result<()> {
    step("A site behind TLS, and one that wants a login");
    let (known, other) = (Authority::new(directory, "known")?, Authority::new(directory, "other")?);
    let port = free_port()?;
    let site = directory.join("tls");
    fs::create_dir_all(&site)?;
    for name in ["ca.pem", "server.pem", "server.key"] {
        fs::copy(known.file(name), site.join(name))?;
    }
    let path = |name: &str| format!("{:?}", site.join(name).display().to_string());
    let lines = format!(
        "listen_tls = 1\ntls_port = \"{port}\"\nauth_tls = \"none\"\nauth_tcp = \"none\"\nca_file = {}\ncert_file = {}\n\
         key_file = {}\n",
        path("ca.pem"),
        path("server.pem"),
        path("server.key")
    );
    let tls = Site::up_with(directory, "tls", &lines)?;
    let login = Site::up_with(directory, "login", "listen_tls = 0\nauth_tcp = \"sasl\"\n")?;
    let image: Image = guest::image(directory, kernel)?;
    tls.guest(&image, "db", 0)?;
    let at = |name: &str, ca: &Authority, client: String| Access {
        libvirt: format!("{{ tls = \"127.0.0.1:{port}\", ca = {:?}{client} }}", ca.file("ca.pem")),
        tls: true,
        ..Access::to(name, &tls, PORTS[0])
    };
    let sites = [
        at("right", &known, known.client()),
        at("wrong-authority", &other, known.client()),
        at("no-certificate", &known, String::new()),
        at("wrong-certificate", &known, other.client()),
        Access {
            libvirt: format!("{{ tcp = \"127.0.0.1:{port}\" }}"),
            ..Access::to("no-tls", &tls, PORTS[0])
        },
        Access::to("login", &login, PORTS[0]),
    ];
    let own = directory.join("doors");
    fs::create_dir_all(&own)?;
    configure(&own, plugins, &sites, &[])?;
    let landfall = Landfall::start(program, &own)?;
    let machines = landfall.json(&["site", "machines", "right"])?;
    let names: Vec<&str> = machines
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| text(one, "name"))
        .collect();
    ensure!(names == ["db"], "{names:?}");
    print("right: its machines are listed over TLS")?;
    let list = landfall.json(&["site", "list"])?;
    for (name, code, cure) in [
        ("wrong-authority", "LF0476", "ca = "),
        ("no-certificate", "access-denied", "`cert` and `key` of the endpoint"),
        ("wrong-certificate", "access-denied", "`ca_file`"),
        ("no-tls", "unreachable", "see whether its daemon runs"),
        ("login", "authentication", "use TLS with a client certificate"),
    ] {
        let said = said(&list, name).with_context(|| format!("site {name} is taken"))?;
        ensure!(said.contains(code) && said.contains(cure), "{name}: {said}");
        print(&format!("{name}: {said}"))?;
    }
    Ok(())
}

/// What the list of sites says of one.
fn said<'v>(list: &'v Value, name: &str) -> Option<&'v str> {
    let found = list.as_array()?.iter().find(|one| text(one, "name") == Some(name))?;
    text(found, "error")
}
