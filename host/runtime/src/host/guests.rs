//! `guests`: programs inside the machines that a runbook's call is about. A program that was asked for counts as sent,
//! unless it certainly did not start.

use std::time::Duration;

use tokio::time::Instant;

use crate::bindings::landfall::plugin::guests::{Host, Side};
use crate::contract::types::{Failure, GuestCommand, GuestExit};
use crate::error::Refusal;
use crate::grants::Interface;
use crate::guests::GuestFault;
use crate::state::GuestState;

impl GuestState {
    fn refuse(&self, refusal: Refusal) -> Failure {
        let failure = refusal.to_failure(false);
        self.record.refuse(refusal);
        failure
    }
}

impl Host for GuestState {
    async fn exec(
        &mut self,
        item: String,
        side: Side,
        command: GuestCommand,
    ) -> wasmtime::Result<Result<GuestExit, Failure>> {
        self.subject.expect(Interface::Guests)?;
        let Some(programs) = self.programs.clone() else {
            let what = "this call is about no machines, so no program can be run".to_owned();
            return Ok(Err(self.refuse(Refusal {
                code: "LF0479",
                word: "not-in-call",
                what,
            })));
        };
        // Before it is tried: a call that is cut off meanwhile may have had an effect.
        self.record.request_leaves();
        let staged = self.subject.stage.as_ref().and_then(|stage| stage.left_ms());
        let left = staged.map_or_else(
            || self.deadline.saturating_duration_since(Instant::now()),
            Duration::from_millis,
        );
        Ok(match programs.exec(item, side, command, left).await {
            Ok(exit) => Ok(exit),
            Err(GuestFault::Refused(refusal)) => {
                self.record.request_did_not_leave();
                Err(self.refuse(refusal))
            }
            Err(GuestFault::Failed { failure, sent }) => {
                if !sent {
                    self.record.request_did_not_leave();
                }
                // Definite for this program; the runbook may have run another before.
                let definite = false;
                Err(Failure { definite, ..failure })
            }
        })
    }
}
