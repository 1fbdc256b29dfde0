//! Commands that only look, and the shape of the project itself.

use std::fs;
use std::path::Path;

use crate::harness::documents::{Inventory, plan};
use crate::harness::world::World;

#[test]
fn c01_the_project_is_laid_out_as_the_design_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    for name in ["Cargo.toml", "host", "sdk", "plugins", "wit", "tests"] {
        assert!(root.join(name).exists(), "{name} is missing");
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in [
        "wasmtime",
        "wasmtime-wasi",
        "tokio",
        "serde",
        "serde_json",
        "notify",
        "tracing",
    ] {
        assert!(
            manifest.lines().any(|line| line.starts_with(&format!("{name} ="))),
            "{name} is not used"
        );
    }
}

/// What adapters exist for, elsewhere.
const PLATFORMS: [&str; 11] = [
    "libvirt", "qemu", "kvm", "vsphere", "vcenter", "esxi", "vmware", "hyperv", "proxmox", "azure", "xen",
];

#[test]
fn c03_the_host_names_no_hypervisor() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository")
        .join("host");
    let mut waiting = vec![host.clone()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            // The lab is a hypervisor of its own.
            if path.is_dir() && path != host.join("lab") {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap().to_lowercase();
                let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
                let named = words.find(|word| PLATFORMS.contains(word));
                assert_eq!(named, None, "{} names a platform", path.display());
            }
        }
    }
}

#[test]
fn a_doctor_finds_a_healthy_installation_healthy_and_names_what_is_not() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.cli(&["doctor"]).code(0);
    world.lab.kill();
    let ill = world.cli(&["doctor"]);
    assert_ne!(ill.code, 0, "{ill}");
    assert!(ill.out.contains("north") || ill.err.contains("north"), "{ill}");
}

#[test]
fn lists_show_what_there_is() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    for (arguments, words) in [
        (&["site", "list"][..], &["north", "south", "lab"][..]),
        (&["site", "machines", "north"], &["vm-db", "on", "db"]),
        (&["site", "networks", "south"], &["lan", "bubble"]),
        (&["item", "list"], &["db", "protected"]),
        (&["plan", "list"], &["hr"]),
        (&["plan", "show", "hr"], &["tier-db"]),
        (&["job", "list"], &["protect", "succeeded"]),
        (&["plugin", "list"], &["webhook", "runbook", "serving"]),
    ] {
        let shown = world.cli(arguments).code(0);
        for word in words {
            assert!(shown.out.contains(word), "{word} is not in {shown}");
        }
    }
    let job: serde_json::Value = world.cli(&["job", "list", "-o", "json"]).code(0).json();
    let id = job.pointer("/0/id").and_then(|id| id.as_str()).expect("a job");
    let graph = world.cli(&["job", "graph", id]).code(0);
    assert!(graph.out.contains("seed/db"), "{graph}");
}
