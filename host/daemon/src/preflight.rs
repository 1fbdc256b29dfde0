//! What the adapters have to say before anything starts, for all items at once, and again when the job's first steps
//! run. All findings are reported together.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, stream};
use landfall_recovery::codes;
use landfall_recovery::freeze::{Frozen, FrozenItem};
use landfall_recovery::operations::Operation;
use landfall_recovery::words::{Direction, Failure, Finding, Severity};
use landfall_runtime::Adapter;
use landfall_runtime::contract::adapter::{ItemFacts, PreflightAnswer, SiteFacts};

use crate::clock;
use crate::contract::{direction, from_call_error, from_finding, pairs};
use crate::engine::Engine;
use crate::sites::{Pins, is_read_again};
use crate::step::{listed, network_mappings, present, told};

/// Items asked about at once: enough to keep the guests' threads busy.
pub(crate) const AT_ONCE: usize = 32;

/// What preflight said of one item.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) findings: Vec<Finding>,
    /// Id and reason of steps that this machine needs and others do not (F28).
    pub(crate) extra_steps: Vec<(String, String)>,
}

/// Asks for every item of a job that is about to be frozen.
pub(crate) async fn all(engine: &Arc<Engine>, frozen: &Frozen) -> Vec<(String, Answer)> {
    // Boxed, because a stream of futures that borrow cannot be named otherwise.
    let asked: Vec<_> = frozen
        .items
        .iter()
        .map(|(name, item)| named(engine, frozen, name, item).boxed())
        .collect();
    stream::iter(asked).buffered(AT_ONCE).collect().await
}

async fn named(engine: &Arc<Engine>, frozen: &Frozen, name: &str, item: &FrozenItem) -> (String, Answer) {
    let answer = one(engine, frozen, &frozen.plugins, item)
        .await
        .unwrap_or_else(|failure| Answer {
            findings: vec![finding(
                codes::SITE_UNREACHABLE,
                Severity::Error,
                name,
                failure.to_string(),
            )],
            ..Answer::default()
        });
    (name.to_owned(), answer)
}

/// Asks the adapters that the operation will call.
pub(crate) async fn one(
    engine: &Arc<Engine>,
    frozen: &Frozen,
    pins: &Pins,
    item: &FrozenItem,
) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    let (source, target) = (item.item.source.site.as_str(), item.item.target_site.as_str());
    take(&mut answer, ask(engine, frozen, pins, item, target, source).await?);
    // The source of an unplanned failover may be gone, and a test does not touch it.
    if matches!(
        frozen.operation,
        Operation::Protect | Operation::PlannedFailover | Operation::Reprotect
    ) {
        take(&mut answer, ask(engine, frozen, pins, item, source, target).await?);
    } else if frozen.operation == Operation::UnplannedFailover && frozen.direction == Direction::Reverse {
        // On the way back it has its say, if it is there to say it.
        if let Ok(said) = ask(engine, frozen, pins, item, source, target).await {
            take(&mut answer, said);
        }
    }
    Ok(answer)
}

fn take(answer: &mut Answer, said: PreflightAnswer) {
    answer.findings.extend(said.findings.into_iter().map(from_finding));
    answer
        .extra_steps
        .extend(said.extra_steps.into_iter().map(|step| (step.id, step.reason)));
}

async fn ask(
    engine: &Arc<Engine>,
    frozen: &Frozen,
    pins: &Pins,
    item: &FrozenItem,
    site: &str,
    peer: &str,
) -> Result<PreflightAnswer, Failure> {
    let adapter = engine.adapter_of(pins, site).await?;
    let peer = pins.get(&crate::step::site_key(peer)).map(|pinned| SiteFacts {
        site: peer.to_owned(),
        plugin: pinned.plugin.clone(),
        replication: String::new(),
        ext: Vec::new(),
    });
    let role = if site == item.item.target_site {
        "target"
    } else {
        "source"
    };
    let facts = facts(frozen, item, role);
    let (operation, began) = (frozen.operation.name(), clock::now());
    let mut answer = say(&adapter, facts.clone(), peer.clone(), operation).await;
    if is_read_again(&answer, began) {
        answer = say(&adapter, facts, peer, operation).await;
    }
    answer
}

async fn say(
    adapter: &Adapter,
    facts: ItemFacts,
    peer: Option<SiteFacts>,
    operation: &str,
) -> Result<PreflightAnswer, Failure> {
    let answer = adapter.preflight(facts, peer, operation.to_owned()).await;
    answer.map_err(|error| from_call_error(&error))
}

fn facts(frozen: &Frozen, item: &FrozenItem, role: &str) -> ItemFacts {
    // A machine that cannot be read back was listed by a newer version; preflight then goes without it.
    let machine = listed(item).ok().flatten();
    let mut ext = pairs(&told(frozen, item));
    ext.push(("role".to_owned(), role.to_owned()));
    ItemFacts {
        item: item.item.name.clone(),
        origin: item.origin.clone(),
        direction: direction(frozen.direction),
        machine,
        // One that is still to be made, where the job turns the replication round.
        replica: item.state.replica.clone().filter(|_| item.turn.is_none()),
        target_machine: present(frozen, item),
        networks: network_mappings(frozen, item),
        ext,
    }
}

/// A finding of the host's own.
pub(crate) fn finding(id: &str, severity: Severity, subject: &str, cause: String) -> Finding {
    let cure = codes::explain(id).map_or("", |page| page.cure);
    Finding {
        id: id.to_owned(),
        severity,
        subject: subject.to_owned(),
        cause,
        cure: cure.to_owned(),
    }
}
