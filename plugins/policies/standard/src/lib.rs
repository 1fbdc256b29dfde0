//! The `standard` recovery-point policy: the six choices that operators know (`requirements.md` F05-F10), and a
//! retention that thins old points.
//!
//! | choice | takes each machine to | source |
//! |---|---|---|
//! | `latest` | its newest point, after all received data was processed into one | F05, B22 |
//! | `latest-processed` | the newest point there already is | F06, B22 |
//! | `latest-app-consistent` | its newest app-consistent point; in direction reverse a replication group to a common one | F07, B25 |
//! | `latest-multi-vm-processed` | a replication group to the newest common point, others to their newest | F08 |
//! | `latest-multi-vm-app-consistent` | the same with app-consistent points | F09 |
//! | `custom` | the point named for it: parameter ITEM = POINT | F10 |
//!
//! A point that is still pending is never chosen. What cannot be satisfied fails and names every item without a
//! fitting point; nothing falls back to another choice silently. In direction reverse `latest` counts as
//! crash-consistent whatever the point is, and the reason shown says so (B24).
//!
//! `retain` is described in its module. The policy asks for no interface: it sees what the request holds.

mod points;
mod retain;
mod select;
#[cfg(test)]
mod testing;

use landfall_sdk::{Choice, Failure, Plugin, Policy, PolicyRequest, Selection, Verdict, export_policy};

struct Standard;

impl Plugin for Standard {
    const NAME: &'static str = "standard";
    const SUMMARY: &'static str = "The standard choices of recovery point";
}

impl Policy for Standard {
    fn choices() -> Vec<Choice> {
        select::Rule::ALL.into_iter().map(select::Rule::describe).collect()
    }

    fn select(request: &PolicyRequest) -> Result<Vec<Selection>, Failure> {
        select::select(request)
    }

    fn retain(request: &PolicyRequest) -> Result<Vec<Verdict>, Failure> {
        retain::retain(request)
    }
}

export_policy!(Standard);
