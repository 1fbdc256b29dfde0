//! Machines from recovery points: made anew, or the machine at home that gets its disks back.

use super::{Context, Effect};
use crate::disk::Disk;
use crate::entry::Change;
use crate::facts::{MachineDisk, MachineFacts, Profile};
use crate::operation::{CreateMachine, Failure, NetworkMapping, Pairs};
use crate::state::{Beginning, Machine, Nic, Parent, Point, Replica};

/// What a machine writes that came from outside the lab, in records per 1,000 seconds: as much as a defined machine
/// does by default.
const FOREIGN_RATE: u64 = 10_000;

/// What a request says beside the contract's fields, and what is no word about the machine itself.
const ABOUT_THE_REQUEST: [&str; 5] = ["location", "original-machine", "origin", "direction", "guest-tools"];

impl Context<'_> {
    pub(super) fn create_machine(&self, create: &CreateMachine) -> Result<Effect, Failure> {
        let replica = self.replica(&create.replica)?;
        let point = self.usable_point(replica, &create.point)?;
        self.check_networks(create)?;
        // A test beside the real thing never touches the machine at home.
        match replica.original.as_deref().filter(|_| !create.isolated) {
            Some(original) => self.reattach(create, replica, &point, original),
            None => self.make(create, replica, &point),
        }
    }

    fn make(&self, create: &CreateMachine, replica: &Replica, point: &Point) -> Result<Effect, Failure> {
        if let Some(capacity) = self.site.settings.capacity
            && self.site.machines.len() as u64 >= capacity
        {
            let message = format!("site `{}` holds {capacity} machines and not one more", self.name);
            return Err(Failure::refused("no-capacity", message));
        }
        let id = format!("vm-{}", self.seq);
        let (disk, link) = self.disk_from(replica, point, &id);
        let mut machine = self.recovered(create, replica, id.clone(), disk);
        if let Some(beginning) = self.beginning(point) {
            crate::fold::begin(&mut machine, &beginning, self.now);
        }
        let after = format!("{} point={}{}", machine.describe(), point.id, tools(&machine.facts));
        let mut effect = Effect::of(
            Change::MachineMade {
                machine: Box::new(machine),
            },
            "none",
            after,
        );
        effect.made = Some(id.clone());
        effect.link = link;
        Ok(effect.with("machine", id))
    }

    /// The disks at home hold the point now, and belong to their machine again.
    fn reattach(
        &self,
        create: &CreateMachine,
        replica: &Replica,
        point: &Point,
        original: &str,
    ) -> Result<Effect, Failure> {
        let machine = self.machine(original)?;
        if machine.on {
            let message = format!("machine `{original}` runs; stop it before its disks are replaced");
            return Err(Failure::refused("running", message));
        }
        let (disk, link) = self.disk_from(replica, point, original);
        let source = self.source_of(replica);
        let facts = MachineFacts {
            tools: create.ext.get("guest-tools").cloned().or(machine.facts.tools.clone()),
            ..machine.facts.clone()
        };
        let (before, after) = (machine.describe(), tools(&facts));
        let of = || original.to_owned();
        let mut changes = vec![Change::DiskReplaced { machine: of(), disk }];
        changes.extend(self.beginning(point).map(|beginning| Change::Began {
            machine: of(),
            beginning,
        }));
        changes.push(Change::Reattached {
            machine: of(),
            parent: self.parent(replica),
            nics: Self::rewired(machine, create),
            rate: source.map_or(machine.rate, |source| source.rate),
        });
        changes.push(Change::MachineFacts {
            machine: of(),
            facts: Box::new(facts),
        });
        let effect = Effect {
            changes,
            before: Some(before.clone()),
            after: Some(format!("{before} point={}{after}", point.id)),
            made: Some(of()),
            link,
            ..Effect::default()
        };
        Ok(effect.with("machine", original))
    }

    /// None where the bytes are of no machine of this lab.
    pub(super) fn beginning(&self, point: &Point) -> Option<Beginning> {
        Some(Beginning {
            mark: format!("mk-{}-begin", self.seq),
            bytes: point.content.bytes(),
            by: point.by.clone()?,
        })
    }

    fn source_of(&self, replica: &Replica) -> Option<&Machine> {
        let place = replica.source.as_ref()?;
        self.state.sites.get(&place.site)?.machines.get(&place.machine)
    }

    fn parent(&self, replica: &Replica) -> Option<Parent> {
        let place = replica.source.as_ref()?;
        let site = self.state.sites.get(&place.site)?;
        Some(Parent {
            place: place.clone(),
            until: site.lost.map_or(self.now, |lost| lost.since),
            incarnation: Some(site.machines.get(&place.machine)?.disk.incarnation()),
        })
    }

    fn recovered(&self, create: &CreateMachine, replica: &Replica, id: String, disk: Disk) -> Machine {
        let facts = &replica.machine;
        let source = self.source_of(replica);
        let is_reverse = create.ext.get("direction").map(String::as_str) == Some("reverse");
        let disks = facts.disks.iter().map(|disk| MachineDisk {
            id: disk.id.clone(),
            bytes: disk.bytes,
            datastore: None,
            attached: true,
        });
        let profile = self.site.facts.profile;
        // A physical server comes back as a virtual machine, and is one from then on.
        let becomes_vmware = is_reverse && profile == Some(Profile::Vmware) && facts.origin == "physical";
        Machine {
            id,
            name: create.name.clone(),
            origin: if becomes_vmware {
                "vmware".to_owned()
            } else {
                facts.origin.clone()
            },
            os: facts.os.clone(),
            cpus: create.cpus.or(facts.cpus).unwrap_or(1),
            memory_bytes: create.memory_bytes.or(facts.memory_bytes).unwrap_or(0),
            disk_bytes: facts.disks.first().map_or(0, |disk| disk.bytes),
            disks: disks.collect(),
            nics: create
                .networks
                .iter()
                .enumerate()
                .map(|(number, mapping)| self.nic(number, mapping))
                .collect(),
            on: false,
            autostart: false,
            before_hold: None,
            fenced: false,
            cut_off: false,
            rate: source.map_or(FOREIGN_RATE, |machine| machine.rate),
            boot_ms: source.map_or(0, |machine| machine.boot_ms),
            started: None,
            disk,
            marks: std::collections::BTreeMap::new(),
            prepared: std::collections::BTreeSet::new(),
            lineage: replica.lineage.clone(),
            parent: self.parent(replica),
            stamp: Some(self.stamp(&create.item)),
            isolated: create.isolated,
            readers: 0,
            bound: None,
            beginning: None,
            ext: about_the_machine(&create.ext),
            facts: self.placed(create, replica),
        }
    }

    /// Facts of the machine it was, at the place where it is now.
    fn placed(&self, create: &CreateMachine, replica: &Replica) -> MachineFacts {
        let site = &self.site.facts;
        let said = |name: &str| create.ext.get(name).or(replica.ext.get(name)).cloned();
        let vmware = site.profile == Some(Profile::Vmware);
        let chosen = said("option/master-target");
        let store = said("option/datastore").or_else(|| Some(site.datastores.first()?.id.clone()));
        // As the rules choose: of the machine's family, and where its datastore is reached.
        let datastore = site.datastores.iter().find(|known| Some(&known.id) == store.as_ref());
        let near = |host: &String| datastore.is_none_or(|store| store.hosts.contains(host));
        let serves = |os: &String| replica.machine.os.as_ref().is_none_or(|own| own == os);
        let mut targets = site.master_targets.iter();
        let target = if let Some(id) = &chosen {
            targets.find(|target| target.id == *id)
        } else {
            let fits = targets.find(|target| serves(&target.os) && near(&target.host));
            fits.or(site.master_targets.first())
        };
        MachineFacts {
            tools: said("guest-tools").or(replica.facts.tools.clone()),
            san_policy: said("option/san-policy").or(replica.facts.san_policy.clone()),
            available: true,
            unlisted: false,
            healthy: true,
            migrated: false,
            resource_group: site.resource_group.clone(),
            original_resource_group: site.resource_group.clone(),
            vcenter: site.vcenters.first().map(|vcenter| vcenter.id.clone()),
            host: target.map(|target| target.host.clone()).filter(|_| vmware),
            datastore: store.filter(|_| vmware),
            ..replica.facts.clone()
        }
    }

    /// The cards of a machine at home, on the networks that are asked for.
    fn rewired(machine: &Machine, create: &CreateMachine) -> Vec<Nic> {
        let rewired = |nic: &Nic| {
            let Some(mapping) = create.networks.iter().find(|mapping| mapping.nic == nic.id) else {
                return nic.clone();
            };
            Nic {
                id: nic.id.clone(),
                network: Some(mapping.network.clone()),
                addresses: if mapping.addresses.is_empty() {
                    nic.addresses.clone()
                } else {
                    mapping.addresses.clone()
                },
            }
        };
        machine.nics.iter().map(rewired).collect()
    }

    /// Without a wish the machine gets an address that no other machine of this lab has.
    fn nic(&self, number: usize, mapping: &NetworkMapping) -> Nic {
        let addresses = if mapping.addresses.is_empty() {
            // Four nics a line are more than any machine has; below 10.128 are the addresses of defined machines.
            let [.., _, _, a, b, c] = (self.seq * 4 + number as u64).to_be_bytes();
            vec![format!("10.{}.{b}.{c}", a | 0x80)]
        } else {
            mapping.addresses.clone()
        };
        Nic {
            id: mapping.nic.clone(),
            network: Some(mapping.network.clone()),
            addresses,
        }
    }

    fn check_networks(&self, create: &CreateMachine) -> Result<(), Failure> {
        for mapping in &create.networks {
            let Some(network) = self.site.networks.get(&mapping.network) else {
                let message = format!("site `{}` has no network `{}`", self.name, mapping.network);
                return Err(Failure::refused("unknown-network", message));
            };
            if create.isolated && !network.isolated {
                let message = format!(
                    "network `{}` is not isolated, and a test may use no other",
                    mapping.network
                );
                return Err(Failure::refused("not-isolated", message));
            }
        }
        Ok(())
    }
}

/// What was said about the machine, without what was said about the request.
fn about_the_machine(ext: &Pairs) -> Pairs {
    let mut ext = ext.clone();
    ext.retain(|name, _| !name.starts_with("option/") && !ABOUT_THE_REQUEST.contains(&&**name));
    ext
}

fn tools(facts: &MachineFacts) -> String {
    facts
        .tools
        .as_ref()
        .map_or(String::new(), |tools| format!(" tools={tools}"))
}
