//! `landfall plugin new`: a project that builds, in a directory of its own.
//!
//! A Rust project needs the SDK's crate, which is on no registry: the program lays out the one that it carries in the
//! user's data directory, under its version and content, and the project names it by its path.

use std::fs;
use std::path::{Path, PathBuf};

use etcetera::{BaseStrategy, choose_base_strategy};
use landfall_runtime::Kind;
use serde::Serialize;
use thiserror::Error;

use super::sdk;

/// Stands for the plugin's name in the templates, so that they are valid as they are.
const NAME: &str = "my-plugin";

/// What `new` is asked for.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) language: Language,
    /// None: a directory of the plugin's name.
    pub(crate) directory: Option<PathBuf>,
    /// Where the Rust SDK lies; none: the one that the program carries.
    pub(crate) sdk: Option<PathBuf>,
}

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// The smallest and fastest
    Rust,
    /// Built with componentize-py
    Python,
    /// JavaScript, or TypeScript if its entry ends in `.ts`. Built with componentize-js
    Js,
}

/// What was made.
#[derive(Debug, Serialize)]
pub(crate) struct Created {
    pub(crate) directory: PathBuf,
    pub(crate) files: Vec<String>,
}

/// Why there is no project.
#[derive(Debug, Error)]
pub(crate) enum NewError {
    /// The name cannot become file names and finding ids.
    #[error(
        "`{name}` is no name for a plugin: use 1 to 64 lower case letters, digits and dashes, and begin with a letter"
    )]
    Name {
        /// As given.
        name: String,
    },
    /// Something is there.
    #[error("{} exists and is not empty; name another directory", .directory.display())]
    Taken {
        /// Where.
        directory: PathBuf,
    },
    /// `--sdk` names something else.
    #[error("{} is not the SDK: it has no Cargo.toml", .path.display())]
    NoSdk {
        /// As given.
        path: PathBuf,
    },
    /// There is no place for the SDK.
    #[error("this user has no home directory, so there is no place for the SDK; set XDG_DATA_HOME, or use --sdk")]
    NoHome,
    /// The file system refused.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A fault of ours.
    #[error("the SDK's manifests cannot be written out: {0}")]
    Manifest(String),
}

/// Writes the project.
pub(crate) fn new(wish: &Wish) -> Result<Created, NewError> {
    check(&wish.name)?;
    let directory = wish.directory.clone().unwrap_or_else(|| PathBuf::from(&wish.name));
    if fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(NewError::Taken { directory });
    }
    let mut created = Created {
        directory: directory.clone(),
        files: Vec::new(),
    };
    for (name, text) in files(wish)? {
        let path = directory.join(&name);
        sdk::write(&path, text.as_bytes()).map_err(|source| NewError::Write { path, source })?;
        created.files.push(name);
    }
    Ok(created)
}

fn check(name: &str) -> Result<(), NewError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    // A crate's name begins with a letter, and ends with none of the dashes that would be doubled in paths.
    let good = name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain);
    if good {
        return Ok(());
    }
    Err(NewError::Name { name: name.to_owned() })
}

/// The project's files, by their paths in it.
fn files(wish: &Wish) -> Result<Vec<(String, String)>, NewError> {
    let kind = wish.kind.as_str();
    let (language, entry) = match wish.language {
        Language::Rust => ("rust", "src/lib.rs"),
        Language::Python => ("python", "app.py"),
        Language::Js => ("js", "app.js"),
    };
    let sdk_path = match (wish.language, &wish.sdk) {
        (Language::Rust, Some(path)) => given_sdk(path)?.display().to_string(),
        (Language::Rust, None) => rust_sdk()?.display().to_string(),
        (Language::Python | Language::Js, _) => String::new(),
    };
    let mut files: Vec<(String, String)> = Vec::new();
    for prefix in [format!("template/{kind}"), format!("{language}/template/{kind}")] {
        for (name, bytes) in sdk::below(&prefix) {
            let text = String::from_utf8_lossy(bytes).replace(NAME, &wish.name);
            files.push((
                name.to_owned(),
                text.replace("ENTRY", entry).replace("SDK_PATH", &sdk_path),
            ));
        }
    }
    if wish.language != Language::Rust
        && let Some((_, text)) = files.iter_mut().find(|(name, _)| name == "plugin.toml")
    {
        text.extend(["\n[build]\nentry = \"", entry, "\"\n"]);
    }
    files.push((".gitignore".to_owned(), "/target\n".to_owned()));
    files.sort();
    Ok(files)
}

fn given_sdk(path: &Path) -> Result<PathBuf, NewError> {
    let absolute = path.canonicalize().ok().filter(|path| path.join("Cargo.toml").exists());
    absolute.ok_or_else(|| NewError::NoSdk { path: path.to_owned() })
}

/// Where the crate of each version lies.
pub(super) fn sdk_home() -> Option<PathBuf> {
    let strategy = choose_base_strategy().ok()?;
    Some(strategy.data_dir().join("landfall").join("sdk"))
}

/// The SDK's crate, laid out where it stays: beside it the contract as a crate without a build script, as its text is
/// whole already.
fn rust_sdk() -> Result<PathBuf, NewError> {
    let files = rust_sdk_files()?;
    let version = env!("CARGO_PKG_VERSION");
    let fingerprint = sdk::fingerprint(files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())));
    let all = sdk_home().ok_or(NewError::NoHome)?;
    let place = all.join(format!("{version}-{fingerprint}"));
    let sdk = place.join("sdk").join("rust");
    if place.exists() {
        return Ok(sdk);
    }
    let beside = all.join(format!(".{version}-{fingerprint}.{}", std::process::id()));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| NewError::Write { path, source }
    };
    for (name, text) in &files {
        let path = beside.join(name);
        sdk::write(&path, text.as_bytes()).map_err(failed(&path))?;
    }
    match fs::rename(&beside, &place) {
        // Another one was quicker, with the same content.
        Err(_) if place.exists() => fs::remove_dir_all(&beside).map_err(failed(&beside))?,
        renamed => renamed.map_err(failed(&place))?,
    }
    Ok(sdk)
}

/// A workspace of two crates, in the places that they have in the repository, so that their manifests stay as they are.
fn rust_sdk_files() -> Result<Vec<(String, String)>, NewError> {
    let mut files: Vec<(String, String)> = sdk::below("rust")
        .filter(|(name, _)| !name.starts_with("template/"))
        .map(|(name, bytes)| (format!("sdk/rust/{name}"), String::from_utf8_lossy(bytes).into_owned()))
        .collect();
    files.extend(
        landfall_wit::FILES
            .iter()
            .map(|(name, text)| (format!("wit/text/{name}"), (*text).to_owned())),
    );
    files.push(("wit/lib.rs".to_owned(), WIT_CRATE.to_owned()));
    let manifest = toml::to_string(&wit_manifest()).map_err(|error| NewError::Manifest(error.to_string()))?;
    files.push(("wit/Cargo.toml".to_owned(), manifest));
    files.push(("Cargo.toml".to_owned(), workspace()?));
    Ok(files)
}

/// The crate that the SDK's build script asks for the contract.
const WIT_CRATE: &str = "//! The plugin contract as a directory that WIT tools can read.

/// Our WIT files, with the WASI packages they name under `deps`.
pub const DIRECTORY: &str = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text\");
";

fn wit_manifest() -> toml::Table {
    toml::toml! {
        [package]
        name = "landfall-wit"
        version.workspace = true
        edition.workspace = true
        publish.workspace = true

        [lib]
        path = "lib.rs"
    }
}

/// The root manifest, with what the SDK's takes from it and no other.
fn workspace() -> Result<String, NewError> {
    let broken = |what: &str| NewError::Manifest(what.to_owned());
    let root: toml::Table = include_str!("../../../../Cargo.toml")
        .parse()
        .map_err(|error: toml::de::Error| NewError::Manifest(error.to_string()))?;
    let sdk: toml::Table = String::from_utf8_lossy(sdk::file("rust/Cargo.toml").unwrap_or_default())
        .parse()
        .map_err(|error: toml::de::Error| NewError::Manifest(error.to_string()))?;
    let workspace = root.get("workspace").ok_or_else(|| broken("no workspace"))?;
    let all = workspace.get("dependencies").and_then(toml::Value::as_table);
    let all = all.ok_or_else(|| broken("no dependencies"))?;
    let mut dependencies = toml::Table::new();
    for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for name in sdk
            .get(table)
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(toml::Table::keys)
        {
            if let Some(dependency) = all.get(name) {
                dependencies.insert(name.clone(), dependency.clone());
            }
        }
    }
    let part = |name: &str| workspace.get(name).cloned().ok_or_else(|| broken(name));
    let mut reduced = toml::Table::new();
    reduced.insert("resolver".to_owned(), part("resolver")?);
    reduced.insert("members".to_owned(), vec!["sdk/rust", "wit"].into());
    reduced.insert("package".to_owned(), part("package")?);
    reduced.insert("dependencies".to_owned(), dependencies.into());
    reduced.insert("lints".to_owned(), part("lints")?);
    let mut whole = toml::Table::new();
    whole.insert("workspace".to_owned(), reduced.into());
    toml::to_string(&whole).map_err(|error| NewError::Manifest(error.to_string()))
}

impl std::fmt::Display for Created {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directory = self.directory.display();
        for file in &self.files {
            writeln!(out, "{}", self.directory.join(file).display())?;
        }
        writeln!(
            out,
            "try it with `landfall plugin test {directory}`, build it with `landfall plugin build {directory}`"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_template_in_every_language() {
        for kind in [Kind::Runbook, Kind::HypervisorAdapter, Kind::RecoveryPointPolicy] {
            for language in [Language::Rust, Language::Python, Language::Js] {
                let wish = Wish {
                    name: "page-oncall".to_owned(),
                    kind,
                    language,
                    directory: None,
                    sdk: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust")),
                };
                let files = files(&wish).unwrap();
                let text = |wanted: &str| &files.iter().find(|(name, _)| name == wanted).unwrap().1;
                let manifest: landfall_runtime::Manifest = toml::from_str(text("plugin.toml")).unwrap();
                assert_eq!(
                    (manifest.plugin.name.as_str(), manifest.plugin.kind),
                    ("page-oncall", kind)
                );
                assert_eq!(manifest.build.is_some(), language != Language::Rust);
                let entry = manifest.build.map_or("src/lib.rs".to_owned(), |build| build.entry);
                assert!(
                    !text(&entry).contains(NAME) && text("README.md").contains(&entry),
                    "{kind} {language:?}"
                );
            }
        }
    }

    #[test]
    fn names_are_those_that_a_crate_and_the_host_take() {
        for good in ["a", "page-oncall", "x2"] {
            check(good).unwrap();
        }
        for bad in ["", "-a", "2x", "A", "a_b", "a b", "../a", &"a".repeat(65)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sdks_workspace_has_what_its_manifests_name() {
        let root: toml::Table = workspace().unwrap().parse().unwrap();
        let dependencies = root["workspace"]["dependencies"].as_table().unwrap();
        assert!(dependencies.contains_key("wit-bindgen") && dependencies.contains_key("landfall-wit"));
        assert!(!dependencies.contains_key("tokio"));
    }
}
