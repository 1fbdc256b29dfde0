//! A guest of a few megabytes: it counts onto its disk, record by record with fsync, and says over HTTP how far it is
//! and what it found when it started. It shuts down when its power button is pressed. On a second disk, if it has one,
//! there is a file system with a log that nothing forces out: only freezing it makes the log as new as the records. Its
//! agent speaks QEMU's protocol for that.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::packages::Kernel;

/// Those that a kernel has built in are not there. Which needs which differs, so they are loaded in rounds.
const MODULES: [&str; 12] = [
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "drivers/char/virtio_console",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/input/evdev",
    "drivers/acpi/button",
];

/// Record N is sector N: its number and a checksum of it. Sector 0 has the last one's number, and is written after it;
/// then the log has it, if there is one. An end of file on the agent's port only says that nobody is at its other end.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for round in 1 2 3; do for module in /modules/*.ko; do insmod $module 2>/dev/null; done; done
for button in /dev/input/event*; do
  [ -e $button ] && { dd if=$button of=/dev/null bs=24 count=1 2>/dev/null; echo "guest: power button"; kill $(cat /counter); sync; [ -d /data ] && umount /data; poweroff -f; } &
done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
number() { dd if=/dev/vda bs=512 skip=$1 count=1 2>/dev/null | head -n1 | cut -d' ' -f1 | tr -dc 0-9; }
n=$(number 0); n=${n:-0}
bad=0; i=1
while [ $i -le $n ]; do [ "$(number $i)" = $i ] || bad=$((bad+1)); i=$((i+ (n/200) + 1)); done
echo "$n" > /www/found; echo "$bad" > /www/bad; echo "$n" > /www/now; echo ready > /www/index.html
echo "guest: found $n, bad $bad"
frozen=0; thawed=0; echo 0 > /www/frozen; echo 0 > /www/thawed
if [ -b /dev/vdb ]; then
  echo 0 > /proc/sys/vm/dirty_writeback_centisecs
  mkdir /data; mount -t ext4 -o commit=600 /dev/vdb /data; touch /data/log
  logged=$(tail -n1 /data/log); echo "${logged:-0}" > /www/logged
fi
answers() {
  while read -r line; do
    id=${line##*\"id\":}; id=${id%%\}*}
    case "$line" in
      *guest-sync-delimited*) printf '\377{"return":%s}\n' "$id";;
      *guest-sync*) echo "{\"return\":$id}";;
      *guest-ping*) echo '{"return":{}}';;
      *guest-fsfreeze-status*) [ $frozen = $thawed ] && echo '{"return":"thawed"}' || echo '{"return":"frozen"}';;
      *guest-fsfreeze-freeze*)
        if [ -d /data ] && fsfreeze --freeze /data; then frozen=$((frozen+1)); echo '{"return":1}'; else echo '{"return":0}'; fi
        echo $frozen > /www/frozen;;
      *guest-fsfreeze-thaw*)
        if [ -d /data ] && fsfreeze --unfreeze /data; then thawed=$((thawed+1)); echo '{"return":1}'; else echo '{"return":0}'; fi
        echo $thawed > /www/thawed;;
      *) echo '{"error":{"class":"CommandNotFound","desc":"this agent only freezes and thaws"}}';;
    esac
  done
}
for port in /sys/class/virtio-ports/*; do
  [ "$(cat $port/name 2>/dev/null)" = org.qemu.guest_agent.0 ] && { exec 3<>/dev/${port##*/}; while true; do answers <&3 >&3; usleep 100000; done; } &
done
( while true; do
    n=$((n+1))
    printf '%-511s\n' "$n" | dd of=/dev/vda bs=512 seek=$n count=1 conv=notrunc 2>/dev/null
    printf '%-511s\n' "$n" | dd of=/dev/vda bs=512 seek=0 count=1 conv=notrunc,fsync 2>/dev/null
    [ -d /data ] && echo $n >> /data/log
    echo $n > /www/next; mv /www/next /www/now
    usleep 20000
  done ) & echo $! > /counter
httpd -h /www
echo "guest: serves"
while true; do sleep 1000; done
"#;

/// What guests boot from.
pub(super) struct Image {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
}

/// Builds the initial file system, uncompressed: the kernel reads it either way.
pub(super) fn image(directory: &Path, kernel: &Kernel) -> Result<Image> {
    let mut archive = Archive::default();
    for name in ["bin", "modules", "www", "proc", "sys", "dev"] {
        archive.directory(name);
    }
    archive.file("bin/busybox", 0o755, &fs::read("/bin/busybox").context("no busybox")?);
    archive.file("init", 0o755, INIT.as_bytes());
    for (index, module) in MODULES.iter().enumerate() {
        let plain = kernel.modules.join("kernel").join(format!("{module}.ko"));
        let packed = plain.with_extension("ko.xz");
        let data = match (plain.exists(), packed.exists()) {
            (true, _) => fs::read(&plain)?,
            (_, true) => unpacked(&packed)?,
            _ => continue,
        };
        let name = module.rsplit('/').next().unwrap_or(module);
        archive.file(&format!("modules/{index:02}-{name}.ko"), 0o644, &data);
    }
    let image = Image {
        kernel: directory.join("vmlinuz"),
        initrd: directory.join("initrd"),
    };
    fs::copy(&kernel.image, &image.kernel).context("cannot copy the kernel")?;
    fs::write(&image.initrd, archive.finish()).context("cannot write the guests' file system")?;
    for file in [&image.kernel, &image.initrd] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    }
    Ok(image)
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let done = Command::new("xz")
        .arg("-dc")
        .arg(file)
        .output()
        .context("cannot run xz")?;
    ensure!(done.status.success(), "xz cannot unpack {}", file.display());
    Ok(done.stdout)
}

/// The kernel's format of an initial file system: `newc` of cpio.
#[derive(Default)]
struct Archive(Vec<u8>, u32);

impl Archive {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entry(name, 0o100_000 | mode, data);
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.1 += 1;
        let fields = [
            self.1,
            mode,
            0,
            0,
            1,
            0,
            length(data.len()),
            0,
            0,
            0,
            0,
            length(name.len() + 1),
            0,
        ];
        let fields = fields.map(|field| format!("{field:08X}"));
        // Into memory: there is nothing that could fail.
        let _ = write!(self.0, "070701{}{name}\0", fields.concat());
        self.pad();
        self.0.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.0
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_as_the_kernel_wants_it() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"hello");
        let bytes = archive.finish();
        assert!(bytes.starts_with(b"07070100000001000081ED"));
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
