//! `landfall doctor`: everything that a recovery needs, checked before it is needed.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use landfall_daemon::api::wire::{PluginView, SiteView, VersionView};
use reqwest::header::{DATE, HeaderMap};
use serde::Serialize;

use super::Context;
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::table::table;

/// A proof that a source is off is at most a minute old when it is used; clocks further apart than this would eat it.
const CLOCK_SKEW_MAX_MS: i64 = 2_000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Check this configuration file too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    ok: bool,
    detail: String,
    /// The daemon itself does not answer, or not us.
    #[serde(skip)]
    no_daemon: bool,
}

impl Check {
    fn new(name: &str, result: Result<String, String>) -> Self {
        let ok = result.is_ok();
        Self {
            name: name.to_owned(),
            ok,
            detail: result.unwrap_or_else(|why| why),
            no_daemon: false,
        }
    }
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let mut checks = Vec::new();
        if let Some(config) = &self.config {
            let found = landfall_daemon::Config::inspect(config);
            checks.extend(found.into_iter().map(|(name, result)| {
                let result = result.map_err(|why| why.trim().replace('\n', "; "));
                Check::new(&name, result)
            }));
        }
        daemon(&client, &mut checks).await;
        context.out.many(&checks, "", || text(&checks))?;
        Ok(exit(&checks))
    }
}

fn exit(checks: &[Check]) -> Exit {
    if checks.iter().any(|check| check.no_daemon) {
        Exit::Unreachable
    } else if checks.iter().all(|check| check.ok) {
        Exit::Ok
    } else {
        Exit::Refused
    }
}

fn text(checks: &[Check]) -> String {
    let state = |check: &Check| if check.ok { "ok" } else { "PROBLEM" }.to_owned();
    table(
        ["check", "state", "detail"],
        checks
            .iter()
            .map(|check| [check.name.clone(), state(check), check.detail.clone()]),
    )
}

/// Everything behind the daemon, as far as it answers.
async fn daemon(client: &Client, checks: &mut Vec<Check>) {
    let live = client.probe("livez").await;
    let clock = live.as_ref().ok().map(|(_, headers)| clock(headers));
    let answers = live
        .map(|_| format!("answers at {}", client.address()))
        .map_err(|failure| chain(&failure));
    let no_daemon = answers.is_err();
    checks.push(Check {
        no_daemon,
        ..Check::new("daemon", answers)
    });
    if no_daemon {
        return;
    }
    let ready = match client.probe("readyz").await {
        Ok((status, _)) if status.is_success() => Ok("takes requests".to_owned()),
        Ok((status, _)) => Err(format!("says {status}")),
        Err(failure) => Err(chain(&failure)),
    };
    checks.push(Check::new("ready", ready));
    checks.extend(clock.map(|clock| Check::new("clock", clock)));
    let version: Result<VersionView, Failure> = client.get_root("version").await;
    let room = version.as_ref().ok().map(|it| match &it.paused {
        None => Ok("the journal has room".to_owned()),
        Some(why) => Err(why.clone()),
    });
    let version = version.map(|it| format!("accepted; version {}, epoch {}", it.version, it.epoch));
    let refused = version.is_err();
    checks.push(Check {
        no_daemon: refused,
        ..Check::new("token", version.map_err(|failure| chain(&failure)))
    });
    if refused {
        return;
    }
    checks.extend(room.map(|room| Check::new("disk", room)));
    match client.get::<Vec<SiteView>>(&["sites"]).await {
        Ok(sites) => checks.extend(sites.iter().map(site)),
        Err(failure) => checks.push(Check::new("sites", Err(chain(&failure)))),
    }
    match client.get::<Vec<PluginView>>(&["plugins"]).await {
        Ok(plugins) => checks.extend(plugins.iter().map(plugin)),
        Err(failure) => checks.push(Check::new("plugins", Err(chain(&failure)))),
    }
}

fn site(site: &SiteView) -> Check {
    let roles = [("source", site.source), ("target", site.target)];
    let roles: Vec<&str> = roles.iter().filter(|(_, is)| *is).map(|(role, _)| *role).collect();
    let result = if site.reachable {
        Ok(format!(
            "answers; {} replication, can be {}",
            site.replication,
            roles.join(" and ")
        ))
    } else {
        Err(site.error.clone().unwrap_or_else(|| "does not answer".to_owned()))
    };
    Check::new(&format!("site {}", site.name), result)
}

fn plugin(plugin: &PluginView) -> Check {
    let version = plugin.version.as_deref().unwrap_or("");
    let result = match (plugin.state.as_str(), &plugin.error) {
        ("serving", None) => Ok(format!("{version} serves")),
        ("serving", Some(error)) => Err(format!("{version} serves, but the newest does not load: {error}")),
        (state, error) => Err(error.clone().unwrap_or_else(|| state.to_owned())),
    };
    Check::new(&format!("plugin {}", plugin.name), result)
}

/// The daemon's clock against ours, to the second of the answer's date.
fn clock(headers: &HeaderMap) -> Result<String, String> {
    let date = headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| rfc2822::parse(date).ok());
    let Some(date) = date else {
        return Ok("the daemon does not tell the time".to_owned());
    };
    let apart = Timestamp::now().as_millisecond() - date.timestamp().as_millisecond();
    // The date is cut to whole seconds.
    if (-CLOCK_SKEW_MAX_MS..=CLOCK_SKEW_MAX_MS + 1_000).contains(&apart) {
        Ok("agrees with this machine's".to_owned())
    } else {
        Err(format!("{} s from this machine's", apart / 1_000))
    }
}

/// A failure and all its causes in one line.
fn chain(failure: &Failure) -> String {
    let words = std::iter::once(failure.to_string()).chain(failure.causes());
    words.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_the_exit_code() {
        let ok = || Check::new("a", Ok(String::new()));
        let wrong = || Check::new("b", Err(String::new()));
        assert_eq!(exit(&[ok()]), Exit::Ok);
        assert_eq!(exit(&[ok(), wrong()]), Exit::Refused);
        assert_eq!(
            exit(&[
                wrong(),
                Check {
                    no_daemon: true,
                    ..wrong()
                }
            ]),
            Exit::Unreachable
        );
    }

    #[test]
    fn clocks_that_disagree_are_named() {
        let headers = |date: &str| HeaderMap::from_iter([(DATE, date.parse().unwrap())]);
        assert!(clock(&headers("Thu, 01 Jan 2026 00:00:00 GMT")).is_err());
        assert!(clock(&HeaderMap::new()).is_ok());
    }
}
