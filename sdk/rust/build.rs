//! Turns the WIT contract into what the crate includes: one `generate!` call, and one component-type section for each
//! set of exports that a plugin may choose.
//!
//! A single world holds everything, so that all plugin kinds share one set of Rust types. `generate!` can only export
//! a whole world, though, so the export macros pick the interfaces they want and add the section for exactly those.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use wit_component::StringEncoding;
use wit_parser::Resolve;

/// The worlds of the contract, and the runbook's with its optional exports. `everything` is only for the bindings.
const WORLDS: &str = "
package landfall:sdk;

world everything {
    include landfall:plugin/runbook@VERSION;
    include landfall:plugin/hypervisor-adapter@VERSION;
    include landfall:plugin/recovery-point-policy@VERSION;
    export landfall:plugin/runbook-probe@VERSION;
    export landfall:plugin/runbook-undo@VERSION;
    export landfall:plugin/guest-exec@VERSION;
    export landfall:plugin/takeover@VERSION;
}
world runbook { include landfall:plugin/runbook@VERSION; }
world runbook-probe {
    include landfall:plugin/runbook@VERSION;
    export landfall:plugin/runbook-probe@VERSION;
}
world runbook-undo {
    include landfall:plugin/runbook@VERSION;
    export landfall:plugin/runbook-undo@VERSION;
}
world runbook-probe-undo {
    include landfall:plugin/runbook@VERSION;
    export landfall:plugin/runbook-probe@VERSION;
    export landfall:plugin/runbook-undo@VERSION;
}
world adapter { include landfall:plugin/hypervisor-adapter@VERSION; }
world adapter-guest-exec {
    include landfall:plugin/hypervisor-adapter@VERSION;
    export landfall:plugin/guest-exec@VERSION;
}
world adapter-takeover {
    include landfall:plugin/hypervisor-adapter@VERSION;
    export landfall:plugin/takeover@VERSION;
}
world adapter-guest-exec-takeover {
    include landfall:plugin/hypervisor-adapter@VERSION;
    export landfall:plugin/guest-exec@VERSION;
    export landfall:plugin/takeover@VERSION;
}
world policy { include landfall:plugin/recovery-point-policy@VERSION; }
";

/// Worlds that a plugin can be linked for: the file name of each section.
const SECTIONS: [&str; 9] = [
    "runbook",
    "runbook-probe",
    "runbook-undo",
    "runbook-probe-undo",
    "adapter",
    "adapter-guest-exec",
    "adapter-takeover",
    "adapter-guest-exec-takeover",
    "policy",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut resolve = Resolve::default();
    let (contract, _) = resolve.push_dir(landfall_wit::DIRECTORY)?;
    let contract = resolve.packages.get(contract).ok_or("the contract is no package")?;
    let version = contract.name.version.clone().ok_or("the contract has no version")?;
    let worlds = WORLDS.replace("VERSION", &version.to_string());
    let package = resolve.push_str("sdk.wit", &worlds)?;
    for section in SECTIONS {
        let world = resolve.select_world(&[package], Some(section))?;
        let bytes = wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None, false)?;
        fs::write(out.join(section), bytes)?;
    }
    fs::write(
        out.join("bindings.rs"),
        bindings(&worlds) + &exports(&version.to_string()),
    )?;
    Ok(())
}

/// Interfaces that plugins export, each with the macro that `generate!` makes for it.
const EXPORTS: [&str; 8] = [
    "plugin",
    "runbook-run",
    "runbook-probe",
    "runbook-undo",
    "adapter",
    "guest-exec",
    "takeover",
    "policy",
];

/// Names without the contract's version for those macros, so that a new version changes no code here.
fn exports(version: &str) -> String {
    let version = version.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let line = |interface: &&str| {
        let name = interface.replace('-', "_");
        let module = format!("exports::landfall::plugin::{name}");
        format!("pub use {module}::__export_landfall_plugin_{name}_{version}_cabi as cabi_{name};\n")
    };
    EXPORTS.iter().map(line).collect()
}

/// `path` and `inline` want literals, and only the build script knows where the contract lies.
fn bindings(worlds: &str) -> String {
    format!(
        "wit_bindgen::generate!({{
    path: {directory:?},
    inline: {worlds:?},
    world: \"landfall:sdk/everything\",
    pub_export_macro: true,
    default_bindings_module: \"landfall_sdk::bindings\",
    generate_all,
    additional_derives: [PartialEq, Eq],
    additional_derives_ignore: [\"stream-error\"],
}});\n",
        directory = landfall_wit::DIRECTORY
    )
}
