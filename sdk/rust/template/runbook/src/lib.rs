//! Tells a web address what the plan is doing.

use landfall_sdk::http::Request;
use landfall_sdk::{Call, Context, Effect, Failure, Outcome, Plugin, Runbook, config, export_runbook, log, pair};
use serde_json::{Value, json};

struct Announce;

impl Plugin for Announce {
    const NAME: &'static str = "my-plugin";
    const SUMMARY: &'static str = "Tells a web address what the plan is doing";
}

impl Runbook for Announce {
    // True only if the far side drops a second request with the same key. If it does not: Effect::one_shot.
    fn effect(_context: &Context) -> Effect {
        Effect::keyed("announce")
    }

    fn run(call: &Call, context: &Context, _resume: Option<Vec<u8>>) -> Result<Outcome, Failure> {
        let url = config::get("url").ok_or_else(|| {
            Failure::definite("not-configured", "no `url` is configured: name the address to tell")
        })?;
        let answer = Request::post(&url)?
            .header("idempotency-key", &call.key)
            .header("content-type", "application/json")
            .body(message(call, context).to_string())
            // Less than the call has, so that it can still say that nobody answered.
            .timeout_ms(call.remaining_ms.saturating_sub(500))
            .send()?;
        log::info!("{url} answered {}", answer.status());
        match answer.status() {
            200..=299 => Ok(Outcome::Done(vec![("status".to_owned(), answer.status().to_string())])),
            status @ 500.. => Err(Failure::in_doubt("server-error", format!("it answered {status}")).retryable()),
            status => Err(Failure::definite("refused", format!("it answered {status}"))),
        }
    }
}

/// A plain function, so that `cargo test` can test it without a host.
fn message(call: &Call, context: &Context) -> Value {
    let machines: Vec<&str> = context.machines.iter().map(|machine| machine.item.as_str()).collect();
    json!({
        "job": call.job,
        "step": call.step,
        "plan": context.plan,
        "operation": context.operation,
        "action": context.action,
        "machines": machines,
        "text": pair(&context.params, "text").unwrap_or_default(),
    })
}

export_runbook!(Announce);

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_sdk::Direction;

    #[test]
    fn the_message_names_plan_and_action() {
        let call = Call {
            installation: "i".to_owned(),
            epoch: 1,
            job: Some("j1".to_owned()),
            step: "action/announce".to_owned(),
            attempt: 1,
            key: "k1".to_owned(),
            remaining_ms: 10_000,
            ext: Vec::new(),
        };
        let context = Context {
            plan: "hr".to_owned(),
            operation: "test".to_owned(),
            kind: None,
            direction: Direction::Forward,
            group: None,
            phase: "before".to_owned(),
            action: "announce".to_owned(),
            machines: Vec::new(),
            outputs: Vec::new(),
            params: vec![("text".to_owned(), "here we go".to_owned())],
            ext: Vec::new(),
        };
        let message = message(&call, &context);
        assert_eq!((&message["plan"], &message["text"]), (&json!("hr"), &json!("here we go")));
    }
}
