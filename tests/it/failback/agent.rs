//! For some minutes after its start a cloud machine's agent is not known at home.

use serde_json::json;

use super::{AWAY, HOME, away, vmware};

#[test]
fn b29_reprotect_waits_for_the_agent_by_itself() {
    let world = vmware();
    world.lab.facts(AWAY, &json!({"agent_delay_ms": 6_000}));
    away(&world);
    let job = world.launch("reprotect", &json!({}));
    let said = job
        .findings
        .iter()
        .any(|finding| finding.id == "lab/agent-not-registered");
    assert!(said, "{:?}", job.findings);
    let job = world.rest(&job.id);
    assert_eq!(job.status, "succeeded");
    let step = job.step("prepare-replica/db");
    assert!(step.attempt > 1, "it was tried {} times", step.attempt);
    let refused = world.lab.ledger().into_iter().filter(|line| {
        line.site.as_deref() == Some(HOME) && line.operation == "prepare-replica" && line.result == "refused"
    });
    assert!(refused.count() > 0);
    world.lab.assert_sound();
}
