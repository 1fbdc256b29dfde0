//! A site that keeps epochs refuses the daemon that a restored backup replaced. Last of all, since what this suite did
//! so far was under the epoch that is over then.

use landfall_runtime::contract::adapter::{Hold, Operation, PrepareReplica, ReplicaRef};
use landfall_runtime::contract::types::{Call, Progress};
use landfall_runtime::{CallError, Fault};

use super::effect::{Role, finish};
use super::{ITEM, Run, Said};

/// The one after the suite's own.
const NEXT: u64 = 2;

const STALE: &str = "stale-epoch";

impl Run<'_> {
    fn next(&self, step: &str) -> Call {
        Call {
            epoch: NEXT,
            ..self.caller.call(step, 1)
        }
    }

    pub(super) async fn take_over(&mut self) -> Said {
        let (mut wrong, mut keeping, mut tried) = (Vec::new(), Vec::new(), false);
        for (name, role) in self.roles() {
            let mut said = Vec::new();
            match role.now.take_over(self.next("take-over")).await {
                Ok(None) => continue,
                Ok(Some(())) => {
                    keeping.push(name);
                    tried |= self.after(name, role, &mut said).await;
                }
                Err(error) => said.push(error.to_string()),
            }
            wrong.extend(said.into_iter().map(|what| format!("{name}: {what}")));
        }
        if keeping.is_empty() && wrong.is_empty() {
            return Said::Skip("it does not export `takeover`".to_owned());
        }
        if !tried && wrong.is_empty() {
            return Said::Skip("no order could be tried: `hold` or `prepare-replica`, with a machine".to_owned());
        }
        Said::of(wrong, keeping.join(", "))
    }

    /// Whether an order could be tried.
    async fn after(&self, name: &str, role: &Role, wrong: &mut Vec<String>) -> bool {
        if let Err(error) = role.restarted.take_over(self.next("take-over")).await {
            wrong.push(format!("taken over once more under the same epoch: {error}"));
        }
        let lower = self.caller.call("take-over", 1);
        match role.restarted.take_over(lower).await {
            Err(error) if code(&error) == STALE => {}
            Err(error) => wrong.push(format!("a lower epoch was not refused as `{STALE}`: {error}")),
            Ok(_) => wrong.push("a lower epoch took over".to_owned()),
        }
        let cancelled = role
            .restarted
            .cancel(self.caller.call("stale", 1), "no-such-handle".to_owned());
        match cancelled.await {
            Ok(Progress::Failed(failure)) if failure.code == STALE => {}
            Err(error) if code(&error) == STALE => {}
            other => wrong.push(format!(
                "`cancel` under the old epoch was not refused as `{STALE}`: {other:?}"
            )),
        }
        let order = self.order(name).filter(|(word, _)| role.classes.contains_key(*word));
        let Some((word, order)) = order else { return false };
        let answer = match role.restarted.submit(self.caller.call("stale", 1), order).await {
            Ok(Progress::Failed(failure)) => Err(failure.code),
            Ok(progress) => {
                let done = finish(&role.now, &self.caller, word, progress, wrong).await;
                if let Some(replica) = done.and_then(|outputs| outputs.get("replica").cloned()) {
                    let delete = Operation::DeleteReplica(ReplicaRef { replica });
                    let _ = role.now.submit(self.next("clean-up"), delete).await;
                }
                Ok(())
            }
            Err(error) => Err(code(&error)),
        };
        match answer {
            Err(code) if code == STALE => {}
            Err(code) => wrong.push(format!(
                "`{word}` under the old epoch failed as `{code}`, not as `{STALE}`"
            )),
            Ok(()) => wrong.push(format!("`{word}` under the old epoch was carried out")),
        }
        true
    }

    /// An order that does no harm if it is carried out.
    fn order(&self, role: &str) -> Option<(&'static str, Operation)> {
        let machine = self.machine.clone()?;
        Some(if role == "source" {
            let hold = Hold {
                machine: machine.id,
                held: false,
            };
            ("hold", Operation::Hold(hold))
        } else {
            let prepare = PrepareReplica {
                item: ITEM.to_owned(),
                machine,
                source_site: "check-source".to_owned(),
            };
            ("prepare-replica", Operation::PrepareReplica(prepare))
        })
    }
}

fn code(error: &CallError) -> String {
    match &error.fault {
        Fault::Failure(failure) => failure.code.clone(),
        _ => error.to_string(),
    }
}
