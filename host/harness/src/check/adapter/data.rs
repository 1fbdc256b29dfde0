//! From a snapshot at the source to a recovery point at the target, and their end.

use landfall_runtime::Buffer;
use landfall_runtime::contract::adapter::{
    DeletePoints, Operation, PrepareReplica, ReceiveComplete, Release, ReplicaRef, Snapshot, SnapshotMember,
};
use landfall_runtime::contract::types::Consistency;

use super::effect::finish;
use super::{ITEM, MOST_PAGES, Run, Said, failure, list_owned};

/// Slices as the host moves them.
const SLICE: u64 = 4 << 20;

impl Run<'_> {
    pub(super) fn source_driven(&self) -> bool {
        self.features
            .get("source")
            .is_some_and(|features| features.source && features.replication == "driven")
    }

    pub(super) async fn prepare_replica(&mut self) -> Said {
        let Some(machine) = self.machine.clone() else {
            return Said::Skip("[scratch] names no machine".to_owned());
        };
        let operation = Operation::PrepareReplica(PrepareReplica {
            item: ITEM.to_owned(),
            machine,
            source_site: "check-source".to_owned(),
        });
        match self.one("target", "prepare", operation).await {
            Ok(outputs) => match outputs.get("replica") {
                Some(replica) => {
                    self.replica = Some(replica.clone());
                    Said::Fine(replica.clone())
                }
                None => Said::Wrong(vec!["it is done and gives no `replica`".to_owned()]),
            },
            Err(said) => said,
        }
    }

    pub(super) async fn snapshot(&mut self) -> Said {
        self.take_snapshot("1").await
    }

    pub(super) async fn take_snapshot(&mut self, cycle: &str) -> Said {
        let Some(machine) = &self.machine else {
            return Said::Skip("[scratch] names no machine".to_owned());
        };
        if !self.source_driven() {
            return Said::Skip("the source's platform replicates by itself".to_owned());
        }
        let operation = Operation::Snapshot(Snapshot {
            members: vec![SnapshotMember {
                item: ITEM.to_owned(),
                machine: machine.id.clone(),
            }],
            quiesce: false,
            group_mark: format!("{}-mark-{cycle}", self.caller.installation),
        });
        match self.one("source", &format!("snapshot-{cycle}"), operation).await {
            Ok(outputs) => {
                let time = outputs
                    .get(&format!("source-time-ms/{ITEM}"))
                    .and_then(|text| text.parse::<u64>().ok());
                match (outputs.get(&format!("mark/{ITEM}")), time) {
                    (Some(mark), Some(_)) => {
                        self.mark = Some(mark.clone());
                        Said::Fine(mark.clone())
                    }
                    _ => Said::Wrong(vec![format!(
                        "`mark/ITEM` or `source-time-ms/ITEM` is missing in {outputs:?}"
                    )]),
                }
            }
            Err(said) => said,
        }
    }

    pub(super) async fn transfer(&mut self) -> Said {
        self.move_data(None).await
    }

    /// Moves what changed, each slice read and written twice.
    pub(super) async fn move_data(&self, since: Option<String>) -> Said {
        let (Some(machine), Some(mark), Some(replica)) = (&self.machine, &self.mark, &self.replica) else {
            return Said::Skip("there is no mark or no replica".to_owned());
        };
        let (Some(source), Some(target)) = (&self.source, &self.target) else {
            return Said::Skip("both roles are needed".to_owned());
        };
        let (mut moved, mut cursor, mut slices) = (0, None, 0_u64);
        for _ in 0..MOST_PAGES {
            let page = source
                .now
                .changes(machine.id.clone(), since.clone(), mark.clone(), cursor)
                .await;
            let page = match page {
                Ok(page) => page,
                Err(error) => return Said::Wrong(vec![failure(&error)]),
            };
            for extent in &page.extents {
                if extent.offset.saturating_add(extent.bytes) > page.disk_bytes {
                    return Said::Wrong(vec![format!(
                        "{extent:?} ends behind the disk of {} bytes",
                        page.disk_bytes
                    )]);
                }
                if extent.bytes > SLICE {
                    continue;
                }
                slices += 1;
                let mut read = Vec::new();
                for adapter in [&source.now, &source.restarted] {
                    let buffer = Buffer::with_capacity(extent.bytes + 1);
                    if let Err(error) = adapter.read(machine.id.clone(), mark.clone(), *extent, &buffer).await {
                        return Said::Wrong(vec![failure(&error)]);
                    }
                    read.push(buffer);
                }
                let [first, second] = read.as_slice() else { continue };
                if first.len() != extent.bytes || first.to_bytes() != second.to_bytes() {
                    return Said::Wrong(vec![format!(
                        "{extent:?}: read {} bytes, and then {}{}",
                        first.len(),
                        second.len(),
                        if first.to_bytes() == second.to_bytes() {
                            ""
                        } else {
                            ", and they differ"
                        }
                    )]);
                }
                for (attempt, adapter) in [(1, &target.now), (2, &target.restarted)] {
                    let call = self.caller.call(&format!("write-{}", extent.offset), attempt);
                    let written = adapter
                        .write(call, replica.clone(), mark.clone(), extent.offset, first)
                        .await;
                    if let Err(error) = written {
                        return Said::Wrong(vec![format!("attempt {attempt}: {error}")]);
                    }
                }
                moved += extent.bytes;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Said::Fine(format!("{moved} bytes in {slices} slices"));
            }
        }
        Said::Wrong(vec![format!("`changes` has more than {MOST_PAGES} pages")])
    }

    pub(super) async fn disk_bytes(&self) -> Option<u64> {
        let (machine, mark, source) = (self.machine.as_ref()?, self.mark.clone()?, self.source.as_ref()?);
        let page = source.now.changes(machine.id.clone(), None, mark, None).await.ok()?;
        Some(page.disk_bytes)
    }

    pub(super) fn receive_complete(&self, bytes: u64) -> Option<Operation> {
        Some(Operation::ReceiveComplete(ReceiveComplete {
            replica: self.replica.clone()?,
            mark: self.mark.clone()?,
            source_time_ms: crate::case::NEW_YEAR,
            consistency: Consistency::Crash,
            group_mark: None,
            bytes,
        }))
    }

    pub(super) async fn receive(&mut self) -> Said {
        let Some(bytes) = self.disk_bytes().await else {
            return Said::Skip("there is no mark".to_owned());
        };
        let (Some(operation), Some(short)) = (self.receive_complete(bytes), self.receive_complete(bytes + 4_096))
        else {
            return Said::Skip("there is no replica".to_owned());
        };
        // More than was sent: the target must not take it for complete.
        if let Ok(target) = self.offers("target", "receive-complete") {
            let mut told = Vec::new();
            let taken = match target.now.submit(self.caller.call("receive-short", 1), short).await {
                Ok(progress) => finish(&target.now, &self.caller, "receive-complete", progress, &mut told).await,
                Err(_) => None,
            };
            if taken.is_some() {
                return Said::Wrong(vec![
                    "a mark of which 4,096 bytes are missing was taken for complete".to_owned(),
                ]);
            }
        }
        match self.one("target", "receive", operation).await {
            Ok(_) => Said::Fine(format!("{bytes} bytes")),
            Err(said) => said,
        }
    }

    pub(super) async fn process(&mut self) -> Said {
        self.process_into_point("1").await
    }

    pub(super) async fn process_into_point(&mut self, cycle: &str) -> Said {
        let Some(replica) = self.replica.clone() else {
            return Said::Skip("there is no replica".to_owned());
        };
        let operation = Operation::Process(ReplicaRef {
            replica: replica.clone(),
        });
        let outputs = match self.one("target", &format!("process-{cycle}"), operation).await {
            Ok(outputs) => outputs,
            Err(said) => return said,
        };
        let Some(target) = &self.target else {
            return Said::Skip(String::new());
        };
        let listed = match target.restarted.list_points(replica).await {
            Ok(listed) => listed,
            Err(error) => return Said::Wrong(vec![failure(&error)]),
        };
        let Some(point) = outputs.get("point") else {
            return Said::Wrong(vec![
                "something was pending, and it is done without a `point`".to_owned(),
            ]);
        };
        match listed.iter().find(|one| one.id == *point) {
            Some(found) if !found.processed => Said::Wrong(vec![format!("`{point}` is listed and not processed")]),
            Some(_)
                if listed
                    .windows(2)
                    .any(|pair| matches!(pair, [a, b] if a.source_time_ms < b.source_time_ms)) =>
            {
                Said::Wrong(vec!["list-points is not newest first".to_owned()])
            }
            Some(_) => {
                self.points.push(point.clone());
                Said::Fine(format!("{} of {} points", point, listed.len()))
            }
            None => Said::Wrong(vec![format!("list-points does not have `{point}`")]),
        }
    }

    pub(super) async fn increment(&mut self) -> Said {
        let Some(first) = self.mark.clone() else {
            return Said::Skip("there is no first mark".to_owned());
        };
        if let said @ (Said::Wrong(_) | Said::Skip(_)) = self.take_snapshot("2").await {
            return said;
        }
        let moved = match self.move_data(Some(first.clone())).await {
            Said::Fine(moved) => moved,
            said => return said,
        };
        let operation = self.disk_bytes().await.and_then(|bytes| self.receive_complete(bytes));
        let Some(operation) = operation else {
            return Said::Skip("there is no mark".to_owned());
        };
        if let Err(said) = self.one("target", "receive-2", operation).await {
            return said;
        }
        if let said @ (Said::Wrong(_) | Said::Skip(_)) = self.process_into_point("2").await {
            return said;
        }
        let Some(machine) = &self.machine else {
            return Said::Skip(String::new());
        };
        let release = Operation::Release(Release {
            machine: machine.id.clone(),
            marks: vec![first],
        });
        match self.one("source", "release", release).await {
            Ok(_) => Said::Fine(moved),
            Err(said) => said,
        }
    }

    pub(super) async fn delete_points(&mut self) -> Said {
        let Some(replica) = self.replica.clone() else {
            return Said::Skip("there is no replica".to_owned());
        };
        let operation = Operation::DeletePoints(DeletePoints {
            replica: replica.clone(),
            points: None,
        });
        if let Err(said) = self.one("target", "delete-points", operation).await {
            return said;
        }
        let Some(target) = &self.target else {
            return Said::Skip(String::new());
        };
        match target.now.list_points(replica).await {
            Ok(points) if points.is_empty() => Said::Fine("all".to_owned()),
            Ok(points) => Said::Wrong(vec![format!("{} points are left", points.len())]),
            Err(error) => Said::Wrong(vec![failure(&error)]),
        }
    }

    pub(super) async fn delete_replica(&mut self) -> Said {
        let Some(replica) = self.replica.take() else {
            return Said::Skip("there is no replica".to_owned());
        };
        let Some(target) = &self.target else {
            return Said::Skip(String::new());
        };
        let before = list_owned(&target.now, &self.caller.installation).await;
        let operation = Operation::DeleteReplica(ReplicaRef { replica });
        if let Err(said) = self.one("target", "delete-replica", operation).await {
            return said;
        }
        match (before, list_owned(&target.now, &self.caller.installation).await) {
            (Ok(before), Ok(after)) if after.is_empty() => Said::Fine(format!("{} before, none after", before.len())),
            (Ok(_), Ok(after)) => Said::Wrong(vec![format!("left over: {}", after.join(", "))]),
            (Err(why), _) | (_, Err(why)) => Said::Wrong(vec![format!("list-owned: {why}")]),
        }
    }
}
