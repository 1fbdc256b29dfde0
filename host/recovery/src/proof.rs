//! Proof that a machine may be activated: that its source cannot run at the same time, or that its network is
//! isolated. Plugins bring the evidence; the host checks presence, subject and freshness, here.

use serde::{Deserialize, Serialize};

use crate::document::Side;
use crate::executor::PROOF;
use crate::freeze::Risk;
use crate::words::{Millis, Pairs};

/// Why the source counts as fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofKind {
    /// A read after the shutdown says that it is off.
    VerifiedOff,
    /// Its power was cut by a fencing device.
    Stonith,
    /// It can no longer write to its storage.
    StorageDemoted,
    /// A named person vouches for it.
    HumanAttested,
}

/// Evidence that a machine's source is fenced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FenceProof {
    /// What was looked at: the source site and machine.
    pub site: String,
    /// The site's reference.
    pub machine: String,
    /// Why it counts.
    pub kind: ProofKind,
    /// What was seen, or who said so and why.
    pub evidence: Pairs,
    /// Host clock when the call that answered began.
    pub observed_at: Millis,
    /// It will not start by itself; none: the site could not tell.
    pub held: Option<bool>,
}

/// A read of a source's power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What it proves if it says off.
    pub kind: ProofKind,
    /// It says off; not if it says anything else, or could not be made.
    pub off: bool,
    /// The machine will not start by itself; none: the site could not tell.
    pub held: Option<bool>,
    /// What was seen.
    pub evidence: Pairs,
    /// Host clock when the call that answered began.
    pub observed_at: Millis,
    /// What was seen, in a few words.
    pub words: String,
}

/// Evidence that a test's networks are isolated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IsolationProof {
    /// The target site.
    pub site: String,
    /// Every network that the test machine is attached to, with what was seen of it.
    pub networks: std::collections::BTreeMap<String, Pairs>,
    /// Host clock when the first call began.
    pub observed_at: Millis,
}

/// Why a proof does not allow an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofProblem {
    /// Too old to say anything about now.
    #[error("the proof is older than it may be")]
    Stale,
    /// It is about another machine.
    #[error("the proof is about another machine")]
    WrongSubject,
}

impl FenceProof {
    /// From the outputs of a step that proves a machine off.
    pub fn of_step(outputs: &Pairs) -> Option<Self> {
        serde_json::from_str(outputs.get(PROOF)?).ok()
    }

    /// What readings of a source prove, the first that says off; else the word of the person who asked for the job and
    /// accepted that it may not be off (F15).
    pub fn of(source: &Side, readings: &[Reading], risk: Option<&Risk>) -> Option<Self> {
        let proof = |kind, evidence, observed_at, held| Self {
            site: source.site.clone(),
            machine: source.machine.clone(),
            kind,
            evidence,
            observed_at,
            held,
        };
        if let Some(read) = readings.iter().find(|reading| reading.off) {
            return Some(proof(read.kind, read.evidence.clone(), read.observed_at, read.held));
        }
        let (risk, last) = (risk?, readings.last()?);
        let seen: Vec<&str> = readings.iter().map(|reading| reading.words.as_str()).collect();
        let evidence = Pairs::from([
            ("accepted-by".to_owned(), risk.who.clone()),
            ("reason".to_owned(), risk.why.clone()),
            ("seen".to_owned(), seen.join("; ")),
        ]);
        Some(proof(ProofKind::HumanAttested, evidence, last.observed_at, None))
    }

    /// Whether this proof allows the activation of the machine whose source is `machine` at `site`.
    ///
    /// A person's word has no age: it was given for this job. What is dated later than now says only that the clock was
    /// set back, and by how much nobody knows.
    pub fn check(&self, site: &str, machine: &str, now: Millis, age_max_ms: Millis) -> Result<(), ProofProblem> {
        if self.site != site || self.machine != machine {
            return Err(ProofProblem::WrongSubject);
        }
        if self.kind != ProofKind::HumanAttested && !is_fresh(self.observed_at, now, age_max_ms) {
            return Err(ProofProblem::Stale);
        }
        Ok(())
    }
}

/// Whether what was observed then may still be acted on.
pub fn is_fresh(observed_at: Millis, now: Millis, age_max_ms: Millis) -> bool {
    now.checked_sub(observed_at).is_some_and(|age| age <= age_max_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(kind: ProofKind) -> FenceProof {
        FenceProof {
            site: "a".into(),
            machine: "vm-1".into(),
            kind,
            evidence: Pairs::new(),
            observed_at: 1_000,
            held: Some(true),
        }
    }

    #[test]
    fn a_proof_is_for_one_machine_and_one_moment() {
        let seen = proof(ProofKind::VerifiedOff);
        assert_eq!(seen.check("a", "vm-1", 61_000, 60_000), Ok(()));
        assert_eq!(seen.check("a", "vm-1", 61_001, 60_000), Err(ProofProblem::Stale));
        assert_eq!(seen.check("a", "vm-1", 999, 60_000), Err(ProofProblem::Stale));
        assert_eq!(seen.check("a", "vm-2", 1_000, 60_000), Err(ProofProblem::WrongSubject));
        assert_eq!(seen.check("b", "vm-1", 1_000, 60_000), Err(ProofProblem::WrongSubject));
        assert_eq!(
            proof(ProofKind::HumanAttested).check("a", "vm-1", 999_000, 60_000),
            Ok(())
        );
    }
}
