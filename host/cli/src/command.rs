//! The commands, one file each. Every one takes its arguments apart, asks the daemon, and prints the answer.

mod backup;
mod change_point;
mod choose_direction;
mod commit;
mod completions;
mod daemon;
mod doctor;
mod evidence;
mod explain;
mod failover;
mod inventory;
mod item;
mod job;
mod journal;
mod lab;
mod orphans;
mod plain;
mod plan;
mod plugin;
mod policy;
mod protect;
mod reconcile;
mod reference;
mod release;
mod reprotect;
mod request;
mod site;
mod unprotect;

use std::path::Path;

use clap::{ArgAction, Parser, Subcommand};
use landfall_recovery::words::Direction;

use crate::client::Client;
use crate::connection::Connection;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::{Color, Format, Output};
use crate::style;

/// Disaster recovery that is rehearsed, durable and scripted: recovery plans, run by sandboxed plugins
#[derive(Debug, Parser)]
#[command(name = "landfall", version, after_help = exit::HELP, styles = style::HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    style: Style,
    /// When to use colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, help_heading = GLOBAL)]
    pub(crate) color: Color,
    #[command(subcommand)]
    command: Command,
}

const GLOBAL: &str = "Global options";

/// How the command talks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = GLOBAL)]
struct Style {
    /// How to print data
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_possible_values = true
    )]
    #[arg(help = "How to print data: text, json or jsonl")]
    output: Format,
    /// No notes and no progress
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Never ask a question
    #[arg(long, global = true)]
    no_input: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    #[command(subcommand)]
    Daemon(daemon::Command),
    /// Run a virtual pair of sites to try things on
    Lab(landfall_lab::Options),
    /// Sites, and what is at them
    #[command(subcommand)]
    Site(site::Command),
    /// Which machines are protected, from where to where
    #[command(subcommand)]
    Inventory(inventory::Command),
    /// Recovery plans
    #[command(subcommand)]
    Plan(plan::Command),
    /// Protected machines and their recovery points
    #[command(subcommand)]
    Item(item::Command),
    /// Start to replicate machines to their target site
    Protect(protect::Arguments),
    /// Bring a plan, or single machines, up at the other site
    Failover(failover::Arguments),
    /// Remove everything that a test failover made
    Cleanup(plain::Arguments),
    /// Before the commit, move recovered machines to another recovery point
    ChangePoint(change_point::Arguments),
    /// Stay at the target after a failover; deletes the recovery points, and after a failback the machines away from home
    Commit(commit::Arguments),
    /// Replicate in the other direction: the way back, and after it the way out again
    #[command(visible_alias = "reverse-replicate")]
    Reprotect(reprotect::Arguments),
    /// Bring re-protected machines back home: a failover in direction reverse
    Failback(failover::Arguments),
    /// After a failover that broke off: back to the source, which is replicated again
    ResumeProtection(plain::Arguments),
    /// After a failover on somebody's word, make sure that the old source is off
    Fence(plain::Arguments),
    /// Where a machine runs at both sites, say which one stays
    ChooseDirection(choose_direction::Arguments),
    /// Stop replication and delete the replica
    Unprotect(unprotect::Arguments),
    /// Let go of a machine whose copy away from home is lost or stays there for ever; does nothing at any site
    Release(release::Arguments),
    /// Jobs: follow them, and decide where they need a person
    #[command(subcommand)]
    Job(job::Command),
    /// Plugins: build them, and see which serve
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Recovery-point policies: what they offer, decided, and would decide
    #[command(subcommand)]
    Policy(policy::Command),
    /// What a job did, signed, for who was not there
    Evidence(evidence::Arguments),
    /// The record of the past: verify it
    #[command(subcommand)]
    Journal(journal::Command),
    /// Write the installation's state to a file; the daemon may run
    Backup(backup::Backup),
    /// Make an installation of a backup, in a data directory that has none
    Restore(backup::Restore),
    /// Compare what the state says of machines with what the sites say
    Reconcile(reconcile::Arguments),
    /// What carries our stamp at the sites, and no machine here knows of
    Orphans(orphans::Arguments),
    /// Explain an error code; without one, list them all
    Explain(explain::Arguments),
    /// Check that everything a recovery needs works
    Doctor(doctor::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
    /// Print the reference of all commands in Markdown
    #[command(hide = true)]
    Reference(reference::Arguments),
}

/// What every command gets.
pub(crate) struct Context {
    pub(crate) connection: Connection,
    pub(crate) out: Output,
    /// A person can be asked.
    pub(crate) asks: bool,
}

impl Context {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.connection)
    }
}

impl Cli {
    /// How data is printed, and what went wrong with it.
    pub(crate) fn format(&self) -> Format {
        self.style.output
    }

    /// Runs the command to its end.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let Style {
            output,
            quiet,
            verbose,
            no_input,
        } = self.style;
        let context = Context {
            connection: self.connection,
            out: Output {
                format: output,
                quiet,
                verbose,
            },
            asks: !no_input && crate::output::is_interactive(),
        };
        match self.command {
            Command::Daemon(command) => command.run(&context).await,
            Command::Lab(options) => lab::run(options, &context).await,
            Command::Site(command) => command.run(&context).await,
            Command::Inventory(command) => command.run(&context).await,
            Command::Plan(command) => command.run(&context).await,
            Command::Item(command) => command.run(&context).await,
            Command::Protect(arguments) => arguments.run(&context).await,
            Command::Failover(arguments) => arguments.run(&context, None).await,
            Command::Failback(arguments) => arguments.run(&context, Some(Direction::Reverse)).await,
            Command::ChangePoint(arguments) => arguments.run(&context).await,
            Command::Reprotect(arguments) => arguments.run(&context).await,
            Command::ResumeProtection(arguments) => arguments.run(&context, "resume-protection").await,
            Command::Fence(arguments) => arguments.run(&context, "fence").await,
            Command::ChooseDirection(arguments) => arguments.run(&context).await,
            Command::Unprotect(arguments) => arguments.run(&context).await,
            Command::Release(arguments) => arguments.run(&context).await,
            Command::Cleanup(arguments) => arguments.run(&context, "cleanup").await,
            Command::Commit(arguments) => arguments.run(&context).await,
            Command::Job(command) => command.run(&context).await,
            Command::Plugin(command) => command.run(&context).await,
            Command::Policy(command) => command.run(&context).await,
            Command::Evidence(arguments) => arguments.run(&context).await,
            Command::Journal(command) => command.run(&context),
            Command::Backup(arguments) => arguments.run(&context),
            Command::Restore(arguments) => arguments.run(&context),
            Command::Reconcile(arguments) => arguments.run(&context).await,
            Command::Orphans(arguments) => arguments.run(&context).await,
            Command::Explain(arguments) => arguments.run(&context),
            Command::Doctor(arguments) => arguments.run(&context).await,
            Command::Completions(arguments) => arguments.run(),
            Command::Reference(arguments) => reference::run(&arguments),
        }
    }
}

/// Reads a file that the user named; `-` is stdin.
fn read_file(path: &Path) -> Result<(String, String), Failure> {
    let failed = |source| Failure::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    if path.as_os_str() == "-" {
        let text = std::io::read_to_string(std::io::stdin()).map_err(failed)?;
        return Ok(("stdin".to_owned(), text));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok((path.display().to_string(), text))
}

/// Puts a plan or an inventory; a refusal is shown in the text that was sent.
async fn put_document(context: &Context, kind: &'static str, path: &Path, check: bool) -> Result<Exit, Failure> {
    let (name, text) = read_file(path)?;
    let collection = if kind == "plan" { "plans" } else { kind };
    let query = [("check", check.to_string())];
    let put = context.client()?.put_text(&[collection], &query, text.clone()).await;
    let view: landfall_daemon::api::wire::DocumentView = put.map_err(|failure| match failure {
        Failure::Problem(problem) => Failure::Document { problem, name, text },
        other => other,
    })?;
    for warning in &view.warnings {
        context.out.note(&format!("{}: {warning}", style::warning("warning")));
    }
    context.out.one(&view, || crate::render::document(&view, kind))?;
    Ok(Exit::Ok)
}

/// Prints a document as it was written.
fn print_text(context: &Context, view: &landfall_daemon::api::wire::DocumentView) -> Result<Exit, Failure> {
    context.out.one(view, || view.text.clone().unwrap_or_default())?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_of_the_whole() {
        insta::assert_snapshot!(Cli::command().term_width(100).render_help());
    }

    #[test]
    fn help_of_failover() {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        let failover = cli.find_subcommand_mut("failover").unwrap();
        insta::assert_snapshot!(failover.render_long_help());
    }
}
