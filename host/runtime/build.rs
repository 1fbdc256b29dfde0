//! Writes the `bindgen!` call with the directory in which the contract was laid out: the macro takes only a literal
//! path, and the WASI files beside ours exist only after `landfall-wit` was built.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", landfall_wit::DIRECTORY);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=LANDFALL_CONTRACT={}", landfall_wit::VERSION);
    let out = PathBuf::from(env::var("OUT_DIR")?).join("bindings.rs");
    fs::write(
        out,
        BINDGEN
            .replace("@DIRECTORY@", landfall_wit::DIRECTORY)
            .replace("@VERSION", &format!("@{}", landfall_wit::VERSION)),
    )?;
    Ok(())
}

/// One world that holds every interface of the contract, so that shared types are generated once. What a plugin must
/// export and what it may import is decided by its kind, in `inspect.rs` and `linker.rs`, not here.
const BINDGEN: &str = r#"
wasmtime::component::bindgen!({
    path: "@DIRECTORY@",
    inline: "
        package landfall:host;
        world everything {
            import landfall:plugin/log@VERSION;
            import landfall:plugin/config@VERSION;
            import landfall:plugin/clock@VERSION;
            import landfall:plugin/random@VERSION;
            import landfall:plugin/buffers@VERSION;
            import landfall:plugin/state@VERSION;
            import landfall:plugin/session@VERSION;
            import landfall:plugin/transport@VERSION;
            import landfall:plugin/signing@VERSION;
            import landfall:plugin/guests@VERSION;
            export landfall:plugin/guest-exec@VERSION;
            export landfall:plugin/takeover@VERSION;
            export landfall:plugin/plugin@VERSION;
            export landfall:plugin/adapter@VERSION;
            export landfall:plugin/policy@VERSION;
            export landfall:plugin/runbook-run@VERSION;
            export landfall:plugin/runbook-probe@VERSION;
            export landfall:plugin/runbook-undo@VERSION;
        }
    ",
    world: "landfall:host/everything",
    imports: {
        "landfall:plugin/guests.exec": async | trappable,
        "landfall:plugin/signing.hmac": async | trappable,
        "landfall:plugin/state.get": async | trappable,
        "landfall:plugin/state.set": async | trappable,
        "landfall:plugin/state.delete": async | trappable,
        "landfall:plugin/state.swap": async | trappable,
        "landfall:plugin/state.keys": async | trappable,
        "landfall:plugin/transport.open": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    require_store_data_send: true,
    additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    with: {
        "wasi:io": wasmtime_wasi_io::bindings::wasi::io,
        "landfall:plugin/buffers.buffer": crate::buffer::Buffer,
        "landfall:plugin/transport.connection": crate::host::transport::Connection,
    },
});
"#;
