//! The machines of a call on a stage: the daemon's rule says which are reached, the case's script what comes of it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use landfall_runtime::contract::guests::Side;
use landfall_runtime::contract::runbook::MachineContext;
use landfall_runtime::contract::types::{GuestCommand, GuestExit};
use landfall_runtime::{GuestFault, GuestPrograms, StageClock, machine_at};

use crate::script::{Wanted, World};

/// See the module.
pub(crate) struct Machines {
    pub(crate) world: World,
    pub(crate) clock: StageClock,
    pub(crate) in_call: Vec<MachineContext>,
}

impl GuestPrograms for Machines {
    fn exec(
        &self,
        item: String,
        side: Side,
        command: GuestCommand,
        _left: Duration,
    ) -> BoxFuture<'static, Result<GuestExit, GuestFault>> {
        if let Err(refused) = machine_at(&self.in_call, &item, side) {
            return Box::pin(async { Err(refused) });
        }
        let (answer, took_ms) = self.world.run(&Wanted { item, side, command });
        let clock = self.clock.clone();
        Box::pin(async move {
            // A program that takes longer than the call has does not end within it.
            clock.pass(took_ms).await;
            answer
        })
    }
}
