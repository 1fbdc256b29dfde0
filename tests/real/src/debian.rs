//! Debian's packages: which are missing, and how they come. Nothing is installed that is there.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::say;

/// A file, and the package that has it.
pub(crate) type Needed = (&'static str, &'static str);

/// Packages without which something is not there.
pub(crate) fn missing(needed: &[Needed]) -> Vec<&'static str> {
    needed
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect()
}

/// Installs what is missing, and says so.
pub(crate) fn install(needed: &[Needed]) -> Result<()> {
    let wanted = missing(needed);
    if wanted.is_empty() {
        return Ok(());
    }
    let shown = wanted.join(" ");
    ensure!(
        Path::new("/usr/bin/apt-get").exists(),
        "this is no Debian; it needs what is in Debian's packages {shown}"
    );
    say(&format!("Installing from Debian: {shown}"));
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&wanted);
    // The second time with fresh lists.
    let is_done = apt(&arguments)? || apt(&["update"])? && apt(&arguments)?;
    if !is_done {
        from_backports(&arguments)?;
    }
    let still = missing(needed);
    ensure!(
        still.is_empty(),
        "still missing: {}; as root: apt-get install {shown}",
        still.join(" ")
    );
    Ok(())
}

/// A machine that has tools of QEMU from backports needs QEMU from there too.
fn from_backports(arguments: &[&str]) -> Result<()> {
    say("Trying the suite bookworm-backports");
    let line = "deb http://deb.debian.org/debian bookworm-backports main";
    let list = "/etc/apt/sources.list.d/landfall-backports.list";
    let status = as_root("sh")?
        .args(["-c", "echo \"$0\" > \"$1\"", line, list])
        .status()
        .context("cannot run a shell")?;
    ensure!(status.success(), "cannot write {list}; are you root?");
    ensure!(apt(&["update"])?, "apt-get update failed");
    let arguments = [arguments, &["--target-release", "bookworm-backports"]].concat();
    ensure!(apt(&arguments)?, "apt-get {} failed", arguments.join(" "));
    Ok(())
}

/// True: it did.
fn apt(arguments: &[&str]) -> Result<bool> {
    let mut command = as_root("apt-get")?;
    // Somebody else may be installing.
    command.args(["-o", "DPkg::Lock::Timeout=300"]).args(arguments);
    let status = command.stdout(Stdio::null()).status();
    Ok(status.context("cannot run apt-get")?.success())
}

/// A program with root's rights, without a question for a password.
fn as_root(program: &str) -> Result<Command> {
    let mut command = Command::new(if is_root()? { "env" } else { "sudo" });
    if !is_root()? {
        command.args(["-n", "env"]);
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    Ok(command)
}

pub(crate) fn is_root() -> Result<bool> {
    let id = Command::new("id").arg("-u").output().context("cannot run id")?;
    Ok(id.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        let needed = [("/", "base-files"), ("/no/such/file", "no-such-package")];
        assert_eq!(missing(&needed), ["no-such-package"]);
    }
}
