//! Which point each machine goes to, as one rule for each choice.

use landfall_sdk::{Candidate, Choice, Consistency, Direction, Failure, PolicyRequest, RecoveryPoint, Selection, pair};

use crate::points::{Need, by_mark, common_marks, groups, newest, newest_mark};

/// A choice. Its name is what plans and commands say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Latest,
    LatestProcessed,
    LatestAppConsistent,
    MultiVmProcessed,
    MultiVmAppConsistent,
    Custom,
}

impl Rule {
    pub(crate) const ALL: [Self; 6] = [
        Self::Latest,
        Self::LatestProcessed,
        Self::LatestAppConsistent,
        Self::MultiVmProcessed,
        Self::MultiVmAppConsistent,
        Self::Custom,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::LatestProcessed => "latest-processed",
            Self::LatestAppConsistent => "latest-app-consistent",
            Self::MultiVmProcessed => "latest-multi-vm-processed",
            Self::MultiVmAppConsistent => "latest-multi-vm-app-consistent",
            Self::Custom => "custom",
        }
    }

    fn summary(self) -> &'static str {
        match self {
            Self::Latest => "Process everything received, then the newest point: loses least, takes longest",
            Self::LatestProcessed => "The newest point there is: starts at once, may lose what is not processed yet",
            Self::LatestAppConsistent => "The newest point at which the applications were quiesced",
            Self::MultiVmProcessed => "Replication groups to their newest common point, other machines to their newest",
            Self::MultiVmAppConsistent => {
                "Replication groups to their newest common app-consistent point, other machines to their own newest"
            }
            Self::Custom => "The point that is named for each machine",
        }
    }

    /// As the host lists it.
    pub(crate) fn describe(self) -> Choice {
        let params = match self {
            Self::Custom => vec![(
                "ITEM".to_owned(),
                "the id of the point for the protected item ITEM".to_owned(),
            )],
            _ => Vec::new(),
        };
        Choice {
            name: self.name().to_owned(),
            summary: self.summary().to_owned(),
            needs_processing: self == Self::Latest,
            needs_group: matches!(self, Self::MultiVmProcessed | Self::MultiVmAppConsistent),
            params,
            ext: Vec::new(),
        }
    }

    fn need(self) -> Need {
        match self {
            Self::LatestAppConsistent | Self::MultiVmAppConsistent => Need::App,
            Self::Latest | Self::LatestProcessed | Self::MultiVmProcessed | Self::Custom => Need::Any,
        }
    }

    /// Whether a replication group goes to one common point: forward where the choice says so (F07-F09), in reverse
    /// only with app-consistency (B22, B25).
    fn groups_together(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::MultiVmProcessed | Self::MultiVmAppConsistent, _) => true,
            (Self::LatestAppConsistent, direction) => direction == Direction::Reverse,
            (Self::Latest | Self::LatestProcessed | Self::Custom, _) => false,
        }
    }
}

/// One selection for every candidate, in their order; or a failure that names every candidate without a fitting point.
pub(crate) fn select(request: &PolicyRequest) -> Result<Vec<Selection>, Failure> {
    let rule = Rule::ALL
        .into_iter()
        .find(|rule| rule.name() == request.choice)
        .ok_or_else(|| unknown(request))?;
    let mut chosen = Vec::new();
    let mut without = Vec::new();
    for members in groups(&request.candidates) {
        match members.as_slice() {
            [first, ..] if first.group.is_some() && rule.groups_together(request.direction) => {
                together(rule, &members, &mut chosen, &mut without);
            }
            _ => members.iter().for_each(|member| match alone(rule, member, request) {
                Ok(selection) => chosen.push(selection),
                Err(why) => without.push((member.item.clone(), why)),
            }),
        }
    }
    if !without.is_empty() {
        return Err(no_point(rule, without));
    }
    let place = |selection: &Selection| request.candidates.iter().position(|one| one.item == selection.item);
    chosen.sort_by_key(place);
    Ok(chosen)
}

fn alone(rule: Rule, candidate: &Candidate, request: &PolicyRequest) -> Result<Selection, String> {
    if rule == Rule::Custom {
        return custom(candidate, request);
    }
    let need = rule.need();
    let point = newest(candidate, need).ok_or_else(|| missing(candidate, need))?;
    let kind = match (rule, request.direction) {
        (Rule::Latest, Direction::Reverse) => "newest point, counts as crash-consistent on the way back".to_owned(),
        (Rule::Latest, Direction::Forward) => format!("newest after processing, {}", words(point.consistency)),
        _ => format!("newest processed, {}", words(point.consistency)),
    };
    Ok(selection(candidate, point, kind))
}

fn custom(candidate: &Candidate, request: &PolicyRequest) -> Result<Selection, String> {
    let id = pair(&request.params, &candidate.item).ok_or_else(|| {
        format!(
            "no point is named for it; give the parameter {} = POINT",
            candidate.item
        )
    })?;
    let point = candidate
        .points
        .iter()
        .find(|point| point.id == id)
        .ok_or_else(|| format!("it has no point `{id}`"))?;
    if !point.processed {
        return Err(format!("its point `{id}` is still pending"));
    }
    Ok(selection(
        candidate,
        point,
        format!("named by the operator, {}", words(point.consistency)),
    ))
}

/// All members to the newest common mark, or none of them.
fn together(rule: Rule, members: &[&Candidate], chosen: &mut Vec<Selection>, without: &mut Vec<(String, String)>) {
    let need = rule.need();
    let mark = newest_mark(&common_marks(members, need));
    for member in members {
        let point = mark.and_then(|mark| Some((mark, *by_mark(member, need).get(mark)?)));
        match point {
            Some((mark, point)) => {
                let words = words(point.consistency);
                let reason = format!("newest common to its replication group (mark {mark}), {words}");
                chosen.push(selection(member, point, reason));
            }
            None if newest(member, need).is_none() => without.push((member.item.clone(), missing(member, need))),
            None => without.push((
                member.item.clone(),
                "its group has no point common to all members".to_owned(),
            )),
        }
    }
}

fn selection(candidate: &Candidate, point: &RecoveryPoint, reason: String) -> Selection {
    Selection {
        item: candidate.item.clone(),
        point: point.id.clone(),
        reason,
    }
}

fn words(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Crash => "crash-consistent",
        Consistency::App => "app-consistent",
    }
}

fn missing(candidate: &Candidate, need: Need) -> String {
    let pending = candidate.points.iter().filter(|point| !point.processed).count();
    match (need, candidate.points.len()) {
        (_, 0) => "it has no recovery point".to_owned(),
        (Need::Any, _) => format!("all its points are pending ({pending})"),
        (Need::App, all) => format!("none of its {} processed points is app-consistent", all - pending),
    }
}

fn unknown(request: &PolicyRequest) -> Failure {
    let names: Vec<&str> = Rule::ALL.into_iter().map(Rule::name).collect();
    let message = format!(
        "there is no choice `{}`; this policy offers {}",
        request.choice,
        names.join(", ")
    );
    Failure::definite("unknown-choice", message)
}

fn no_point(rule: Rule, mut without: Vec<(String, String)>) -> Failure {
    without.sort();
    let items: Vec<String> = without.iter().map(|(item, why)| format!("{item} ({why})")).collect();
    let message = format!(
        "`{}` finds no point for {}; choose another point or wait for one",
        rule.name(),
        items.join(", ")
    );
    Failure {
        details: without,
        ..Failure::definite("no-fitting-point", message)
    }
}

#[cfg(test)]
mod tests;
