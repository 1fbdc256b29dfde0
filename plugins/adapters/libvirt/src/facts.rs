//! What this adapter keeps at the site, in the metadata of libvirt's own objects: who made a machine and under which
//! key, what a replica holds. It lives and dies with the object, so there is nothing to get out of step.
//!
//! A replica is a machine that is defined and never started: libvirt stores its metadata atomically, and lists it.

use landfall_sdk::Call;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::libvirt::{NAMESPACE, PREFIX};
use crate::xml;

/// Whom something belongs to. The key makes a probe exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Owner {
    pub(crate) installation: String,
    pub(crate) epoch: u64,
    pub(crate) item: String,
    pub(crate) job: Option<String>,
    pub(crate) step: String,
    pub(crate) key: String,
}

impl Owner {
    pub(crate) fn of(call: &Call, item: &str) -> Self {
        Self {
            installation: call.installation.clone(),
            epoch: call.epoch,
            item: item.to_owned(),
            job: call.job.clone(),
            step: call.step.clone(),
            key: call.key.clone(),
        }
    }
}

/// The metadata of one libvirt machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Facts {
    Machine(Box<Machine>),
    Replica(Box<Replica>),
    Helper(Helper),
    Epoch(Epoch),
}

/// A machine that was made here, or one that was held or fenced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Machine {
    /// None: it was there before us.
    pub(crate) owner: Option<Owner>,
    pub(crate) replica: Option<String>,
    pub(crate) point: Option<String>,
    /// The key under which its point was changed last.
    pub(crate) change_key: Option<String>,
    /// Counts its disks' overlays: a changed point has new ones.
    pub(crate) turn: u32,
    /// Its own overlays.
    pub(crate) files: Vec<String>,
    /// The machine that it was copied from, and the state of that machine's disks that it began with.
    pub(crate) origin: Option<Origin>,
    pub(crate) nics: Vec<Nic>,
    /// It is held; whether it started by itself before.
    pub(crate) held: Option<bool>,
    /// The key under which it was fenced.
    pub(crate) fenced: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) machine: String,
    pub(crate) mark: String,
}

/// A card as it was mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nic {
    pub(crate) id: String,
    pub(crate) network: String,
    pub(crate) addresses: Vec<String>,
}

/// What a replica holds: a chain of layers, each over the one before, and marks that name a layer's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Replica {
    pub(crate) owner: Owner,
    /// The source's reference of the machine.
    pub(crate) machine: String,
    /// Its definition, if the source is libvirt too.
    pub(crate) xml: Option<String>,
    pub(crate) cpus: Option<u32>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) disks: Vec<Disk>,
    /// Number of the next layer.
    pub(crate) next: u32,
    /// From the lowest on.
    pub(crate) layers: Vec<Layer>,
    /// In the order of their receipt.
    pub(crate) entries: Vec<Entry>,
    /// The layer that is being written.
    pub(crate) open: Option<Open>,
    /// Set if the chain begins with the disks of a machine that was here: what they hold.
    pub(crate) base: Option<String>,
    /// Files that are of no use any more.
    #[serde(default)]
    pub(crate) trash: Vec<String>,
    /// A merge of two layers that was begun.
    #[serde(default)]
    pub(crate) merge: Option<Merge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disk {
    pub(crate) id: String,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub(crate) number: u32,
    /// One for each disk.
    pub(crate) files: Vec<String>,
    /// Somebody else's files: never deleted, never written.
    #[serde(default)]
    pub(crate) foreign: bool,
    /// It lies upon nothing: its mark was sent whole.
    #[serde(default)]
    pub(crate) root: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Entry {
    pub(crate) mark: String,
    pub(crate) layer: u32,
    pub(crate) source_time_ms: u64,
    pub(crate) app: bool,
    pub(crate) group_mark: Option<String>,
    /// Once it is a recovery point: its id, and the key that made it one.
    pub(crate) point: Option<String>,
    pub(crate) key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) mark: String,
    pub(crate) layer: Layer,
    /// The helper's run that writes it. What another run wrote may have been lost with its memory.
    pub(crate) run: String,
}

/// The upper layer's data goes into the lower one's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Merge {
    pub(crate) lower: u32,
    pub(crate) upper: u32,
}

/// The machine without processors or disks through which disks are read and written that no guest uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Helper {
    /// Another one with each start.
    pub(crate) run: String,
    /// Where it offers disks, once it does.
    pub(crate) port: Option<u16>,
}

/// What the site obeys of one installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    pub(crate) installation: String,
    pub(crate) epoch: u64,
}

impl Facts {
    /// From metadata, as libvirt gives it.
    pub(crate) fn from_metadata(text: &str) -> Option<Self> {
        let element = xml::parse(text)?;
        serde_json::from_str(&element.get_text()?).ok()
    }

    /// From a whole definition.
    pub(crate) fn from_domain(domain: &xmltree::Element) -> Option<Self> {
        let metadata = domain.get_child("metadata")?;
        let ours = xml::children(metadata).find(|child| child.namespace.as_deref() == Some(NAMESPACE))?;
        serde_json::from_str(&ours.get_text()?).ok()
    }

    fn json(&self) -> String {
        // Structs of text and numbers: there is nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As libvirt wants it to be set.
    pub(crate) fn to_metadata(&self) -> String {
        format!("<facts>{}</facts>", xml::escape(&self.json()))
    }

    /// As it stands in a definition.
    pub(crate) fn to_element(&self) -> String {
        format!(
            "<metadata><{PREFIX}:facts xmlns:{PREFIX}=\"{NAMESPACE}\">{}</{PREFIX}:facts></metadata>",
            xml::escape(&self.json())
        )
    }
}

impl Replica {
    pub(crate) fn bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.bytes).sum()
    }

    pub(crate) fn top(&self) -> Option<&Layer> {
        self.layers.last()
    }

    pub(crate) fn layer(&self, number: u32) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.number == number)
    }

    /// Makes the newest mark that waits a recovery point, and forgets those before it that wait too.
    pub(crate) fn process(&mut self, key: &str) -> Option<String> {
        if let Some(done) = self.entries.iter().find(|entry| entry.key.as_deref() == Some(key)) {
            return done.point.clone();
        }
        let newest = self.entries.last_mut().filter(|entry| entry.point.is_none())?;
        let point = format!("pt-{}", newest.mark.trim_start_matches("lf-"));
        newest.point = Some(point.clone());
        newest.key = Some(key.to_owned());
        self.entries.retain(|entry| entry.point.is_some());
        Some(point)
    }

    /// Forgets points; none: everything. The newest mark's data stays, as the next one builds on it.
    pub(crate) fn delete_points(&mut self, points: Option<&[String]>) {
        let doomed = |entry: &Entry| match (points, &entry.point) {
            (None, _) => true,
            (Some(points), Some(point)) => points.contains(point),
            (Some(_), None) => false,
        };
        self.entries.retain(|entry| !doomed(entry));
    }

    /// The first and last of neighbouring layers that can be one: nothing names the state of any but the last, and another
    /// lies upon that, so that the chain's end stays what it is. Somebody else's files are never written, nor are layers up
    /// to the one that a machine lies upon.
    pub(crate) fn mergeable(&self, occupied: Option<u32>) -> Option<(u32, u32)> {
        let named = |layer: &Layer| self.entries.iter().any(|entry| entry.layer == layer.number);
        let several = |run: &(u32, u32)| run.0 != run.1;
        let mut run: Option<(u32, u32)> = None;
        let free = self
            .layers
            .iter()
            .position(|layer| occupied.is_none_or(|number| layer.number > number))?;
        for pair in self.layers.get(free..).unwrap_or_default().windows(2) {
            let [layer, above] = pair else { continue };
            // Upon a chain's end lies nothing.
            if !above.root {
                run = match run {
                    Some((lower, _)) => Some((lower, layer.number)),
                    None if named(layer) || layer.foreign => None,
                    None => Some((layer.number, layer.number)),
                };
            }
            if above.root || named(layer) {
                if run.is_some_and(|run| several(&run)) {
                    return run;
                }
                run = None;
            }
        }
        run.filter(several)
    }

    /// Layers below one that lies upon nothing, once nothing names them, are of no use.
    pub(crate) fn drop_unused(&mut self) {
        let Some(root) = self.layers.iter().rposition(|layer| layer.root) else {
            return;
        };
        let (below, above) = self.layers.split_at(root);
        if below
            .iter()
            .any(|layer| self.entries.iter().any(|entry| entry.layer == layer.number))
        {
            return;
        }
        let ours = below.iter().filter(|layer| !layer.foreign);
        self.trash.extend(ours.rev().flat_map(|layer| layer.files.clone()));
        self.layers = above.to_vec();
    }

    /// After the merge the lowest one's files hold the uppermost one's state.
    pub(crate) fn merged(&mut self, lower: u32, upper: u32) {
        let place = |number: u32| self.layers.iter().position(|layer| layer.number == number);
        let (Some(first), Some(last)) = (place(lower), place(upper)) else {
            return;
        };
        let mut gone = self.layers.drain(first..last);
        let kept = gone.next().map(|layer| layer.files).unwrap_or_default();
        let between: Vec<String> = gone.flat_map(|layer| layer.files).collect();
        if let Some(layer) = self.layers.get_mut(first) {
            self.trash.extend(std::mem::replace(&mut layer.files, kept));
        }
        self.trash.extend(between);
    }
}

/// A UUID that follows from a text: the same effect has the same object.
pub(crate) fn uuid_from(text: &str) -> [u8; 16] {
    let mut uuid = xxh3_128(text.as_bytes()).to_be_bytes();
    // Version 8 (own), variant 1.
    if let Some(byte) = uuid.get_mut(6) {
        *byte = *byte & 0x0f | 0x80;
    }
    if let Some(byte) = uuid.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    uuid
}

/// A mark that follows from a key: the same snapshot has the same mark.
pub(crate) fn mark_from(key: &str, machine: &str) -> String {
    format!("lf-{:032x}", xxh3_128(format!("{key}\n{machine}").as_bytes()))
}

/// Marks of ours, among other checkpoints of a machine.
pub(crate) fn is_mark(name: &str) -> bool {
    name.starts_with("lf-")
}

pub(crate) fn hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mark: &str, layer: u32, point: Option<&str>) -> Entry {
        Entry {
            mark: mark.into(),
            layer,
            source_time_ms: 5,
            app: false,
            group_mark: None,
            point: point.map(str::to_owned),
            key: point.map(|point| format!("key of {point}")),
        }
    }

    fn replica(layers: u32, entries: Vec<Entry>) -> Replica {
        let layer = |number| Layer {
            number,
            files: vec![format!("/pool/{number}")],
            foreign: false,
            root: false,
        };
        Replica {
            owner: Owner {
                installation: "i".into(),
                epoch: 1,
                item: "<db>".into(),
                job: None,
                step: "s".into(),
                key: "k".into(),
            },
            machine: "m".into(),
            xml: Some("<domain type='qemu'/>".into()),
            cpus: None,
            memory_bytes: None,
            disks: vec![Disk {
                id: "vda".into(),
                bytes: 9,
            }],
            next: layers,
            layers: (0..layers).map(layer).collect(),
            entries,
            open: None,
            base: None,
            trash: vec![],
            merge: None,
        }
    }

    #[test]
    fn facts_come_back_from_metadata() {
        let facts = Facts::Replica(Box::new(replica(1, vec![entry("lf-1", 0, None)])));
        assert_eq!(Facts::from_metadata(&facts.to_metadata()), Some(facts.clone()));
        let domain = format!("<domain><metadata><x:a xmlns:x='y'/></metadata>{}</domain>", "");
        assert_eq!(Facts::from_domain(&xml::parse(&domain).unwrap()), None);
        let domain = format!("<domain>{}</domain>", facts.to_element());
        assert_eq!(Facts::from_domain(&xml::parse(&domain).unwrap()), Some(facts));
    }

    #[test]
    fn the_newest_mark_becomes_the_point_and_the_same_key_gives_it_again() {
        let mut replica = replica(
            3,
            vec![
                entry("lf-1", 0, Some("pt-1")),
                entry("lf-2", 1, None),
                entry("lf-3", 2, None),
            ],
        );
        assert_eq!(replica.process("k1").as_deref(), Some("pt-3"));
        assert_eq!(replica.entries.len(), 2, "the one in between is covered by it");
        assert_eq!(replica.process("k1").as_deref(), Some("pt-3"));
        assert_eq!(replica.process("k2"), None, "nothing waits");
    }

    #[test]
    fn layers_without_a_name_are_merged_but_not_the_last() {
        let mut replica = replica(4, vec![entry("lf-1", 1, Some("pt-1")), entry("lf-3", 3, Some("pt-3"))]);
        assert_eq!(replica.mergeable(None), Some((0, 1)));
        replica.merged(0, 1);
        assert_eq!(replica.trash, ["/pool/1"]);
        assert_eq!(
            replica.layer(1).unwrap().files,
            ["/pool/0"],
            "point 1 is in the lower file now"
        );
        assert_eq!(
            replica.mergeable(None),
            None,
            "layer 2 is the last but one, and has no other above"
        );
        replica.layers.push(Layer {
            number: 4,
            files: vec![],
            foreign: false,
            root: false,
        });
        assert_eq!(replica.mergeable(None), Some((2, 3)));
    }

    #[test]
    fn however_many_layers_lie_between_two_points_they_are_merged_at_once() {
        let mut replica = replica(7, vec![entry("lf-4", 4, Some("pt-4")), entry("lf-6", 6, Some("pt-6"))]);
        assert_eq!(replica.mergeable(None), Some((0, 4)));
        assert_eq!(replica.mergeable(Some(1)), Some((2, 4)), "a machine lies upon 1");
        assert_eq!(replica.mergeable(Some(u32::MAX)), None);
        replica.merged(0, 4);
        assert_eq!(replica.trash, ["/pool/4", "/pool/1", "/pool/2", "/pool/3"]);
        assert_eq!(
            (replica.layers.len(), replica.layer(4).unwrap().files.as_slice()),
            (3, ["/pool/0".to_owned()].as_slice())
        );
        assert_eq!(replica.mergeable(None), None);
        replica.delete_points(Some(&["pt-4".to_owned()]));
        assert_eq!(
            replica.mergeable(None),
            Some((4, 5)),
            "what was merged once is merged again"
        );
    }

    #[test]
    fn no_merge_reaches_over_what_lies_upon_nothing() {
        let mut replica = replica(5, vec![entry("lf-0", 0, Some("pt-0"))]);
        replica.layers[3].root = true;
        assert_eq!(replica.mergeable(None), None, "1 and 2 end a chain, 3 and 4 another");
        replica.layers[3].root = false;
        assert_eq!(replica.mergeable(None), Some((1, 3)));
    }

    #[test]
    fn somebody_elses_files_are_never_written() {
        let mut replica = replica(3, vec![]);
        replica.layers[0].foreign = true;
        assert_eq!(replica.mergeable(None), None);
    }

    #[test]
    fn a_mark_that_was_sent_whole_makes_those_before_it_useless_in_time() {
        let mut replica = replica(4, vec![entry("lf-1", 1, Some("pt-1")), entry("lf-3", 3, Some("pt-3"))]);
        replica.layers[2].root = true;
        assert_eq!(replica.mergeable(None), None, "the third lies upon nothing");
        replica.drop_unused();
        assert_eq!(replica.layers.len(), 4, "a point lies there still");
        replica.delete_points(Some(&["pt-1".to_owned()]));
        replica.drop_unused();
        assert_eq!(
            (replica.layers.len(), replica.trash.as_slice()),
            (2, ["/pool/1", "/pool/0"].map(String::from).as_slice())
        );
    }

    #[test]
    fn retention_deletes_points_and_not_what_waits() {
        let mut replica = replica(2, vec![entry("lf-1", 0, Some("pt-1")), entry("lf-2", 1, None)]);
        replica.delete_points(Some(&["pt-1".to_owned()]));
        assert_eq!(replica.entries.len(), 1);
        replica.delete_points(None);
        assert!(replica.entries.is_empty() && replica.layers.len() == 2);
    }

    #[test]
    fn names_follow_from_keys() {
        assert_eq!(uuid_from("a"), uuid_from("a"));
        assert_ne!(uuid_from("a"), uuid_from("b"));
        assert_eq!(uuid_from("a")[6] >> 4, 8);
        assert_ne!(mark_from("k", "m"), mark_from("k", "n"));
        assert!(is_mark(&mark_from("k", "m")));
    }
}
