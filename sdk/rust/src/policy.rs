//! Recovery-point policies: which point to recover to, and which to keep.

use crate::bindings::exports::landfall::plugin::policy::Guest;
use crate::log::log_panics;
use crate::{Choice, Failure, Plugin, PolicyRequest, Selection, Verdict};

/// A recovery-point policy. Export it with [`export_policy!`](crate::export_policy).
///
/// Pure: the same request must give the same answer, so that a decision can be replayed over past data. The time is
/// in the request, and no clock, random or network is ever linked.
pub trait Policy: Plugin {
    /// The named choices that this policy offers.
    fn choices() -> Vec<Choice>;

    /// One selection for every candidate, or a failure that names those without a fitting point.
    fn select(request: &PolicyRequest) -> Result<Vec<Selection>, Failure>;

    /// Which points to keep: a proposal, as the host keeps what jobs, tests and uncommitted items use.
    fn retain(request: &PolicyRequest) -> Result<Vec<Verdict>, Failure>;
}

impl<P: Policy> Guest for P {
    fn choices() -> Vec<Choice> {
        log_panics();
        <P as Policy>::choices()
    }

    fn select(request: PolicyRequest) -> Result<Vec<Selection>, Failure> {
        log_panics();
        <P as Policy>::select(&request)
    }

    fn retain(request: PolicyRequest) -> Result<Vec<Verdict>, Failure> {
        log_panics();
        <P as Policy>::retain(&request)
    }
}

/// Makes the crate a recovery-point-policy plugin. Once in a crate, at the top level.
#[macro_export]
macro_rules! export_policy {
    ($plugin:ident) => {
        $crate::__export_plugin!($plugin, "recovery-point-policy", POLICY);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::landfall::plugin::policy as interface;
    $crate::bindings::cabi_policy!($plugin with_types_in interface);
        };
    };
}
