//! Writes the `bindgen!` call with the directory in which the contract was laid out: the macro takes only a literal
//! path, and the WASI files beside ours exist only after `landfall-wit` was built.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", landfall_wit::DIRECTORY);
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("bindings.rs");
    fs::write(out, BINDGEN.replace("@DIRECTORY@", landfall_wit::DIRECTORY))?;
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
            import landfall:plugin/log@0.1.0;
            import landfall:plugin/config@0.1.0;
            import landfall:plugin/clock@0.1.0;
            import landfall:plugin/random@0.1.0;
            import landfall:plugin/buffers@0.1.0;
            export landfall:plugin/plugin@0.1.0;
            export landfall:plugin/adapter@0.1.0;
            export landfall:plugin/policy@0.1.0;
            export landfall:plugin/runbook-run@0.1.0;
            export landfall:plugin/runbook-probe@0.1.0;
            export landfall:plugin/runbook-undo@0.1.0;
        }
    ",
    world: "landfall:host/everything",
    imports: { default: trappable },
    exports: { default: async },
    require_store_data_send: true,
    additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    with: {
        "wasi:io": wasmtime_wasi_io::bindings::wasi::io,
        "landfall:plugin/buffers.buffer": crate::buffer::Buffer,
    },
});
"#;
