//! Our mark on what we make: whose it is, and the key of the effect that made it.
//!
//! A machine carries it in its extra configuration, set in the same request that makes it, together with an instance
//! UUID that follows from the key: so a machine is found by its key with one look-up, and a copy that somebody makes of
//! it, which takes the extra configuration along, is not taken for ours. A snapshot carries it in its description.

use std::collections::BTreeMap;

use landfall_sdk::Call;
use sha2::{Digest, Sha256};

/// Before the names in the extra configuration.
const PREFIX: &str = "landfall.";
/// The first line of a snapshot's description.
const HEADING: &str = "Made by Landfall. Its recovery points are removed by Landfall; do not delete this one.";

/// Who made it, and by which effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) installation: String,
    pub(crate) epoch: u64,
    pub(crate) item: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) key: String,
}

impl Stamp {
    pub(crate) fn of(call: &Call, item: Option<&str>) -> Self {
        Self {
            installation: call.installation.clone(),
            epoch: call.epoch,
            item: item.map(str::to_owned),
            job: call.job.clone(),
            step: Some(call.step.clone()),
            key: call.key.clone(),
        }
    }

    /// The instance UUID of the machine that an effect under this key makes.
    pub(crate) fn uuid(&self) -> String {
        uuid(&self.key)
    }

    /// The name of the snapshot that an effect under this key makes.
    pub(crate) fn snapshot_name(&self) -> String {
        snapshot_name(&self.key)
    }

    /// For the extra configuration. All names, so that a clone keeps none of its source's.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let pairs = [
            ("installation", self.installation.clone()),
            ("epoch", self.epoch.to_string()),
            ("item", text(&self.item)),
            ("job", text(&self.job)),
            ("step", text(&self.step)),
            ("key", self.key.clone()),
        ];
        pairs.map(|(name, value)| (format!("{PREFIX}{name}"), value)).to_vec()
    }

    /// From the extra configuration. A name that stands there twice has its last value.
    pub(crate) fn from_pairs<'p>(pairs: impl Iterator<Item = (&'p str, &'p str)>) -> Option<Self> {
        let ours = pairs.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value)));
        Self::from_map(&ours.collect())
    }

    /// For a snapshot's description: one line each, which no value can break.
    pub(crate) fn lines(&self) -> String {
        let lines = self.pairs().into_iter().filter(|(_, value)| !value.is_empty());
        let lines = lines.map(|(name, value)| format!("{name}={}", value.replace(['\n', '\r'], " ")));
        std::iter::once(HEADING.to_owned())
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// From a snapshot's description.
    pub(crate) fn from_lines(text: &str) -> Option<Self> {
        Self::from_pairs(text.lines().filter_map(|line| line.split_once('=')))
    }

    fn from_map(values: &BTreeMap<&str, &str>) -> Option<Self> {
        let value = |name: &str| values.get(name).copied().filter(|value| !value.is_empty());
        Some(Self {
            installation: value("installation")?.to_owned(),
            epoch: value("epoch")?.parse().ok()?,
            item: value("item").map(str::to_owned),
            job: value("job").map(str::to_owned),
            step: value("step").map(str::to_owned),
            key: value("key")?.to_owned(),
        })
    }
}

/// A UUID of version 8, whose bits are ours to choose: a digest of the key.
pub(crate) fn uuid(key: &str) -> String {
    let hex = digest(key);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

/// Short enough to be shown whole in vCenter's list of snapshots.
pub(crate) fn snapshot_name(key: &str) -> String {
    format!("landfall-{}", digest(key).get(..16).unwrap_or_default())
}

fn digest(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest
        .iter()
        .fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            installation: "i-1".into(),
            epoch: 3,
            item: Some("db".into()),
            job: None,
            step: Some("create/db".into()),
            key: "i-1/j/create/db/1".into(),
        }
    }

    #[test]
    fn a_stamp_is_read_back_from_both_places() {
        let pairs = stamp().pairs();
        let pairs = pairs.iter().map(|(name, value)| (&**name, &**value));
        assert_eq!(Stamp::from_pairs(pairs), Some(stamp()));
        assert_eq!(Stamp::from_lines(&stamp().lines()), Some(stamp()));
        assert_eq!(Stamp::from_lines("before the upgrade"), None);
    }

    #[test]
    fn a_clone_of_ours_takes_the_last_stamp() {
        let old = Stamp {
            key: "old".into(),
            ..stamp()
        }
        .pairs();
        let all: Vec<_> = old.into_iter().chain(stamp().pairs()).collect();
        let all = all.iter().map(|(name, value)| (&**name, &**value));
        assert_eq!(Stamp::from_pairs(all), Some(stamp()));
    }

    #[test]
    fn keys_give_uuids_of_their_own() {
        let one = uuid("a");
        assert_eq!(one.len(), 36);
        assert_eq!((&one[14..15], &one[19..20]), ("8", "8"));
        assert_ne!(one, uuid("b"));
        assert_eq!(one, uuid("a"));
    }
}
