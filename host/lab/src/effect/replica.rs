//! Preparing a replica, and what a way home adds to that: the disks of the machine at home become the replica, and what
//! they hold already is not sent again.

use super::{Context, Effect};
use crate::entry::Change;
use crate::facts::{CameFrom, MachineFacts};
use crate::operation::{Failure, PrepareReplica};
use crate::state::{Machine, Place, Replica, Replication, Seed, Site};

/// The other end of a preparation, where it is one of this lab's machines.
struct Source<'a> {
    place: Place,
    site: &'a Site,
    machine: &'a Machine,
}

impl<'a> Context<'a> {
    /// One replica an item: asking again gives the same, unless another machine is to be replicated, or onto another one.
    pub(super) fn prepare_replica(&self, prepare: &PrepareReplica) -> Result<Effect, Failure> {
        let original = self.original(prepare)?;
        let source = self.find_source(prepare);
        let known = match self.site.items.get(&prepare.item) {
            Some(id) => Some(self.replica(id)?),
            None => None,
        };
        if let Some(known) = known.filter(|known| is_same(known, prepare, original)) {
            let state = format!("replica {}", known.id);
            let held = known.seed.as_ref().filter(|seed| has_mark(source.as_ref(), &seed.mark));
            return Ok(Self::prepared(Effect::none(state), &known.id, held));
        }
        if let Some(source) = &source {
            self.check_agent(source)?;
        }
        let replication = self.site.settings.replication;
        if replication == Replication::Autonomous && source.is_none() {
            let message = format!(
                "no other site of this lab has a machine `{}` to replicate",
                prepare.machine.id
            );
            return Err(Failure::refused("not-found", message));
        }
        let seed = original
            .zip(source.as_ref())
            .filter(|_| replication == Replication::Driven)
            .and_then(|(original, source)| self.seed(original, source));
        let replica = self.new_replica(prepare, original, source.as_ref(), seed);
        let (id, seed) = (replica.id.clone(), replica.seed.clone());
        let gone = known.map(|known| Change::ReplicaGone {
            replica: known.id.clone(),
        });
        let made = Change::ReplicaMade {
            replica: Box::new(replica),
        };
        let effect = Effect {
            changes: gone.into_iter().chain([made]).collect(),
            before: Some(known.map_or_else(|| "none".to_owned(), |known| format!("replica {}", known.id))),
            after: Some(described(&id, original, seed.as_ref())),
            made: Some(id.clone()),
            ..Effect::default()
        };
        Ok(Self::prepared(effect, &id, seed.as_ref()))
    }

    fn prepared(effect: Effect, replica: &str, held: Option<&Seed>) -> Effect {
        let effect = effect.with("replica", replica);
        match held {
            Some(seed) => effect.with("mark", seed.mark.clone()),
            None => effect,
        }
    }

    fn new_replica(
        &self,
        prepare: &PrepareReplica,
        original: Option<&Machine>,
        source: Option<&Source>,
        seed: Option<Seed>,
    ) -> Replica {
        let held = seed.as_ref().map_or(0, |seed| seed.bytes);
        Replica {
            id: format!("rp-{}", self.seq),
            source_site: prepare.source_site.clone(),
            machine: prepare.machine.clone(),
            lineage: source.map_or_else(
                || format!("{}/{}", prepare.source_site, prepare.machine.id),
                |source| source.machine.lineage.clone(),
            ),
            source: source.map(|source| source.place.clone()),
            stamp: self.stamp(&prepare.item),
            replication: self.site.settings.replication,
            since: self.now,
            points: Vec::new(),
            generation: 0,
            sealed: held,
            received: held,
            deleted: std::collections::BTreeSet::new(),
            deleted_until: 0,
            original: original.map(|original| original.id.clone()),
            seed,
            facts: source.map(|source| facts(prepare, source)).unwrap_or_default(),
            ext: prepare.ext.clone(),
        }
    }

    /// The lab's machine behind a name from outside: at the site of that name, else at any other site.
    fn find_source(&self, prepare: &PrepareReplica) -> Option<Source<'a>> {
        let named = self.state.sites.get_key_value(&prepare.source_site);
        let sites = named.into_iter().chain(&self.state.sites);
        let mut found = sites
            .filter(|(name, _)| *name != self.name)
            .filter_map(|(name, site)| Some((name, site, site.machines.get(&prepare.machine.id)?)));
        found.next().map(|(name, site, machine)| Source {
            place: Place {
                site: name.clone(),
                machine: machine.id.clone(),
            },
            site,
            machine,
        })
    }

    /// The machine at home that the data is written back to. It must not run, and must not be lost.
    fn original(&self, prepare: &PrepareReplica) -> Result<Option<&'a Machine>, Failure> {
        if prepare.ext.get("location").map(String::as_str) != Some("original") {
            return Ok(None);
        }
        let id = prepare.ext.get("original-machine").map_or("", String::as_str);
        let machine = self.machine(id)?;
        if machine.on {
            let message = format!("machine `{id}` runs; what is written to its disks would destroy it: stop it first");
            return Err(Failure::refused("running", message));
        }
        if !machine.facts.available {
            let message = format!("machine `{id}` was lost; restore it from backup first");
            return Err(Failure::refused("unavailable", message));
        }
        Ok(Some(machine))
    }

    /// Some minutes after its start.
    fn check_agent(&self, source: &Source) -> Result<(), Failure> {
        if source.machine.has_agent(source.site.facts.agent_delay_ms, self.now) {
            return Ok(());
        }
        Err(Failure {
            code: "agent-not-installed".to_owned(),
            message: format!(
                "the agent in `{}` is not registered yet; that takes up to 15 minutes after its start",
                source.place.machine
            ),
            retryable: true,
            definite: true,
        })
    }

    /// What the machine at home still holds of what the one that comes home was made from.
    fn seed(&self, original: &Machine, source: &Source) -> Option<Seed> {
        let beginning = source.machine.beginning.as_ref()?;
        let is_its = beginning.by.place.site == self.name && beginning.by.place.machine == original.id;
        let holds = is_its
            && beginning.by.incarnation == original.disk.incarnation()
            && beginning.bytes <= original.disk.bytes(self.now)
            && source.machine.marks.contains_key(&beginning.mark);
        holds.then(|| Seed {
            mark: beginning.mark.clone(),
            bytes: beginning.bytes,
        })
    }
}

/// A caller that does not say which way it goes wants what there is.
fn is_same(known: &Replica, prepare: &PrepareReplica, original: Option<&Machine>) -> bool {
    !prepare.ext.contains_key("direction")
        || (known.source_site == prepare.source_site
            && known.machine.id == prepare.machine.id
            && known.original.as_deref() == original.map(|original| &*original.id))
}

fn has_mark(source: Option<&Source>, mark: &str) -> bool {
    source.is_some_and(|source| source.machine.marks.contains_key(mark))
}

fn described(id: &str, original: Option<&Machine>, seed: Option<&Seed>) -> String {
    let onto = original.map_or(String::new(), |original| format!(" onto the disks of {}", original.id));
    let held = seed.map_or(String::new(), |seed| {
        format!(", which hold {} bytes already", seed.bytes)
    });
    format!("replica {id}{onto}{held}")
}

/// The facts that go with the data. Away from home they say where home was.
fn facts(prepare: &PrepareReplica, source: &Source) -> MachineFacts {
    let facts = source.machine.facts.clone();
    let is_reverse = prepare.ext.get("direction").map(String::as_str) == Some("reverse");
    let came_from = (!is_reverse).then(|| {
        let site = &source.site.facts;
        let server = site.configuration_servers.first();
        CameFrom {
            site: source.place.site.clone(),
            machine: source.place.machine.clone(),
            vcenter: facts
                .vcenter
                .clone()
                .or_else(|| site.vcenters.first().map(|vcenter| vcenter.id.clone())),
            configuration_server: server.map(|server| server.id.clone()),
            configuration_server_address: server.and_then(|server| server.address.clone()),
        }
    });
    MachineFacts { came_from, ..facts }
}
