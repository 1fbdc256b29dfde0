//! Everything that can keep a command from its end, with the exit code and the words for each.

use std::io;
use std::path::PathBuf;

use landfall_daemon::api::wire::Problem;
use landfall_recovery::codes;
use serde_json::json;
use thiserror::Error;

use crate::exit::Exit;
use crate::output::Format;
use crate::plugin::{BuildError, NewError};
use crate::units::count;
use crate::{output, render, style};

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The daemon says no.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The daemon says no to a document that was sent to it.
    #[error("{}", refused_document(problem, name))]
    Document {
        /// What is wrong with it.
        problem: Box<Problem>,
        /// As the user named it.
        name: String,
        /// What was sent.
        text: String,
    },
    /// Nobody answers.
    #[error("no daemon answers at {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Somebody else answers, or another version.
    #[error("what answers at {url} does not speak as a Landfall daemon of this version: {why}")]
    Stranger {
        /// Where.
        url: String,
        /// What was wrong.
        why: String,
    },
    /// The daemon wants a token, and there is none.
    #[error("the daemon wants its token, which {} should hold", .path.display())]
    NoToken {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it could not be read.
        #[source]
        source: io::Error,
    },
    /// The connection was lost while a job was watched, and did not come back.
    #[error("the daemon stopped answering while job {job} was watched")]
    Lost {
        /// The job.
        job: String,
    },
    /// A file that the user named.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The arguments fit the grammar and make no sense all the same.
    #[error("{0}")]
    Usage(String),
    /// A plugin cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A test case of a plugin.
    #[error(transparent)]
    Case(#[from] landfall_harness::CaseError),
    /// The command is meant for a plugin's directory.
    #[error("{} has no plugin.toml; name a plugin's directory, or begin one with `landfall plugin new`", .directory.display())]
    NoPlugin {
        /// As given.
        directory: PathBuf,
    },
    /// There is nothing to test with.
    #[error("there are no test cases in {}{}", .directory.display(), .filter.as_ref().map(|text| format!(" with `{text}` in their name")).unwrap_or_default())]
    NoCases {
        /// Where they would be.
        directory: PathBuf,
        /// What their names must hold.
        filter: Option<String>,
    },
    /// A plugin cannot be loaded for a test.
    #[error(transparent)]
    Harness(#[from] landfall_harness::HomeError),
    /// A plugin cannot be begun.
    #[error(transparent)]
    New(#[from] NewError),
    /// The daemon does not serve what was put into its plugin directory.
    #[error("the daemon does not serve this version of `{plugin}`: {why}")]
    NotServed {
        /// The plugin.
        plugin: String,
        /// What the daemon says.
        why: String,
    },
    /// An adapter cannot be tried.
    #[error(transparent)]
    Scratch(#[from] landfall_harness::ScratchError),
    /// A file of evidence proves nothing.
    #[error("{name} is no evidence: {why}")]
    Evidence {
        /// As the user named it.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The data directory's store.
    #[error(transparent)]
    Store(#[from] landfall_store::StoreError),
    /// The lab cannot start or go on.
    #[error(transparent)]
    Lab(#[from] landfall_lab::LabError),
    /// The daemon cannot start or go on.
    #[error(transparent)]
    Daemon(#[from] landfall_daemon::DaemonError),
    /// Nobody reads what we print, or it cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// The stable code, where there is one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) | Self::Document { problem, .. } => Some(&problem.code),
            Self::Unreachable { .. } | Self::Stranger { .. } | Self::Lost { .. } => Some(codes::UNREACHABLE),
            Self::NoToken { .. } => Some(codes::NOT_AUTHORISED),
            Self::Daemon(error) => Some(error.code()),
            Self::Evidence { .. } => Some(codes::EVIDENCE),
            Self::Store(error) => Some(error.code()),
            Self::Case(error) => Some(error.code()),
            Self::NoPlugin { .. } => Some(codes::PLUGIN_PROJECT),
            Self::NoCases { .. } => Some(codes::NO_CASES),
            Self::Scratch(_) => Some(codes::SCRATCH_SITE),
            Self::NotServed { .. } => Some(codes::NOT_SERVED),
            Self::Harness(error) => Some(error.code()),
            Self::Build(error) => error.code(),
            Self::New(_) => Some(codes::PLUGIN_NEW),
            Self::File { .. } | Self::Usage(_) | Self::Lab(_) | Self::Output(_) | Self::Internal(_) => None,
        }
    }

    /// What the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Problem(problem) | Self::Document { problem, .. } => match (problem.code.as_str(), problem.status) {
                (codes::NOT_AUTHORISED, _) => Exit::Unreachable,
                (_, 500..) => Exit::Internal,
                _ => Exit::Refused,
            },
            Self::Unreachable { .. } | Self::Stranger { .. } | Self::NoToken { .. } | Self::Lost { .. } => {
                Exit::Unreachable
            }
            Self::File { .. } | Self::Usage(_) => Exit::Usage,
            Self::Daemon(error) if error.code() == codes::INTERNAL || error.code() == codes::STORE => Exit::Internal,
            Self::Build(_)
            | Self::New(_)
            | Self::Case(_)
            | Self::NoPlugin { .. }
            | Self::NoCases { .. }
            | Self::Harness(_)
            | Self::Scratch(_)
            | Self::NotServed { .. }
            | Self::Evidence { .. }
            | Self::Store(_)
            | Self::Lab(_)
            | Self::Daemon(_) => Exit::Refused,
            // A reader that has seen enough is no error.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Output(_) | Self::Internal(_) => Exit::Internal,
        }
    }

    /// What to do about it, beyond what the code's page says.
    fn hints(&self) -> Vec<String> {
        match self {
            // Each diagnostic has its own cure; the problem's is that of the first.
            Self::Document { problem, .. } if !problem.diagnostics.is_empty() => Vec::new(),
            Self::Problem(problem) | Self::Document { problem, .. } => vec![problem.hint.clone()],
            Self::Unreachable { .. } => vec![
                "start it with `landfall daemon run --config FILE`, or say where it is with `--server URL` or \
                 `--data-dir DIRECTORY`"
                    .to_owned(),
            ],
            Self::NoToken { .. } => vec![
                "the daemon writes it to `token` in its data directory; name that with `--data-dir DIRECTORY`, or the \
                 file with `--token-file FILE`"
                    .to_owned(),
            ],
            Self::Lost { job } => {
                vec![format!(
                    "the daemon goes on with the job when it is back: `landfall job watch {job}`"
                )]
            }
            _ => Vec::new(),
        }
    }

    /// Why, and why that. The layers of an HTTP client say nothing that the last one does not.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        match self {
            Self::Unreachable { .. } => causes.pop().into_iter().collect(),
            _ => causes,
        }
    }

    /// Tells the user, on stderr; and a program that wants data, on stdout, where it looks for them.
    pub(crate) fn report(&self, format: Format) -> Exit {
        let exit = self.exit();
        if exit != Exit::Ok {
            // A reader that is gone cannot be told.
            let _ = self.data(format).map_or(Ok(()), |text| output::write(&text));
            output::say(self.describe().trim_end());
        }
        exit
    }

    /// As one JSON document, in the shape of the format's other documents.
    fn data(&self, format: Format) -> Option<String> {
        let (findings, diagnostics) = match self {
            Self::Problem(problem) | Self::Document { problem, .. } => {
                (problem.findings.as_slice(), problem.diagnostics.as_slice())
            }
            _ => Default::default(),
        };
        let error = json!({
            "code": self.code(),
            "message": self.to_string(),
            "causes": self.causes(),
            "hints": self.hints().iter().filter(|hint| !hint.is_empty()).collect::<Vec<_>>(),
            "findings": findings,
            "diagnostics": diagnostics,
        });
        match format {
            Format::Text => None,
            Format::Json => Some(format!("{:#}\n", json!({"error": error}))),
            Format::Jsonl => Some(format!("{}\n", json!({"type": "error", "error": error}))),
        }
    }

    fn describe(&self) -> String {
        let label = self
            .code()
            .map_or_else(|| "error".to_owned(), |code| format!("error[{code}]"));
        let mut words = String::new();
        if let Self::Document { problem, name, text } = self {
            words.push_str(&render::diagnostics(&problem.diagnostics, name, text));
        }
        words.extend([format!("{}: {self}\n", style::error(&label))]);
        if let Self::Problem(problem) | Self::Document { problem, .. } = self {
            words.push_str(&render::findings(&problem.findings));
        }
        words.extend(
            self.causes()
                .iter()
                .map(|cause| format!("  caused by: {cause}\n"))
                .collect::<Vec<_>>(),
        );
        for hint in self.hints().iter().filter(|hint| !hint.is_empty()) {
            words.extend([format!("{}: {hint}\n", style::hint("hint"))]);
        }
        if let Some(code) = self.code().filter(|code| codes::explain(code).is_some()) {
            words.extend([format!("{}: `landfall explain {code}` has more\n", style::hint("hint"))]);
        }
        words
    }
}

fn refused_document(problem: &Problem, name: &str) -> String {
    match problem.diagnostics.len() {
        0 => problem.detail.clone(),
        errors => format!("{name}: {} ({})", problem.detail, count(errors, "error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_recovery::words::{Finding, Severity};

    fn problem(code: &str, status: u16) -> Box<Problem> {
        Box::new(Problem {
            detail: "preflight found 1 error".to_owned(),
            code: code.to_owned(),
            status,
            hint: "mend each as its cure says and ask again".to_owned(),
            findings: vec![Finding {
                id: "LF0206".to_owned(),
                severity: Severity::Error,
                subject: "hr-db-1".to_owned(),
                cause: "`hr-db-1` has no recovery point".to_owned(),
                cure: "wait for replication, see `landfall item points`".to_owned(),
            }],
            ..Problem::default()
        })
    }

    #[test]
    fn a_refusal_says_what_why_and_what_to_do() {
        let words = anstream::adapter::strip_str(&Failure::Problem(problem("LF0207", 409)).describe()).to_string();
        insta::assert_snapshot!(words);
    }

    #[test]
    fn a_refusal_is_data_where_data_was_asked_for() {
        let failure = Failure::Problem(problem("LF0207", 409));
        assert_eq!(failure.data(Format::Text), None);
        let read = |format| serde_json::from_str::<serde_json::Value>(&failure.data(format).unwrap()).unwrap();
        let document = read(Format::Json);
        assert_eq!(document["error"]["code"], "LF0207");
        assert_eq!(document["error"]["findings"][0]["id"], "LF0206");
        assert_eq!(document["error"]["findings"][0]["severity"], "error");
        let line = read(Format::Jsonl);
        assert_eq!((&line["type"], &line["error"]), (&json!("error"), &document["error"]));
    }

    #[test]
    fn the_exit_code_follows_from_the_answer() {
        let exit = |code, status| Failure::Problem(problem(code, status)).exit();
        assert_eq!(exit(codes::NOT_AUTHORISED, 401), Exit::Unreachable);
        assert_eq!(exit(codes::NOT_LEGAL, 409), Exit::Refused);
        assert_eq!(exit(codes::INTERNAL, 500), Exit::Internal);
        let broken = Failure::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(broken.exit(), Exit::Ok);
    }
}
