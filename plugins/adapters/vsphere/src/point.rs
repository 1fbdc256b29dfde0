//! Recovery points: the snapshots of a replica, whoever took them. Ours carry our stamp, and only ours are ever removed.

use jiff::Timestamp;
use landfall_sdk::{Consistency, RecoveryPoint};
use roxmltree::Node;

use crate::stamp::Stamp;
use crate::xml;

/// Trees of snapshots are 32 deep at most; what is deeper is no tree.
const DEEPEST: usize = 64;

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) taken_ms: u64,
    pub(crate) is_quiesced: bool,
    pub(crate) stamp: Option<Stamp>,
}

/// All snapshots in a `VirtualMachineSnapshotInfo`.
pub(crate) fn snapshots(info: Node<'_, '_>) -> Vec<Snapshot> {
    let mut found = Vec::new();
    let mut level: Vec<Node<'_, '_>> = xml::children(info, "rootSnapshotList").collect();
    for _ in 0..DEEPEST {
        found.extend(level.iter().filter_map(|node| Snapshot::read(*node)));
        level = level
            .into_iter()
            .flat_map(|node| xml::children(node, "childSnapshotList"))
            .collect();
        if level.is_empty() {
            break;
        }
    }
    found
}

impl Snapshot {
    fn read(node: Node<'_, '_>) -> Option<Self> {
        let taken: Timestamp = xml::text(node, &["createTime"])?.trim().parse().ok()?;
        let description = xml::text(node, &["description"]).unwrap_or_default();
        Some(Self {
            id: xml::text(node, &["snapshot"])?.to_owned(),
            name: xml::text(node, &["name"]).unwrap_or_default().to_owned(),
            taken_ms: u64::try_from(taken.as_millisecond()).ok()?,
            is_quiesced: xml::text(node, &["quiesced"]) == Some("true"),
            stamp: Stamp::from_lines(description),
        })
    }
}

/// Newest first. `lag_ms`: how much older the data may be than the snapshot of it.
pub(crate) fn points(snapshots: &[Snapshot], lag_ms: u64) -> Vec<RecoveryPoint> {
    let mut points: Vec<RecoveryPoint> = snapshots.iter().map(|one| point(one, lag_ms)).collect();
    points.sort_by(|a, b| b.source_time_ms.cmp(&a.source_time_ms).then_with(|| b.id.cmp(&a.id)));
    points
}

fn point(snapshot: &Snapshot, lag_ms: u64) -> RecoveryPoint {
    let made_by = if snapshot.stamp.is_some() {
        "landfall"
    } else {
        "platform"
    };
    RecoveryPoint {
        id: snapshot.id.clone(),
        source_time_ms: snapshot.taken_ms.saturating_sub(lag_ms),
        consistency: if snapshot.is_quiesced {
            Consistency::App
        } else {
            Consistency::Crash
        },
        group_mark: None,
        processed: true,
        ext: vec![
            ("name".to_owned(), snapshot.name.clone()),
            ("made-by".to_owned(), made_by.to_owned()),
        ],
    }
}

/// Those of ours that are asked for; none asks for all.
pub(crate) fn ours<'s>(snapshots: &'s [Snapshot], asked: Option<&[String]>) -> Vec<&'s Snapshot> {
    let wanted = |one: &&Snapshot| asked.is_none_or(|asked| asked.contains(&one.id));
    snapshots
        .iter()
        .filter(|one| one.stamp.is_some())
        .filter(wanted)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "<val><currentSnapshot>snapshot-3</currentSnapshot><rootSnapshotList>
        <snapshot>snapshot-1</snapshot><name>before</name><description/><createTime>2026-11-22T10:00:00.5Z</createTime>
        <quiesced>true</quiesced><childSnapshotList><snapshot>snapshot-3</snapshot><name>landfall-1</name>
        <description>x\nlandfall.installation=i\nlandfall.epoch=1\nlandfall.key=k</description>
        <createTime>2026-11-22T12:00:01+01:00</createTime><quiesced>false</quiesced></childSnapshotList>
        </rootSnapshotList></val>";

    fn tree() -> Vec<Snapshot> {
        let text = TREE.replace("\\n", "\n");
        let document = roxmltree::Document::parse(&text).unwrap();
        snapshots(document.root_element())
    }

    #[test]
    fn all_snapshots_of_the_tree_are_points_newest_first() {
        let points = points(&tree(), 0);
        let ids: Vec<_> = points.iter().map(|point| &*point.id).collect();
        assert_eq!(ids, ["snapshot-3", "snapshot-1"]);
        assert_eq!(points[0].source_time_ms - points[1].source_time_ms, 3_600_500);
        assert_eq!(
            (points[0].consistency, points[1].consistency),
            (Consistency::Crash, Consistency::App)
        );
    }

    #[test]
    fn a_standby_that_lags_never_promises_newer_data() {
        let (here, behind) = (points(&tree(), 0), points(&tree(), 60_000));
        assert_eq!(here[0].source_time_ms - behind[0].source_time_ms, 60_000);
    }

    #[test]
    fn only_ours_are_removed() {
        let tree = tree();
        let ids = |asked: Option<&[String]>| ours(&tree, asked).iter().map(|one| one.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(None), ["snapshot-3"]);
        assert!(ids(Some(&["snapshot-1".to_owned()])).is_empty());
    }
}
