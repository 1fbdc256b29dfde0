//! The lab itself: state and ledger together. Every method is one step under one lock: it first finishes what is due,
//! then decides, writes its lines, and only then answers. Time comes in as an argument, so tests need not wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;

use crate::LabError;
use crate::blobs::Blobs;
use crate::check::{Check, Verdict};
use crate::entry::{Change, Entry, Outcome};
use crate::fault::Fault;
use crate::ledger::Ledger;
use crate::operation::Failure;
use crate::state::{Network, Replica, Site, State, Status};

/// See the module.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) state: State,
    pub(crate) blobs: Arc<Blobs>,
    check: Check,
    ledger: Ledger,
    /// Tasks by the lab time at which they are due.
    pub(crate) due: BinaryHeap<Reverse<(u64, String)>>,
    /// What to do with files once the lines are written.
    afterwards: Vec<Afterwards>,
}

/// Work on files that must not happen before its line is written: a kill in between then leaves a file too many, and
/// never one too few.
#[derive(Debug)]
enum Afterwards {
    Seal { site: String, replica: String, bytes: u64 },
    Prune { site: String, replica: String },
    RemoveReplica { site: String, replica: String },
    Unlink { base: String },
}

impl Lab {
    /// Opens the lab in a directory: makes it, or replays what is there. `scale` in thousandths; none leaves it.
    pub(crate) fn open(directory: &Path, wall: u64, scale: Option<u64>) -> Result<Self, LabError> {
        let failed = |source| LabError::Data {
            path: directory.to_owned(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let (mut state, mut check) = (State::default(), Check::default());
        let ledger = Ledger::open(directory, |entry| {
            state.apply(entry);
            check.apply(entry);
        })?;
        let blobs = Arc::new(Blobs::open(directory, &state).map_err(failed)?);
        let due = state.tasks.values().filter_map(|task| match task.status {
            Status::Running { due: Some(due), .. } => Some(Reverse((due, task.handle.clone()))),
            _ => None,
        });
        let due = due.collect();
        let mut lab = Self {
            state,
            blobs,
            check,
            ledger,
            due,
            afterwards: Vec::new(),
        };
        lab.begin(wall, scale).map_err(failed)?;
        Ok(lab)
    }

    /// A new lab has two sites with a production and an isolated network each.
    fn begin(&mut self, wall: u64, scale: Option<u64>) -> std::io::Result<()> {
        let is_new = self.state.seq == 0;
        if is_new || scale.is_some_and(|scale| scale != self.state.clock.scale()) {
            let change = Change::Scale {
                milli: scale.unwrap_or(1000),
            };
            self.stage(wall, Entry::plain("lab", "scale", vec![change]))?;
        }
        if is_new {
            let change = Change::KeyHeader {
                name: "idempotency-key".to_owned(),
            };
            self.stage(wall, Entry::plain("lab", "settings", vec![change]))?;
            for site in ["a", "b"] {
                let entry = Entry::plain("lab", "make-site", new_site());
                self.stage(
                    wall,
                    Entry {
                        site: Some(site.to_owned()),
                        ..entry
                    },
                )?;
            }
        }
        self.flush()
    }

    /// The wall time, which in here never goes back.
    pub(crate) fn wall(&self, wall: u64) -> u64 {
        wall.max(self.state.at_ms)
    }

    /// The site, or the failure that names it.
    pub(crate) fn site(&self, name: &str) -> Result<&Site, Failure> {
        self.state
            .sites
            .get(name)
            .ok_or_else(|| Failure::refused("unknown-site", format!("there is no site `{name}`")))
    }

    /// The site whose machines are meant where this one is called, by its name: of management controllers, the one that
    /// they control.
    pub(crate) fn behind<'a>(&'a self, name: &'a str) -> Result<(&'a str, &'a Site), Failure> {
        match &self.site(name)?.settings.controls {
            Some(controlled) => Ok((controlled, self.site(controlled)?)),
            None => Ok((name, self.site(name)?)),
        }
    }

    /// The first fault that fits a request.
    pub(crate) fn fault(&self, site: &str, operation: &str, subjects: &[&str], forced: Option<bool>) -> Option<Fault> {
        self.state
            .faults
            .iter()
            .find(|fault| fault.matches(site, operation, subjects, forced))
            .cloned()
    }

    /// How long an operation takes now, in lab milliseconds.
    pub(crate) fn latency(&self, site: &str, operation: &str) -> u64 {
        let state = &self.state;
        let Some(latency) = state
            .latencies
            .iter()
            .rev()
            .find(|latency| latency.matches(site, operation))
        else {
            return 0;
        };
        let drawn = latency.draw(state.seed, state.seq);
        let slowness = state.sites.get(site).map_or(1.0, |site| site.settings.slowness);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a float that is too large or negative becomes the nearest number, which is what is meant"
        )]
        let scaled = (drawn as f64 * slowness) as u64;
        scaled
    }

    /// Lines about what was not an operation on a site: the control API's. Numbered, written, folded in.
    pub(crate) fn record(&mut self, wall: u64, entry: Entry) -> Result<u64, Failure> {
        let wall = self.wall(wall);
        self.stage(wall, entry)
            .and_then(|()| self.flush())
            .map_err(|error| ledger_failed(&error))?;
        Ok(self.state.seq)
    }

    /// Folds a line in and adds it to what the next `flush` writes.
    pub(crate) fn stage(&mut self, wall: u64, mut entry: Entry) -> std::io::Result<()> {
        (entry.seq, entry.at_ms) = (self.state.seq + 1, wall);
        let site = entry.site.clone().unwrap_or_default();
        for change in &entry.change {
            self.prepare_files(&site, change)?;
        }
        self.ledger.add(&entry)?;
        self.state.apply(&entry);
        self.check.apply(&entry);
        Ok(())
    }

    /// Hands everything staged to the operating system. Nobody is answered before.
    pub(crate) fn flush(&mut self) -> std::io::Result<()> {
        self.ledger.flush()?;
        for work in std::mem::take(&mut self.afterwards) {
            if let Err(error) = self.work_on_files(&work) {
                tracing::warn!(?work, %error, "files could not be brought in line with the ledger");
            }
        }
        Ok(())
    }

    fn prepare_files(&mut self, site: &str, change: &Change) -> std::io::Result<()> {
        let owned = str::to_owned;
        let work = match change {
            Change::ReplicaMade { replica } if replica.replication == crate::state::Replication::Driven => {
                return self.blobs.add(site, replica, |offset, bytes| {
                    self.original_bytes(site, replica, offset, bytes)
                });
            }
            Change::ReplicaGone { replica } => Afterwards::RemoveReplica {
                site: owned(site),
                replica: owned(replica),
            },
            Change::Received { replica, point } => Afterwards::Seal {
                site: owned(site),
                replica: owned(replica),
                bytes: point.content.bytes(),
            },
            Change::Processed { replica, .. } | Change::PointsGone { replica, .. } => Afterwards::Prune {
                site: owned(site),
                replica: owned(replica),
            },
            Change::MachineGone { machine } | Change::DiskReplaced { machine, .. } => {
                let machine = self.state.sites.get(site).and_then(|site| site.machines.get(machine));
                let Some(base) = machine.and_then(|machine| machine.disk.base_file()) else {
                    return Ok(());
                };
                Afterwards::Unlink { base: owned(base) }
            }
            _ => return Ok(()),
        };
        self.afterwards.push(work);
        Ok(())
    }

    /// A piece of the disk at home that a replica begins with.
    fn original_bytes(&self, site: &str, replica: &Replica, offset: u64, bytes: u64) -> std::io::Result<Vec<u8>> {
        let machines = self.state.sites.get(site).map(|site| &site.machines);
        let original = replica.original.as_ref().and_then(|id| machines?.get(id));
        let disk = &original.ok_or(std::io::ErrorKind::NotFound)?.disk;
        disk.read(&self.state.clock, self.blobs.root(), offset, bytes)
    }

    fn work_on_files(&self, work: &Afterwards) -> std::io::Result<()> {
        match work {
            Afterwards::Seal { site, replica, bytes } => match self.blobs.store(site, replica) {
                Some(store) => store.seal(*bytes),
                None => Ok(()),
            },
            Afterwards::Prune { site, replica } => {
                match self.state.sites.get(site).and_then(|site| site.replicas.get(replica)) {
                    Some(replica) => self.blobs.prune(site, replica),
                    None => Ok(()),
                }
            }
            Afterwards::RemoveReplica { site, replica } => self.blobs.remove(site, replica),
            Afterwards::Unlink { base } => self.blobs.unlink(base),
        }
    }

    /// The oracle's judgement.
    pub(crate) fn verdict(&self) -> Verdict {
        self.check.verdict(&self.state)
    }

    /// Where to read the ledger's lines after this one: file, offset, length.
    pub(crate) fn lines_after(&self, seq: u64) -> (std::path::PathBuf, u64, u64) {
        self.ledger.after(seq)
    }

    /// Marks a fault as used once by a request that leaves no other line.
    pub(crate) fn use_fault(&mut self, wall: u64, site: &str, operation: &str, fault: &Fault) -> Result<(), Failure> {
        let entry = Entry {
            site: Some(site.to_owned()),
            result: Outcome::Unchanged,
            note: Some(format!("fault {} ({:?})", fault.id, fault.mode)),
            ..Entry::plain("lab", operation, vec![Change::FaultUsed { id: fault.id }])
        };
        self.record(wall, entry).map(drop)
    }
}

/// What a new site begins with.
pub(crate) fn new_site() -> Vec<Change> {
    let network = |id: &str, name: &str, isolated| Change::NetworkSet {
        network: Network {
            id: id.to_owned(),
            name: name.to_owned(),
            isolated,
        },
    };
    vec![
        Change::SiteMade,
        network("lan", "Production", false),
        network("bubble", "Isolated", true),
    ]
}

/// The lab cannot keep its promise any more; whether the effect will be known after a restart is open.
pub(crate) fn ledger_failed(error: &std::io::Error) -> Failure {
    Failure {
        code: "ledger".to_owned(),
        message: format!("the ledger could not be written: {error}"),
        retryable: false,
        definite: false,
    }
}
