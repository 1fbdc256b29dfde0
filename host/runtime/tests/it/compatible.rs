//! The fence around the contract: a plugin that was built for a frozen version of the present major line must fit the
//! present text. What may change is in VERSIONING.md.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use wit_component::semver_check;
use wit_parser::{PackageId, Resolve};

/// The worlds of the contract, and each optional export as a world of its own, since WIT knows no optional exports.
const WORLDS: &str = "
    world a-runbook { include landfall:plugin/runbook@VERSION; }
    world an-adapter { include landfall:plugin/hypervisor-adapter@VERSION; }
    world a-policy { include landfall:plugin/recovery-point-policy@VERSION; }
    world a-probe { export landfall:plugin/runbook-run@VERSION; export landfall:plugin/runbook-probe@VERSION; }
    world an-undo { export landfall:plugin/runbook-run@VERSION; export landfall:plugin/runbook-undo@VERSION; }
";

const NAMES: [&str; 5] = ["a-runbook", "an-adapter", "a-policy", "a-probe", "an-undo"];

fn major_line(version: &str) -> &str {
    let end = if version.starts_with("0.") {
        version.rfind('.')
    } else {
        version.find('.')
    };
    &version[..end.unwrap()]
}

/// Whether every plugin built for the contract in `old` fits the one in `new`.
fn check(old: (&str, &str), new: (&str, &str)) -> Result<(), String> {
    let read = |(version, directory): (&str, &str)| -> (Resolve, PackageId) {
        let mut resolve = Resolve::default();
        resolve.push_dir(directory).unwrap();
        let worlds = format!(
            "package landfall:check@{version}; {}",
            WORLDS.replace("VERSION", version)
        );
        let package = resolve.push_source("check.wit", &worlds).unwrap();
        (resolve, package)
    };
    for name in NAMES {
        let (mut resolve, old_package) = read(old);
        let (other, new_package) = read(new);
        let new_world = other.select_world(&[new_package], Some(name)).unwrap();
        let old_world = resolve.select_world(&[old_package], Some(name)).unwrap();
        let mapped = resolve.merge(other).unwrap();
        let new_world = mapped.map_world(new_world, wit_parser::Span::default()).unwrap();
        semver_check(resolve, old_world, new_world).map_err(|error| format!("{name}: {error:#}"))?;
    }
    Ok(())
}

const NOW: (&str, &str) = (landfall_wit::VERSION, landfall_wit::DIRECTORY);

#[test]
fn c03_no_incompatible_change_without_a_new_major_line() {
    let line = major_line(NOW.0);
    let frozen = landfall_wit::FROZEN
        .iter()
        .filter(|(version, _)| major_line(version) == line);
    let mut seen = 0;
    for old in frozen {
        check(*old, NOW).unwrap_or_else(|why| {
            panic!(
                "plugins built for {} would not fit any more: {why}\nSee wit/VERSIONING.md.",
                old.0
            )
        });
        seen += 1;
    }
    assert!(seen > 0, "the line {line} has a frozen version to compare with");
}

/// Each row changes the present text in a way that VERSIONING.md permits or forbids.
#[test]
fn the_fence_tells_what_is_compatible() {
    let cases = [
        ("host.wit", "interface log {", "interface log { more: func();", true),
        ("worlds.wit", "world runbook {", "world runbook { import buffers;", true),
        ("types.wit", "record failure {", "record failure { extra: u32,", false),
        ("types.wit", "enum consistency {", "enum consistency { neither,", false),
        (
            "policy.wit",
            "select: func(request: request)",
            "select: func(request: request, more: u32)",
            false,
        ),
        ("host.wit", "now-ms: func() -> u64", "now-ms: func() -> s64", false),
        (
            "plugin.wit",
            "describe: func() -> info;",
            "describe: func() -> info; more: func();",
            false,
        ),
    ];
    for (file, from, to, compatible) in cases {
        let place = tempfile::tempdir().unwrap();
        copy(Path::new(NOW.1), place.path());
        let path = place.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} holds {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let changed = (NOW.0, place.path().to_str().unwrap());
        // Merging needs two packages, so the old one gets an older name.
        let old = tempfile::tempdir().unwrap();
        copy(Path::new(NOW.1), old.path());
        let version = format!("{}.0", major_line(NOW.0));
        for entry in fs::read_dir(old.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = fs::read_to_string(&path).unwrap();
                let (own, older) = (
                    format!("landfall:plugin@{}", NOW.0),
                    format!("landfall:plugin@{version}"),
                );
                fs::write(&path, text.replace(&own, &older)).unwrap();
            }
        }
        let verdict = check((&version, old.path().to_str().unwrap()), changed);
        assert_eq!(verdict.is_ok(), compatible, "{file}: {from:?} to {to:?}: {verdict:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &place);
        } else {
            fs::copy(&path, &place).unwrap();
        }
    }
}

#[test]
fn frozen_versions_are_not_edited() {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/frozen");
    let mut sums = BTreeMap::new();
    for (version, _) in landfall_wit::FROZEN {
        for entry in fs::read_dir(frozen.join(version)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{version}/{}", path.file_name().unwrap().to_str().unwrap());
            let digest = Sha256::digest(fs::read(&path).unwrap());
            let hex = digest.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
            sums.insert(name, hex);
        }
    }
    let text = sums
        .iter()
        .fold(String::new(), |text, (name, hex)| format!("{text}{hex}  {name}\n"));
    let kept = fs::read_to_string(frozen.join("SHA256SUMS")).unwrap();
    assert_eq!(
        kept, text,
        "a frozen version was changed; put it back, and see VERSIONING.md for how the contract grows"
    );
}
