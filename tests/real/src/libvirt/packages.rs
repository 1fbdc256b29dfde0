//! What is needed of Debian: libvirt, QEMU, and a kernel with an all-in-one program for the guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::debian::{self, Needed};
use crate::say;

/// What is run, and the package that has it.
const NEEDED: [Needed; 8] = [
    ("/usr/sbin/libvirtd", "libvirt-daemon-system"),
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/bin/qemu-img", "qemu-utils"),
    ("/usr/bin/virsh", "libvirt-clients"),
    ("/bin/busybox", "busybox-static"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/setpriv", "util-linux"),
];

/// Debian's kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// What a guest boots.
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// Where the modules lie.
    pub(super) modules: PathBuf,
}

/// What is missing, if anything is.
pub(super) fn absent() -> Option<String> {
    let mut wanted = debian::missing(&NEEDED);
    if kernel_place().is_ok_and(|place| unpacked(&place).is_err()) {
        wanted.push(KERNEL);
    }
    (!wanted.is_empty()).then(|| wanted.join(" "))
}

/// Installs what is missing, and says so.
pub(super) fn install() -> Result<Kernel> {
    debian::install(&NEEDED)?;
    kernel()
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
fn kernel() -> Result<Kernel> {
    let place = kernel_place()?;
    let target = place.parent().context("it lies in `target`")?;
    if let Ok(kernel) = unpacked(&place) {
        return Ok(kernel);
    }
    fs::create_dir_all(target).context("cannot make the directory for the kernel")?;
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
