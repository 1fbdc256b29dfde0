//! Machines at the target, and the source's own: made, started, proved off, fenced, thrown away.

use landfall_runtime::Fault;
use landfall_runtime::contract::adapter::{ChangePoint, CreateMachine, Hold, MachineRef, Operation, Power, Shutdown};
use landfall_runtime::contract::types::Progress;

use super::effect::finish;
use super::{ITEM, Run, Said, failure, list_machines};

impl Run<'_> {
    pub(super) async fn machine_count(&self) -> usize {
        match &self.target {
            Some(target) => list_machines(&target.now).await.map_or(0, |machines| machines.len()),
            None => 0,
        }
    }

    pub(super) async fn create_machine(&mut self) -> Said {
        let (Some(machine), Some(replica)) = (self.machine.clone(), self.replica.clone()) else {
            return Said::Skip("there is no replica".to_owned());
        };
        let Some(point) = self.points.first().cloned() else {
            return Said::Skip("there is no recovery point".to_owned());
        };
        let operation = Operation::CreateMachine(CreateMachine {
            item: ITEM.to_owned(),
            name: format!("{}-test", machine.name),
            replica,
            point,
            networks: self.mapping(&machine),
            isolated: self.scratch.isolated_network.is_some(),
            cpus: machine.cpus,
            memory_bytes: machine.memory_bytes,
            ext: vec![],
        });
        let before = self.machine_count().await;
        let outputs = match self.one("target", "create", operation).await {
            Ok(outputs) => outputs,
            Err(said) => return said,
        };
        let Some(created) = outputs.get("machine").cloned() else {
            return Said::Wrong(vec!["it is done and gives no `machine`".to_owned()]);
        };
        self.created = Some(created.clone());
        let after = self.machine_count().await;
        if after != before + 1 {
            return Said::Wrong(vec![format!(
                "{before} machines before and {after} after, submitted three times under one key"
            )]);
        }
        self.expect_power("target", &created, Power::Off).await
    }

    /// A read of the power, with evidence.
    pub(super) async fn expect_power(&self, role: &str, machine: &str, wanted: Power) -> Said {
        let role = if role == "source" { &self.source } else { &self.target };
        let Some(role) = role else {
            return Said::Skip("the role is not played".to_owned());
        };
        match role.restarted.power_state(machine.to_owned()).await {
            Ok(answer) if answer.power == wanted && !answer.evidence.is_empty() => {
                Said::Fine(format!("{:?}", answer.evidence))
            }
            Ok(answer) => Said::Wrong(vec![format!(
                "`{machine}` should be {wanted:?}, with evidence, and is {answer:?}"
            )]),
            Err(error) => Said::Wrong(vec![failure(&error)]),
        }
    }

    pub(super) async fn isolation(&mut self) -> Said {
        let (Some(target), Some(network)) = (&self.target, &self.scratch.isolated_network) else {
            return Said::Skip("[scratch] names no isolated-network".to_owned());
        };
        match target.now.prove_isolation(network.clone()).await {
            Ok(answer) if answer.isolated && !answer.evidence.is_empty() => {
                Said::Fine(format!("{:?}", answer.evidence))
            }
            Ok(answer) => Said::Wrong(vec![format!(
                "`{network}` should be isolated, with evidence: {answer:?}"
            )]),
            Err(error) => Said::Wrong(vec![failure(&error)]),
        }
    }

    pub(super) async fn start(&mut self) -> Said {
        let Some(machine) = self.created.clone() else {
            return Said::Skip("no machine was created".to_owned());
        };
        match self
            .one(
                "target",
                "start",
                Operation::Start(MachineRef {
                    machine: machine.clone(),
                }),
            )
            .await
        {
            Ok(_) => self.expect_power("target", &machine, Power::On).await,
            Err(said) => said,
        }
    }

    pub(super) async fn stop(&mut self) -> Said {
        let Some(machine) = self.created.clone() else {
            return Said::Skip("no machine was created".to_owned());
        };
        let stop = Operation::Stop(Shutdown {
            machine: machine.clone(),
            forced: true,
        });
        match self.one("target", "stop", stop).await {
            Ok(_) => self.expect_power("target", &machine, Power::Off).await,
            Err(said) => said,
        }
    }

    pub(super) async fn change_point(&mut self) -> Said {
        let (Some(machine), Some(replica), Some(point)) =
            (self.created.clone(), self.replica.clone(), self.points.get(1).cloned())
        else {
            return Said::Skip("there is no machine, or no second point".to_owned());
        };
        match self
            .one(
                "target",
                "change",
                Operation::ChangePoint(ChangePoint {
                    machine,
                    replica,
                    point,
                }),
            )
            .await
        {
            Ok(_) => Said::Fine("to the second point".to_owned()),
            Err(said) => said,
        }
    }

    pub(super) async fn delete_machine(&mut self) -> Said {
        let Some(machine) = self.created.take() else {
            return Said::Skip("no machine was created".to_owned());
        };
        let before = self.machine_count().await;
        let operation = Operation::DeleteMachine(MachineRef {
            machine: machine.clone(),
        });
        if let Err(said) = self.one("target", "delete-machine", operation).await {
            return said;
        }
        let after = self.machine_count().await;
        if after + 1 == before {
            Said::Fine(machine)
        } else {
            Said::Wrong(vec![format!("{before} machines before and {after} after")])
        }
    }

    pub(super) async fn shutdown(&mut self) -> Said {
        let Some(machine) = self.machine.as_ref().map(|machine| machine.id.clone()) else {
            return Said::Skip("[scratch] names no machine".to_owned());
        };
        let hold = |held| {
            Operation::Hold(Hold {
                machine: machine.clone(),
                held,
            })
        };
        let shutdown = Operation::Shutdown(Shutdown {
            machine: machine.clone(),
            forced: true,
        });
        for (step, operation) in [("shutdown", shutdown), ("hold", hold(true))] {
            if let Err(said) = self.one("source", step, operation).await {
                return said;
            }
        }
        if let said @ Said::Wrong(_) = self.expect_power("source", &machine, Power::Off).await {
            return said;
        }
        if let Some(source) = &self.source {
            match source.now.power_state(machine.clone()).await {
                Ok(answer) if answer.autostart == Some(true) => {
                    return Said::Wrong(vec!["it is held, and starts by itself".to_owned()]);
                }
                Ok(_) => {}
                Err(error) => return Said::Wrong(vec![failure(&error)]),
            }
        }
        let start = Operation::Start(MachineRef {
            machine: machine.clone(),
        });
        for (step, operation) in [("unhold", hold(false)), ("start-source", start)] {
            if let Err(said) = self.one("source", step, operation).await {
                return said;
            }
        }
        self.expect_power("source", &machine, Power::On).await
    }

    pub(super) async fn cancel(&mut self) -> Said {
        let mut wrong = Vec::new();
        for (name, role) in self.roles() {
            match role
                .now
                .cancel(self.caller.call("cancel", 1), "no-such-handle".to_owned())
                .await
            {
                Ok(Progress::Failed(_)) => {}
                Ok(other) => wrong.push(format!("{name}: an unknown handle was cancelled: {other:?}")),
                Err(error) if matches!(error.fault, Fault::Failure(_)) => {}
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
        }
        Said::of(wrong, "unknown handles".to_owned())
    }

    pub(super) async fn fence(&mut self) -> Said {
        let Some(machine) = self.machine.as_ref().map(|machine| machine.id.clone()) else {
            return Said::Skip("[scratch] names no machine".to_owned());
        };
        let fence = Operation::Fence(MachineRef {
            machine: machine.clone(),
        });
        if let Err(said) = self.one("source", "fence", fence).await {
            return said;
        }
        let Ok(source) = self.offers("source", "start") else {
            return Said::Fine("fenced".to_owned());
        };
        let mut told = Vec::new();
        let start = Operation::Start(MachineRef {
            machine: machine.clone(),
        });
        let started = match source.now.submit(self.caller.call("start-fenced", 1), start).await {
            Ok(progress) => finish(&source.now, &self.caller, "start", progress, &mut told).await,
            Err(_) => None,
        };
        if started.is_some()
            && let Said::Fine(evidence) = self.expect_power("source", &machine, Power::On).await
        {
            return Said::Wrong(vec![format!("it was fenced, and runs again: {evidence}")]);
        }
        Said::Fine("fenced, and it did not start".to_owned())
    }
}
