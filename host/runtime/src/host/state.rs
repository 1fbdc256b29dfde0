//! `state`: durable text by key, within the operator's quota. What may wait for a disk never holds a guest thread.

use crate::bindings::landfall::plugin::state::Host;
use crate::contract::types::Failure;
use crate::durable::{OnlyIf, Shelf, StateError};
use crate::endpoint::StateGrant;
use crate::error::Refusal;
use crate::grants::Interface;
use crate::state::GuestState;

type Bytes = Vec<u8>;
type Answer<T> = wasmtime::Result<Result<T, Failure>>;

impl GuestState {
    fn shelf(&self) -> wasmtime::Result<Shelf> {
        self.subject.expect(Interface::State)?;
        let own = self.subject.shelf.clone();
        own.ok_or_else(|| wasmtime::format_err!("there is no state here"))
    }

    /// A failure for the guest, which the host keeps in mind for the call's error.
    fn kept<T>(&self, outcome: Result<T, StateError>) -> Result<T, Failure> {
        outcome.map_err(|error| {
            let refusal = refusal(&error);
            let failure = refusal.to_failure(matches!(error, StateError::Store(_)));
            self.record.refuse(refusal);
            failure
        })
    }
}

fn refusal(error: &StateError) -> Refusal {
    let (code, word) = match error {
        StateError::Quota { .. } | StateError::TooManyKeys(_) => ("LF0470", "quota-exceeded"),
        StateError::Key(_) => ("LF0472", "invalid-key"),
        StateError::Store(_) => ("LF0471", "state-unavailable"),
    };
    let what = match error {
        StateError::Quota { wanted, .. } => match StateGrant::line_for(*wanted) {
            Some(line) => format!("{error}; this line in its grants would make room: {line}"),
            None => error.to_string(),
        },
        other => other.to_string(),
    };
    Refusal { code, word, what }
}

impl Host for GuestState {
    async fn get(&mut self, key: String) -> Answer<Option<Bytes>> {
        let found = self.shelf()?.get(&key).await;
        Ok(self.kept(found))
    }

    async fn set(&mut self, key: String, value: Bytes) -> Answer<()> {
        let done = self.shelf()?.change(key, OnlyIf::Always, Some(value)).await;
        Ok(self.kept(done.map(drop)))
    }

    async fn delete(&mut self, key: String) -> Answer<()> {
        let done = self.shelf()?.change(key, OnlyIf::Always, None).await;
        Ok(self.kept(done.map(drop)))
    }

    async fn swap(&mut self, key: String, expected: Option<Bytes>, value: Option<Bytes>) -> Answer<bool> {
        let done = self.shelf()?.change(key, OnlyIf::Holds(expected), value).await;
        Ok(self.kept(done))
    }

    async fn keys(&mut self, prefix: String, after: Option<String>) -> Answer<Vec<String>> {
        let found = self.shelf()?.keys(&prefix, after.as_deref()).await;
        Ok(self.kept(found))
    }
}
