//! Which epoch of an installation the site obeys. It stands in the metadata of a machine that is defined and never
//! started, one for each installation that was ever restored from a backup; where there is none, nobody took over.

use landfall_sdk::{Call, Failure};

use crate::facts::{Epoch, Facts, uuid_from};
use crate::libvirt::{CONFIG, Libvirt, uuid_text};
use crate::target::definition;

/// The keeper's UUID follows from the installation, so that it is found without a search.
fn keeper(installation: &str) -> [u8; 16] {
    uuid_from(&format!("epoch/{installation}"))
}

fn kept(libvirt: &mut Libvirt, installation: &str) -> Result<Option<u64>, Failure> {
    let Some(domain) = libvirt.find(keeper(installation))? else {
        return Ok(None);
    };
    let text = libvirt.metadata(&domain, CONFIG)?;
    match text.as_deref().and_then(Facts::from_metadata) {
        Some(Facts::Epoch(kept)) if kept.installation == installation => Ok(Some(kept.epoch)),
        _ => {
            let why = format!(
                "`{}` should say which epoch this site obeys, and does not; undefine it and start the daemon anew: it tells its epoch again",
                domain.name
            );
            Err(Failure::definite("epoch-unreadable", why))
        }
    }
}

/// A host that was restored from an old copy must not act beside its successor.
pub(crate) fn check(libvirt: &mut Libvirt, call: &Call) -> Result<(), Failure> {
    let kept = kept(libvirt, &call.installation)?;
    refuse_older(kept, call)
}

fn refuse_older(kept: Option<u64>, call: &Call) -> Result<(), Failure> {
    match kept {
        Some(kept) if call.epoch < kept => {
            let why = format!(
                "epoch {} is over: epoch {kept} of this installation has taken over",
                call.epoch
            );
            Err(Failure::definite("stale-epoch", why))
        }
        _ => Ok(()),
    }
}

pub(crate) fn take_over(libvirt: &mut Libvirt, call: &Call) -> Result<(), Failure> {
    let kept = kept(libvirt, &call.installation)?;
    refuse_older(kept, call)?;
    if kept == Some(call.epoch) {
        return Ok(());
    }
    let uuid = uuid_text(&keeper(&call.installation));
    let name = format!("landfall-epoch-{}", uuid.get(..8).unwrap_or_default());
    let facts = Facts::Epoch(Epoch {
        installation: call.installation.clone(),
        epoch: call.epoch,
    });
    // One that is there is replaced as a whole.
    let description = "Says which epoch of a Landfall installation this site obeys. Landfall's; never started.";
    libvirt.define(definition(&uuid, &name, description, &facts))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lower_epoch_of_an_installation_that_took_over_is_refused() {
        let call = Call {
            installation: "i".into(),
            epoch: 5,
            job: None,
            step: "start/db".into(),
            attempt: 1,
            key: "k".into(),
            remaining_ms: 0,
            ext: vec![],
        };
        for kept in [None, Some(1), Some(5)] {
            refuse_older(kept, &call).unwrap();
        }
        let refused = refuse_older(Some(6), &call).unwrap_err();
        assert!(refused.code == "stale-epoch" && refused.definite, "{refused:?}");
        assert_ne!(keeper("i"), keeper("j"));
    }
}
