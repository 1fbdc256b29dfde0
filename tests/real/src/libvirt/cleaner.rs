//! A process of its own that ends what was started: when its standard input ends, whoever watches over the sites is
//! gone, whether it was done, failed, was interrupted or killed. QEMU outlives libvirtd, and libvirtd us; this ends all.
//! It ends only processes whose command line or process-id file lies in its directory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Processes that were killed are gone by then.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The cleaner that watches this process.
pub(super) struct Cleaner {
    child: Child,
}

impl Cleaner {
    /// Begins to watch. It does not hear ctrl-c: it is told by the end of its input.
    pub(super) fn watch(directory: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("this program has no path")?;
        let mut command = Command::new(program);
        command.arg("libvirt-cleaner").arg(directory);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let child = command.spawn().context("cannot start the cleaner")?;
        Ok(Self { child })
    }

    /// Ends the processes, and removes the directory.
    pub(super) fn clean_all(self) -> Result<()> {
        self.end(b"")
    }

    /// Ends the processes; what they wrote stays.
    pub(super) fn end_only(self) -> Result<()> {
        self.end(b"keep")
    }

    fn end(mut self, word: &[u8]) -> Result<()> {
        if let Some(mut input) = self.child.stdin.take() {
            input.write_all(word).context("the cleaner is gone")?;
        }
        let status = self.child.wait().context("the cleaner is gone")?;
        if !status.success() {
            bail!("not everything could be cleaned up: {status}");
        }
        Ok(())
    }
}

/// What the cleaner's process does.
pub(crate) fn clean(directory: &Path) -> Result<()> {
    let mut word = Vec::new();
    std::io::stdin().read_to_end(&mut word).context("cannot watch")?;
    end_all(directory)?;
    unmount(directory);
    if word == b"keep" {
        return Ok(());
    }
    match fs::remove_dir_all(directory) {
        // Somebody who made it removes it too.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Ends whatever runs with this directory in its command line, until nothing does.
pub(super) fn end_all(directory: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        let found = processes(directory);
        if found.is_empty() {
            return Ok(());
        }
        if began.elapsed() > GONE_WITHIN {
            bail!("processes {found:?} do not end");
        }
        for process in found {
            kill(process, "KILL");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// File systems that were mounted there.
fn unmount(directory: &Path) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for place in places.filter(|place| place.starts_with(directory)) {
        // What stays mounted shows when the directory is removed.
        let _ = Command::new("umount").arg(place).status();
    }
}

/// Ids of processes, other than this one and the watched, that name something in the directory.
fn processes(directory: &Path) -> Vec<u32> {
    let Some(needle) = directory.to_str() else {
        return Vec::new();
    };
    // As a part of a path, so that no longer name is meant.
    let needle = format!("{}/", needle.trim_end_matches('/'));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let place = PathBuf::from(format!("/proc/{id}"));
        let program = fs::read_link(place.join("exe")).unwrap_or_default();
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_ours = ["libvirtd", "landfall"].contains(&name) || name.starts_with("qemu-");
        let line = fs::read(place.join("cmdline")).unwrap_or_default();
        is_ours && String::from_utf8_lossy(&line).contains(&needle)
    })
    .collect()
}

/// By the id of one process, which this program or its libvirtd started.
pub(super) fn kill(process: u32, signal: &str) {
    // One that is gone already is what was wanted.
    let _ = Command::new("kill")
        .args([format!("-{signal}"), process.to_string()])
        .stderr(Stdio::null())
        .status();
}
