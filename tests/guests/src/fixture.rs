//! Small components without a wasm toolchain: core WebAssembly by hand, and everything around it (types, canonical
//! ABI signatures, component wrapping) derived from the contract. A function without a body of its own traps.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Function, Resolve, WorldItem};

/// Where fixtures put what they return; zero, so that it reads as an empty success.
pub const RESULT: u32 = 2_048;

/// Where a fixture's own text lies, see [`Fixture::text`].
const TEXT: u32 = 8_192;

/// A plugin to be.
pub struct Fixture {
    /// In manifest and component.
    pub name: &'static str,
    /// In manifest and component.
    pub version: &'static str,
    /// As in the manifest.
    pub kind: &'static str,
    requests: String,
    imports: Vec<(&'static str, &'static str, &'static str)>,
    bodies: Vec<(&'static str, String)>,
    helpers: String,
    text: String,
    exports: Vec<&'static str>,
    /// Version and directory of the contract that it is built against.
    contract: (&'static str, &'static str),
}

impl Fixture {
    /// A plugin of this kind whose functions all trap, but `describe`.
    pub fn new(kind: &'static str) -> Self {
        Self {
            name: "fixture",
            version: "1.2.3",
            kind,
            requests: String::new(),
            imports: Vec::new(),
            bodies: Vec::new(),
            helpers: String::new(),
            text: String::new(),
            exports: Vec::new(),
            contract: (landfall_wit::VERSION, landfall_wit::DIRECTORY),
        }
    }

    /// Built against an earlier version of the contract.
    #[must_use]
    pub fn built_for(mut self, contract: (&'static str, &'static str)) -> Self {
        self.contract = contract;
        self
    }

    /// A policy whose functions all answer with an empty list.
    pub fn policy() -> Self {
        Self::new("recovery-point-policy")
            .answering("choices")
            .answering("select")
            .answering("retain")
    }

    /// Exports that the world does not require.
    #[must_use]
    pub fn exporting(mut self, interfaces: &[&'static str]) -> Self {
        self.exports.extend(interfaces);
        self
    }

    /// Its name and version.
    #[must_use]
    pub fn named(mut self, name: &'static str, version: &'static str) -> Self {
        (self.name, self.version) = (name, version);
        self
    }

    /// The body of an exported function: WAT that leaves what its signature asks for.
    #[must_use]
    pub fn body(mut self, function: &'static str, wat: impl Into<String>) -> Self {
        self.bodies.retain(|(name, _)| *name != function);
        self.bodies.push((function, wat.into()));
        self
    }

    /// The function returns the bytes at [`RESULT`]: zeros, unless something was stored there.
    #[must_use]
    pub fn answering(self, function: &'static str) -> Self {
        self.body(function, format!("i32.const {RESULT}"))
    }

    /// Imports `function` of `interface` as `$alias`.
    #[must_use]
    pub fn import(mut self, alias: &'static str, interface: &'static str, function: &'static str) -> Self {
        self.imports.push((alias, interface, function));
        self
    }

    /// What the manifest requests, in TOML.
    #[must_use]
    pub fn requests(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.requests);
        self
    }

    /// More fields of the module: functions, tables, memories.
    #[must_use]
    pub fn helper(mut self, wat: &str) -> Self {
        self.helpers.push_str(wat);
        self
    }

    /// Puts text into memory; gives pointer and length as WAT arguments.
    pub fn text(&mut self, text: &str) -> String {
        let place = TEXT as usize + self.text.len();
        self.text.push_str(text);
        format!("(i32.const {place}) (i32.const {})", text.len())
    }

    /// The component's bytes.
    pub fn component(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        resolve.push_dir(self.contract.1).unwrap();
        let version = self.contract.0;
        let export = |interface: &&str| format!("export landfall:plugin/{interface}@{version};");
        let exports = self.exports.iter().map(export).collect::<Vec<_>>().join(" ");
        // Imports that no body calls do not reach the component.
        let source = format!(
            "package test:it; world it {{ include landfall:plugin/{}@{version}; {exports}
             import wasi:clocks/wall-clock@0.2.12; import wasi:clocks/monotonic-clock@0.2.12; import wasi:io/poll@0.2.12;
             import wasi:random/random@0.2.12; import wasi:cli/environment@0.2.12;
             import wasi:cli/stdout@0.2.12; import wasi:cli/stderr@0.2.12;
             import wasi:filesystem/preopens@0.2.12; import wasi:sockets/instance-network@0.2.12;
             import wasi:sockets/ip-name-lookup@0.2.12; import wasi:sockets/tcp-create-socket@0.2.12; }}",
            self.kind
        );
        let package = resolve.push_source("it.wit", &source).unwrap();
        let world = resolve.select_world(&[package], Some("it")).unwrap();
        let mut module = wat::parse_str(self.module(&resolve, world)).unwrap();
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
        ComponentEncoder::default()
            .module(&module)
            .unwrap()
            .validate(true)
            .encode()
            .unwrap()
    }

    fn module(&self, resolve: &Resolve, world: wit_parser::WorldId) -> String {
        let mut wat = "(module\n".to_owned();
        for (alias, interface, name) in &self.imports {
            // Tests name our interfaces without a version.
            let own = format!("{interface}@{}", self.contract.0);
            let interface = if interface.contains('@') {
                interface
            } else {
                own.as_str()
            };
            let signature = match name.strip_prefix("[resource-drop]") {
                Some(_) => "(param i32)".to_owned(),
                None => signature(resolve, AbiVariant::GuestImport, find(resolve, interface, name)),
            };
            writeln!(wat, r#"(import "{interface}" "{name}" (func ${alias} {signature}))"#).unwrap();
        }
        wat += r#"(memory $first (export "memory") 4) (global $top (mut i32) (i32.const 65536))"#;
        wat += r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
            (global.get $top)
            (global.set $top (i32.add (global.get $top) (local.get 3))))"#;
        wat += &self.helpers;
        for (key, item) in &resolve.worlds[world].exports {
            let WorldItem::Interface { id, .. } = item else {
                panic!("only interfaces are exported")
            };
            for (name, function) in &resolve.interfaces[*id].functions {
                let signature = signature(resolve, AbiVariant::GuestExport, function);
                let body = self
                    .bodies
                    .iter()
                    .find(|(other, _)| other == name)
                    .map(|(_, body)| body.as_str());
                let body = if name == "describe" {
                    "i32.const 1024"
                } else {
                    body.unwrap_or("unreachable")
                };
                let interface = resolve.name_world_key(key);
                writeln!(wat, r#"(func (export "{interface}#{name}") {signature} {body})"#).unwrap();
            }
        }
        wat + &self.data() + ")"
    }

    /// The record that `describe` returns, and the texts.
    fn data(&self) -> String {
        let mut record = Vec::new();
        let mut texts = String::new();
        for text in [self.name, self.version, self.kind, ""] {
            record.extend((4_096 + u32::try_from(texts.len()).unwrap()).to_le_bytes());
            record.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            texts.push_str(text);
        }
        record.extend([0; 28]);
        let escaped = record
            .iter()
            .fold(String::new(), |all, byte| format!("{all}\\{byte:02x}"));
        let text = self.text.escape_default();
        format!(
            r#"(data (i32.const 1024) "{escaped}") (data (i32.const 4096) "{texts}") (data (i32.const {TEXT}) "{text}")"#
        )
    }

    /// `plugin.toml`.
    pub fn manifest(&self) -> String {
        format!(
            "[plugin]\nname = \"{}\"\nversion = \"{}\"\nkind = \"{}\"\ncomponent = \"it.wasm\"\n\n[requests]\n{}\n",
            self.name, self.version, self.kind, self.requests
        )
    }

    /// Writes a plugin directory.
    pub fn write(&self, directory: &Path) -> PathBuf {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("it.wasm"), self.component()).unwrap();
        fs::write(directory.join("plugin.toml"), self.manifest()).unwrap();
        directory.to_owned()
    }
}

fn find<'r>(resolve: &'r Resolve, interface: &str, name: &str) -> &'r Function {
    let found = resolve
        .interfaces
        .iter()
        .find(|(id, _)| resolve.id_of(*id).as_deref() == Some(interface));
    &found.unwrap_or_else(|| panic!("no interface {interface}")).1.functions[name]
}

fn signature(resolve: &Resolve, variant: AbiVariant, function: &Function) -> String {
    let signature = resolve.wasm_signature(variant, function);
    let list = |what: &str, types: &[WasmType]| {
        let names = types.iter().map(|t| match t {
            WasmType::I64 | WasmType::PointerOrI64 => " i64",
            WasmType::F32 => " f32",
            WasmType::F64 => " f64",
            WasmType::I32 | WasmType::Pointer | WasmType::Length => " i32",
        });
        format!("({what}{})", names.collect::<String>())
    };
    let params = list("param", &signature.params);
    if signature.results.is_empty() {
        params
    } else {
        params + &list("result", &signature.results)
    }
}
