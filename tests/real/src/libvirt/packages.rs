//! What is needed of Debian: libvirt, QEMU, and a kernel with an all-in-one program for the guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::say;

/// Program and the package that has it.
const NEEDED: [(&str, &str); 7] = [
    ("libvirtd", "libvirt-daemon-system"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("virsh", "libvirt-clients"),
    ("busybox", "busybox-static"),
    ("xz", "xz-utils"),
    ("setpriv", "util-linux"),
];

/// Debian's kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// What a guest boots.
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// Where the modules lie.
    pub(super) modules: PathBuf,
}

fn missing() -> Vec<&'static str> {
    let is_there = |program: &str| {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|at| Path::new(at).join(program).exists())
    };
    NEEDED
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, package)| *package)
        .collect()
}

/// What is missing, if anything is.
pub(super) fn absent() -> Option<String> {
    let mut wanted = missing();
    if kernel_place().is_ok_and(|place| unpacked(&place).is_err()) {
        wanted.push(KERNEL);
    }
    (!wanted.is_empty()).then(|| wanted.join(" "))
}

/// Installs what is missing, and says so.
pub(super) fn install() -> Result<()> {
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(());
    }
    say(&format!("Installing from Debian: {}", wanted.join(" ")));
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&wanted);
    if !apt(&arguments)? {
        // A machine that has tools of QEMU from backports needs QEMU from there too.
        say("Trying the suite bookworm-backports");
        let list = "/etc/apt/sources.list.d/landfall-backports.list";
        fs::write(list, "deb http://deb.debian.org/debian bookworm-backports main\n")
            .with_context(|| format!("cannot write {list}; are you root?"))?;
        ensure!(apt(&["update"])?, "apt-get update failed");
        arguments.extend(["--target-release", "bookworm-backports"]);
        ensure!(apt(&arguments)?, "apt-get {} failed", arguments.join(" "));
    }
    let still = missing();
    ensure!(still.is_empty(), "still missing: {}", still.join(" "));
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<bool> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    let status = command
        .stdout(Stdio::null())
        .status()
        .context("apt-get does not run; is this Debian?")?;
    Ok(status.success())
}

fn output(program: &str, arguments: &[&str], directory: &Path) -> Result<String> {
    let shown = format!("{program} {}", arguments.join(" "));
    let done = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(
        done.status.success(),
        "{shown}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Unpacked, not installed, and kept for the next time.
pub(super) fn kernel() -> Result<Kernel> {
    let place = kernel_place()?;
    let target = place.parent().context("it lies in `target`")?;
    if let Ok(kernel) = unpacked(&place) {
        return Ok(kernel);
    }
    let depends = output("apt-cache", &["depends", KERNEL], Path::new("/"))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("Debian has no {KERNEL}; run apt-get update"))?;
    say(&format!("Unpacking Debian's {package}"));
    let temporary = tempfile::tempdir_in(target).context("no temporary directory")?;
    output("apt-get", &["download", package], temporary.path())?;
    let file = fs::read_dir(temporary.path())?
        .flatten()
        .map(|entry| entry.path())
        .next();
    let file = file.context("apt-get downloaded nothing")?;
    let unpacking = temporary.path().join("unpacked");
    output(
        "dpkg",
        &["-x", &file.display().to_string(), &unpacking.display().to_string()],
        temporary.path(),
    )?;
    let _ = fs::remove_dir_all(&place);
    fs::rename(&unpacking, &place).context("cannot keep the kernel")?;
    unpacked(&place)
}

fn kernel_place() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program has no path")?;
    let target = program.ancestors().nth(2);
    Ok(target
        .context("this program lies in target/PROFILE")?
        .join("real-kernel"))
}

fn unpacked(place: &Path) -> Result<Kernel> {
    let boot = fs::read_dir(place.join("boot"))?.flatten().map(|entry| entry.path());
    let mut images = boot.filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    });
    let modules = fs::read_dir(place.join("lib/modules"))?
        .flatten()
        .map(|entry| entry.path())
        .next();
    match (images.next(), modules) {
        (Some(image), Some(modules)) => Ok(Kernel { image, modules }),
        _ => bail!("no kernel in {}", place.display()),
    }
}
