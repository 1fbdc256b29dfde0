//! A site: one libvirt daemon without privileges, with a place, a storage pool and guests of its own.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cleaner;
use super::guest::Image;
use crate::debian::is_root;

/// The daemon asks QEMU what it can before it answers.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Each guest's memory; a kernel and a shell need half.
const GUEST_MIB: u32 = 96;

/// Each guest's disk: room for half a million records in its first half.
pub(super) const DISK: u64 = 512 << 20;

/// libvirt runs guests of a session for anybody but root, so root becomes the user that Debian's package made.
const USER: &str = "libvirt-qemu";

/// A running site.
pub(super) struct Site {
    pub(super) directory: PathBuf,
    pub(super) port: u16,
    daemon: Child,
}

impl Site {
    /// Starts it, and waits until it answers. It lets everybody in over TCP.
    pub(super) fn up(parent: &Path, name: &str) -> Result<Self> {
        Self::up_with(parent, name, "listen_tls = 0\nauth_tcp = \"none\"\n")
    }

    /// With these lines in its settings.
    pub(super) fn up_with(parent: &Path, name: &str, lines: &str) -> Result<Self> {
        let directory = parent.join(name);
        let port = free_port()?;
        for part in ["run", "config/libvirt", "cache", "data", "home", "pool", "disks"] {
            fs::create_dir_all(directory.join(part)).context("cannot make the site's directories")?;
        }
        let settings = format!("listen_tcp = 1\ntcp_port = \"{port}\"\nlisten_addr = \"127.0.0.1\"\n{lines}");
        fs::write(directory.join("libvirtd.conf"), settings)?;
        // Else another daemon is started for the guests' output, which nobody ends.
        fs::write(directory.join("config/libvirt/qemu.conf"), "stdio_handler = \"file\"\n")?;
        if is_root()? {
            fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
            give(&directory)?;
        }
        let daemon = launch(&directory)?;
        let mut site = Self {
            directory,
            port,
            daemon,
        };
        let began = Instant::now();
        while let Err(error) = site.virsh(&["version"]) {
            ensure!(
                site.daemon.try_wait()?.is_none() && began.elapsed() < READY_WITHIN,
                "site {name} does not come up: {error}\n{}",
                site.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(site)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// A storage pool named `default`.
    pub(super) fn pool(&self) -> Result<()> {
        let place = self.directory.join("pool").display().to_string();
        self.virsh(&["pool-define-as", "default", "dir", "--target", &place])?;
        self.virsh(&["pool-start", "default"])?;
        Ok(())
    }

    /// The same, with room for so many MiB. Only root can make that.
    pub(super) fn small_pool(&self, mib: u32) -> Result<()> {
        let place = self.directory.join("pool");
        let size = format!("size={mib}m,mode=0755");
        let mut mount = Command::new("mount");
        let status = mount
            .args(["-t", "tmpfs", "-o", &size, "landfall"])
            .arg(&place)
            .status();
        ensure!(
            status.context("cannot run mount")?.success(),
            "no file system can be mounted"
        );
        give(&place)?;
        self.pool()
    }

    /// What libvirt's own command says: for what an operator would do, not for what Landfall does.
    pub(super) fn virsh(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.directory.join("run/libvirt/libvirt-sock");
        let uri = format!("qemu+unix:///session?socket={}", socket.display());
        let mut command = Command::new("virsh");
        command
            .args(["--quiet", "--connect", &uri])
            .args(arguments)
            .stdin(Stdio::null());
        let done = command.output().context("cannot run virsh")?;
        if !done.status.success() {
            bail!(
                "virsh {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&done.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// Defines a guest with a disk, on QEMU's user network. Gives its reference. `fill`: MiB of random data on its disk,
    /// behind its first half.
    pub(super) fn guest(&self, image: &Image, name: &str, fill: u64) -> Result<String> {
        let disk = self.directory.join("disks").join(format!("{name}.qcow2"));
        make_disk(&disk, fill)?;
        self.define(image, name, &disk_element(&disk, "vda"))
    }

    /// One with a second disk, which has a file system, and with an agent that can freeze it.
    pub(super) fn guest_with_agent(&self, image: &Image, name: &str) -> Result<String> {
        let disks = self.directory.join("disks");
        let (disk, more) = (
            disks.join(format!("{name}.qcow2")),
            disks.join(format!("{name}-data.qcow2")),
        );
        make_disk(&disk, 1)?;
        make_file_system(&more)?;
        let agent = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
        let devices = [&disk_element(&disk, "vda"), &disk_element(&more, "vdb"), agent].concat();
        self.define(image, name, &devices)
    }

    fn define(&self, image: &Image, name: &str, devices: &str) -> Result<String> {
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>{GUEST_MIB}</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{}</kernel><initrd>{}</initrd>\
             <cmdline>console=ttyS0 quiet</cmdline></os><features><acpi/></features><devices>{devices}\
             <interface type='user'><model type='virtio'/></interface>\
             <controller type='usb' model='none'/><memballoon model='none'/><serial type='pty'/></devices></domain>",
            image.kernel.display(),
            image.initrd.display(),
        );
        let definition = self.directory.join(format!("{name}.xml"));
        fs::write(&definition, xml)?;
        self.virsh(&["define", &definition.display().to_string()])?;
        self.virsh(&["domuuid", name])
    }

    pub(super) fn boot(&self, name: &str) -> Result<()> {
        self.virsh(&["start", name]).map(drop)
    }

    /// Makes a guest's web server reachable at an address of this machine.
    pub(super) fn forward(&self, name: &str, address: &str) -> Result<()> {
        let rule = format!("hostfwd_add tcp:{address}:8080-:80");
        let said = self.virsh(&["qemu-monitor-command", name, "--hmp", &rule])?;
        ensure!(said.is_empty(), "{rule}: {said}");
        Ok(())
    }

    /// The number of the last record on a disk, read past whoever has it open.
    pub(super) fn last_record(disk: &Path) -> Result<u64> {
        let target = disk.with_extension("head");
        let done = Command::new("qemu-img")
            .args(["dd", "-U", "-f", "qcow2", "-O", "raw", "bs=512", "count=1"])
            .arg(format!("if={}", disk.display()))
            .arg(format!("of={}", target.display()))
            .output()
            .context("cannot run qemu-img")?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = fs::read(&target)?;
        fs::remove_file(&target)?;
        let text = String::from_utf8_lossy(&text);
        text.split_whitespace()
            .next()
            .unwrap_or("0")
            .trim_matches('\0')
            .parse()
            .context("the disk has no record")
    }

    /// The disk of a machine, as it is defined now.
    pub(super) fn disk(&self, machine: &str) -> Result<PathBuf> {
        let list = self.virsh(&["domblklist", machine])?;
        let path = list.lines().find_map(|line| line.trim().strip_prefix("vda"));
        path.map(|path| PathBuf::from(path.trim()))
            .with_context(|| format!("`{machine}` has no disk:\n{list}"))
    }

    /// Names of the files in its pool.
    pub(super) fn files(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.directory.join("pool"))?.flatten();
        Ok(entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    }

    /// The power goes: daemon and guests at once, with nobody told.
    pub(super) fn kill(&mut self) -> Result<()> {
        cleaner::end_all(&self.directory)?;
        self.daemon.wait().context("the daemon is gone")?;
        Ok(())
    }

    /// One guest's QEMU is killed.
    pub(super) fn kill_guest(&self, name: &str) -> Result<()> {
        let file = self.directory.join(format!("run/libvirt/qemu/run/{name}.pid"));
        let id = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
        cleaner::kill(id.trim().parse()?, "KILL");
        let began = Instant::now();
        while self.virsh(&["domstate", name])? != "shut off" {
            ensure!(began.elapsed() < READY_WITHIN, "`{name}` does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The daemon alone is ended; its guests go on.
    pub(super) fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.kill().context("the daemon is gone")?;
        self.daemon.wait().context("the daemon is gone")?;
        Ok(())
    }

    /// The daemon stands still, or goes on: it holds its connections and answers nothing.
    pub(super) fn freeze_daemon(&self, is_frozen: bool) {
        cleaner::kill(self.daemon.id(), if is_frozen { "STOP" } else { "CONT" });
    }

    /// The daemon comes back.
    pub(super) fn start_daemon(&mut self) -> Result<()> {
        self.daemon = launch(&self.directory)?;
        let began = Instant::now();
        while let Err(error) = self.virsh(&["version"]) {
            ensure!(began.elapsed() < READY_WITHIN, "the daemon does not come back: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// One that nobody listens at.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The site's user has its directories.
pub(super) fn give(directory: &Path) -> Result<()> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let line = passwd.lines().find(|line| line.starts_with(&format!("{USER}:")));
    let mut fields = line
        .context("Debian's package made no user for guests")?
        .split(':')
        .skip(2);
    let mut id = || fields.next().and_then(|text| text.parse::<u32>().ok());
    let (user, group) = (id(), id());
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        chown(&path, user, group).with_context(|| format!("cannot give {} away", path.display()))?;
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
        }
    }
    Ok(())
}

fn launch(directory: &Path) -> Result<Child> {
    let mut command = if is_root()? {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
        command.arg("/usr/sbin/libvirtd");
        command
    } else {
        Command::new("/usr/sbin/libvirtd")
    };
    command
        .args(["--listen", "-f"])
        .arg(directory.join("libvirtd.conf"))
        .arg("-p")
        .arg(directory.join("pid"));
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", directory.join("home"));
    for (name, part) in [
        ("RUNTIME_DIR", "run"),
        ("CONFIG_HOME", "config"),
        ("CACHE_HOME", "cache"),
        ("DATA_HOME", "data"),
    ] {
        command.env(format!("XDG_{name}"), directory.join(part));
    }
    let log = File::options().create(true).append(true).open(directory.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("cannot start libvirtd")
}

fn disk_element(disk: &Path, target: &str) -> String {
    format!(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
         <target dev='{target}' bus='virtio'/></disk>",
        disk.display()
    )
}

/// Empty, with some random data in its second half.
fn make_disk(disk: &Path, fill: u64) -> Result<()> {
    let raw = disk.with_extension("raw");
    let mut plain = File::create(&raw)?;
    plain.set_len(DISK.max(DISK / 2 + (fill << 20)))?;
    plain.seek(SeekFrom::Start(DISK / 2))?;
    std::io::copy(&mut File::open("/dev/urandom")?.take(fill << 20), &mut plain)?;
    pack(&raw, disk)
}

/// An empty file system of few MiB.
fn make_file_system(disk: &Path) -> Result<()> {
    let raw = disk.with_extension("raw");
    let mut command = Command::new("/sbin/mke2fs");
    command.args(["-q", "-t", "ext4"]).arg(&raw).arg("64M");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    ensure!(
        command.status().context("cannot run mke2fs")?.success(),
        "mke2fs made no file system"
    );
    pack(&raw, disk)
}

/// The raw file becomes a qcow2 one that is the site's user's.
fn pack(raw: &Path, disk: &Path) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", "raw", "-O", "qcow2"]).arg(raw).arg(disk);
    ensure!(
        command.status().context("cannot run qemu-img")?.success(),
        "qemu-img made no disk"
    );
    fs::remove_file(raw)?;
    if is_root()? {
        give(disk)?;
    }
    Ok(())
}
