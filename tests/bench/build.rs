//! Writes the `bindgen!` call of the benchmark's own host; see the runtime's for why a build script does it.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", landfall_wit::DIRECTORY);
    println!("cargo::rerun-if-changed=build.rs");
    let bindgen = BINDGEN
        .replace("@DIRECTORY@", landfall_wit::DIRECTORY)
        .replace("@VERSION", &format!("@{}", landfall_wit::VERSION));
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("raw.rs"), bindgen)?;
    Ok(())
}

const BINDGEN: &str = r#"
wasmtime::component::bindgen!({
    path: "@DIRECTORY@",
    inline: "
        package landfall:raw;
        world raw {
            import landfall:plugin/log@VERSION;
            import landfall:plugin/config@VERSION;
            import landfall:plugin/clock@VERSION;
            export landfall:plugin/runbook-run@VERSION;
        }
    ",
    world: "landfall:raw/raw",
    imports: { default: trappable },
    exports: { default: async },
    require_store_data_send: true,
});
"#;
