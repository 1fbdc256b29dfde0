//! Handles: what the host keeps of an effect that is under way, and gives back to ask for it.
//!
//! Most effects are **goals**: a machine is to be on, off, gone. Their handle says what is wanted and of whom, nothing
//! else, so asking again is looking again, and whoever lost track starts anew without harm. What **makes** something may
//! happen once only; its handle names vCenter's task and what to look for under our key when the task is over.

use std::fmt;

/// What is wanted of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    On,
    Off,
    /// Off, or no longer there: of a machine that we made and that will be deleted.
    Stopped,
    /// Shut down by its guest, and if that takes longer than until this time (milliseconds since 1970), as configured.
    GuestOff(u64),
    /// Off, and unable to start.
    Fenced,
    /// None of our snapshots is left, or none of these.
    PointsGone(Option<Vec<String>>),
    Gone,
}

/// What is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// A machine with this instance UUID.
    Machine { uuid: String },
    /// A snapshot of this name; the output is `point`.
    Point { machine: String, name: String },
    /// The same, made when a replica is prepared; the output is `replica`.
    Replica { machine: String, name: String },
}

/// An effect under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handle {
    Goal { machine: String, goal: Goal },
    Made { task: String, made: Made },
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goal { machine, goal } => match goal {
                Goal::On => write!(f, "on:{machine}"),
                Goal::Off => write!(f, "off:{machine}"),
                Goal::Stopped => write!(f, "stopped:{machine}"),
                Goal::GuestOff(until) => write!(f, "guest-off:{machine}:{until}"),
                Goal::Fenced => write!(f, "fenced:{machine}"),
                Goal::PointsGone(None) => write!(f, "points-gone:{machine}:all"),
                Goal::PointsGone(Some(points)) => write!(f, "points-gone:{machine}:{}", points.join(",")),
                Goal::Gone => write!(f, "gone:{machine}"),
            },
            Self::Made { task, made } => match made {
                Made::Machine { uuid } => write!(f, "machine:{task}:{uuid}"),
                Made::Point { machine, name } => write!(f, "point:{task}:{machine}:{name}"),
                Made::Replica { machine, name } => write!(f, "replica:{task}:{machine}:{name}"),
            },
        }
    }
}

impl Handle {
    /// None: it is none of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let goal = |machine: &str, goal| {
            Some(Self::Goal {
                machine: machine.to_owned(),
                goal,
            })
        };
        let made = |task: &str, made| {
            Some(Self::Made {
                task: task.to_owned(),
                made,
            })
        };
        let snapshot = |machine: &str, name: &str| (machine.to_owned(), name.to_owned());
        match parts.as_slice() {
            ["on", machine] => goal(machine, Goal::On),
            ["off", machine] => goal(machine, Goal::Off),
            ["stopped", machine] => goal(machine, Goal::Stopped),
            ["guest-off", machine, until] => goal(machine, Goal::GuestOff(until.parse().ok()?)),
            ["fenced", machine] => goal(machine, Goal::Fenced),
            ["points-gone", machine, "all"] => goal(machine, Goal::PointsGone(None)),
            ["points-gone", machine, points] => {
                let points = points.split(',').map(str::to_owned).collect();
                goal(machine, Goal::PointsGone(Some(points)))
            }
            ["gone", machine] => goal(machine, Goal::Gone),
            ["machine", task, uuid] => made(
                task,
                Made::Machine {
                    uuid: (*uuid).to_owned(),
                },
            ),
            ["point", task, machine, name] => {
                let (machine, name) = snapshot(machine, name);
                made(task, Made::Point { machine, name })
            }
            ["replica", task, machine, name] => {
                let (machine, name) = snapshot(machine, name);
                made(task, Made::Replica { machine, name })
            }
            _ => None,
        }
    }

    /// The machine that must be looked at to say how it stands.
    pub(crate) fn machine(&self) -> Option<&str> {
        match self {
            Self::Goal { machine, .. } => Some(machine),
            Self::Made { made, .. } => match made {
                Made::Machine { .. } => None,
                Made::Point { machine, .. } | Made::Replica { machine, .. } => Some(machine),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_back() {
        let goals = [
            Goal::On,
            Goal::Off,
            Goal::Stopped,
            Goal::GuestOff(1_700_000_000_000),
            Goal::Fenced,
            Goal::PointsGone(None),
            Goal::PointsGone(Some(vec!["snapshot-1".into(), "snapshot-2".into()])),
            Goal::Gone,
        ];
        let goals = goals.map(|goal| Handle::Goal {
            machine: "vm-1".into(),
            goal,
        });
        let (machine, name) = ("vm-1".to_owned(), "landfall-00".to_owned());
        let made = [
            Made::Machine { uuid: "a-b".into() },
            Made::Point {
                machine: machine.clone(),
                name: name.clone(),
            },
            Made::Replica { machine, name },
        ];
        let made = made.map(|made| Handle::Made {
            task: "task-7".into(),
            made,
        });
        for handle in goals.into_iter().chain(made) {
            assert_eq!(Handle::parse(&handle.to_string()), Some(handle));
        }
        for odd in ["", "on", "no-such-handle", "guest-off:vm-1:soon", "machine:task-1"] {
            assert_eq!(Handle::parse(odd), None, "{odd}");
        }
    }
}
