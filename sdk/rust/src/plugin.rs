//! What every plugin says of itself, and the parts that the three export macros share.

use crate::bindings::exports::landfall::plugin::plugin::Info;

/// Who the plugin is. The host asks once, when it loads the plugin, and compares with `plugin.toml`; the version is
/// the crate's own.
pub trait Plugin {
    /// As in `plugin.toml`.
    const NAME: &'static str;
    /// One line for lists.
    const SUMMARY: &'static str;
    /// JSON Schema of the operator's configuration.
    const CONFIG_SCHEMA: Option<&'static str> = None;
    /// Every finding that the plugin can report: id and what it means.
    const FINDINGS: &'static [(&'static str, &'static str)] = &[];
}

/// The answer to the host's `describe`. Called by the export macros.
#[doc(hidden)]
pub fn describe<P: Plugin>(kind: &str, version: &str) -> Info {
    crate::log::log_panics();
    Info {
        name: P::NAME.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        summary: P::SUMMARY.to_owned(),
        config_schema: P::CONFIG_SCHEMA.map(str::to_owned),
        findings: P::FINDINGS
            .iter()
            .map(|(id, meaning)| ((*id).to_owned(), (*meaning).to_owned()))
            .collect(),
        ext: Vec::new(),
    }
}

/// The value of the first pair with this name.
pub fn pair<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// Exports `describe` and puts the section for the chosen exports into the module. Off WebAssembly nothing is
/// exported: the names of component exports are no names for a native linker.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_plugin {
    ($plugin:ident, $kind:literal, $section:ident) => {
        impl $crate::bindings::exports::landfall::plugin::plugin::Guest for $plugin {
            fn describe() -> $crate::bindings::exports::landfall::plugin::plugin::Info {
                $crate::describe::<$plugin>($kind, ::core::env!("CARGO_PKG_VERSION"))
            }
        }

        // Where nothing is exported, as in `cargo test`, the plugin would look unused.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            #[used]
            static USE: fn() -> usize = ::core::mem::size_of::<$plugin>;
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::landfall::plugin::plugin as interface;
    $crate::bindings::cabi_plugin!($plugin with_types_in interface);

            #[unsafe(link_section = "component-type:landfall-sdk")]
            static SECTION: [u8; $crate::sections::$section.len()] = {
                let mut bytes = [0; $crate::sections::$section.len()];
                bytes.copy_from_slice($crate::sections::$section);
                bytes
            };
        };
    };
}
