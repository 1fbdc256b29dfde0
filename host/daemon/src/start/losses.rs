//! What a request would delete or give up that may be the only copy of a machine, and what it leaves behind.

use landfall_recovery::codes;
use landfall_recovery::freeze::{Frozen, FrozenItem, Keep};
use landfall_recovery::operations::Operation;
use landfall_recovery::words::{Direction, Finding, Severity};

use super::look::Listing;
use crate::preflight::finding;
use crate::problem::Refusal;

/// A recovered machine is given up only for a source that is there.
pub(super) fn can_return(frozen: &Frozen, listing: &Listing) -> Result<(), Refusal> {
    if frozen.keep != Some(Keep::Source) {
        return Ok(());
    }
    let unseen = |name: &str, item: &FrozenItem| {
        let cause = format!(
            "{}: the recovered machine may be the only one",
            listing.unseen(&item.item)?
        );
        let cure = format!(
            "wait until it is there again, or keep the recovered machine: `--keep {}`",
            item.item.target_site
        );
        Some(Finding {
            cure,
            ..finding(codes::NOT_AT_SOURCE, Severity::Error, name, cause)
        })
    };
    let findings: Vec<Finding> = frozen
        .items
        .iter()
        .filter_map(|(name, item)| unseen(name, item))
        .collect();
    if findings.is_empty() {
        return Ok(());
    }
    let what = format!("{} is refused", frozen.operation);
    Err(Refusal::findings(codes::PREFLIGHT_REFUSED, what, findings))
}

/// What this deletes or gives up that may be the only copy, machine by machine: it wants a name typed.
pub(super) fn gives_up(frozen: &Frozen, listing: &Listing) -> Vec<Finding> {
    let loses = |item: &FrozenItem| match frozen.operation {
        Operation::ChooseDirection if frozen.keep == Some(Keep::Source) => {
            Some("it deletes the recovered machine with all that it wrote".to_owned())
        }
        Operation::Unprotect => {
            let unseen = listing.unseen(&item.item)?;
            Some(format!("{unseen}: the replica that it deletes may be the only copy"))
        }
        // Home was chosen, and the machine away is deleted with what it had that home has not.
        Operation::Commit if frozen.direction == Direction::Reverse => {
            Some("it deletes the machine away from home, with its points".to_owned())
        }
        Operation::ChangePoint => {
            Some("what the recovered machine wrote since its failover is lost with the change".to_owned())
        }
        Operation::Release => Some("it lets go of what is away from home, for ever".to_owned()),
        _ => None,
    };
    let say =
        |name: &str, item: &FrozenItem| Some(finding(codes::NOT_CONFIRMED, Severity::Warning, name, loses(item)?));
    frozen.items.iter().filter_map(|(name, item)| say(name, item)).collect()
}

/// What Landfall made for items that it is to know nothing more of, and why.
pub(super) fn left_behind(frozen: &Frozen, reason: Option<&str>) -> Vec<Finding> {
    let Some(reason) = reason else { return Vec::new() };
    let say = |name: &str, item: &FrozenItem| {
        let state = &item.state;
        let things = [
            ("machine", &state.target_machine),
            ("machine", &state.created),
            ("test machine", &state.test_machine),
            ("replica", &state.replica),
            ("replica", &state.other_replica),
        ];
        let named = |(what, id): (&str, &Option<String>)| Some(format!("{what} `{}`", id.as_ref()?));
        let mut left: Vec<String> = things.into_iter().filter_map(named).collect();
        // What a failover made is, once it runs, the machine away.
        left.dedup();
        if left.is_empty() {
            left.push("nothing".to_owned());
        }
        let cause = format!(
            "{} released `{name}` ({reason}); left behind: {}",
            frozen.requested_by,
            left.join(", ")
        );
        finding(codes::LEFT_BEHIND, Severity::Warning, name, cause)
    };
    frozen.items.iter().map(|(name, item)| say(name, item)).collect()
}
