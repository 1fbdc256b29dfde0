//! The `webhook` runbook: POSTs what the plan is doing, as JSON, to a web address.
//!
//! ```yaml
//! action: webhook
//! params: { url: "https://hooks.example.org/dr", key-header: Idempotency-Key }
//! ```
//!
//! | parameter | meaning |
//! |---|---|
//! | `url` | where to; may stand in the configuration instead |
//! | `key-header` | the header that carries the step's key; may stand in the configuration instead |
//! | `expect-status` | what counts as done: `200`, `2xx`, `200,202`; default `2xx` |
//! | `timeout` | how long to wait for the answer; default `30s` |
//! | `header.NAME` | a further header |
//!
//! All other parameters are sent in the body, whose form is in the module `body` and is kept stable.
//!
//! **What happens after a crash** depends on `key-header`. With it the effect is `keyed`: the receiver must drop a
//! second request with the same key, and the host repeats the request when in doubt. Without it the effect is
//! `one-shot`: in doubt, the job stops and asks.
//!
//! **Answers.** An expected status is done (output `status`). Another 4xx is a definite failure, of which 408, 425 and
//! 429 are retried; but 409 to a request with a key can mean that the first one is still being worked on, so it is in
//! doubt, as are 5xx, 2xx that were not expected, redirects (which are not followed) and a missing answer.
//!
//! It asks for `http`. Credentials are no parameter: the operator's grant adds them.

mod body;
mod delivery;

use delivery::{Delivery, judge, key_header};
use landfall_sdk::http::Request;
use landfall_sdk::{Call, Context, Effect, Failure, Outcome, Plugin, Runbook, config, export_runbook, log};

/// Left of the call when the receiver has not answered: time to say so, rather than be cut off.
const MARGIN_MS: u64 = 500;

struct Webhook;

impl Plugin for Webhook {
    const NAME: &'static str = "webhook";
    const SUMMARY: &'static str = "Sends what the plan is doing to a web address";
    const CONFIG_SCHEMA: Option<&'static str> = Some(
        r#"{
  "type": "object",
  "properties": {
    "url": { "type": "string", "description": "Where to, for actions that name no url" },
    "key-header": { "type": "string", "description": "The header in which the receiver expects a key to drop repeats by" }
  },
  "additionalProperties": false
}"#,
    );
}

impl Runbook for Webhook {
    fn effect(context: &Context) -> Effect {
        match key_header(context, config::get) {
            Some(_) => Effect::keyed("webhook"),
            None => Effect::one_shot("webhook"),
        }
    }

    fn run(call: &Call, context: &Context, _resume: Option<Vec<u8>>) -> Result<Outcome, Failure> {
        let delivery = Delivery::of(call, context, config::get)?;
        let mut request = Request::post(&delivery.url)?
            .timeout_ms(delivery.timeout_ms.min(call.remaining_ms.saturating_sub(MARGIN_MS)));
        for (name, value) in &delivery.headers {
            request = request.header(name, value);
        }
        let status = request.body(delivery.body).send()?.status();
        judge(status, &delivery.expected, delivery.keyed)?;
        log::info!("the receiver answered {status}");
        Ok(Outcome::Done(vec![("status".to_owned(), status.to_string())]))
    }
}

export_runbook!(Webhook);
