//! `landfall plugin test`: runs a plugin's test cases in the daemon's own runtime, without a daemon.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use landfall_harness::{CaseReport, Home, Report, find, parse_json, parse_toml, play, read};
use landfall_runtime::Plugin;

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::plugin;

#[derive(Debug, Args)]
pub(in crate::command) struct Test {
    /// Directory of the plugin: its crate or project, or a directory with `plugin.toml` and the component [default: the
    /// current one]
    directory: Option<PathBuf>,
    /// Take the component that is there; do not build
    #[arg(long)]
    no_build: bool,
    /// Directory with the cases, `*.toml` [default: `tests` beside `plugin.toml`]
    #[arg(long, value_name = "DIRECTORY")]
    cases: Option<PathBuf>,
    /// Only cases with this text in their name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Run this case only: a file (TOML, or JSON if it ends in .json), or `-` for JSON from stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "filter"])]
    case: Option<PathBuf>,
    /// Print the JSON Schema of a case, for editors
    #[arg(long, exclusive = true)]
    schema: bool,
}

impl Test {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.schema {
            let schema = landfall_harness::schema();
            context.out.one(&schema, || format!("{schema:#}\n"))?;
            return Ok(Exit::Ok);
        }
        let source = source(self.directory.as_deref())?;
        let cases = self.cases(&source)?;
        let home = home()?;
        let plugin = home.load(&built(&source, self.no_build)?).await?;
        let report = Report::of(&plugin, run(&home, &plugin, cases).await);
        context.out.one(&report, || report.to_string())?;
        Ok(if report.failed == 0 { Exit::Ok } else { Exit::JobFailed })
    }

    /// Read before anything is built, so that a slip in a file costs no time.
    fn cases(&self, source: &Path) -> Result<Vec<Named>, Failure> {
        if let Some(file) = &self.case {
            return Ok(vec![one(file)?]);
        }
        let directory = self.cases.clone().unwrap_or_else(|| source.join("tests"));
        let mut named = Vec::new();
        for file in find(&directory)? {
            let case = Named {
                name: stem(&file),
                case: read(&file)?,
                file: Some(file),
            };
            if self
                .filter
                .as_ref()
                .is_none_or(|text| case.name.contains(text.as_str()))
            {
                named.push(case);
            }
        }
        if named.is_empty() {
            let filter = self.filter.clone();
            return Err(Failure::NoCases { directory, filter });
        }
        Ok(named)
    }
}

/// A case with what it is called.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) file: Option<PathBuf>,
    pub(super) case: landfall_harness::Case,
}

/// Plays them one after the other.
pub(super) async fn run(home: &Home, plugin: &Arc<Plugin>, cases: Vec<Named>) -> Vec<CaseReport> {
    let mut reports = Vec::with_capacity(cases.len());
    for Named { name, file, case } in cases {
        let report = play(home, plugin, &name, &case).await;
        reports.push(CaseReport { file, ..report });
    }
    reports
}

fn one(file: &Path) -> Result<Named, Failure> {
    let name = file.display().to_string();
    let mut text = String::new();
    if name == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|source| Failure::File {
                action: "read",
                path: file.to_owned(),
                source,
            })?;
    } else {
        text = std::fs::read_to_string(file).map_err(|source| Failure::File {
            action: "read",
            path: file.to_owned(),
            source,
        })?;
    }
    let is_json = name == "-" || file.extension().is_some_and(|ending| ending == "json");
    let (case, file) = if is_json {
        (parse_json(&name, &text)?, None)
    } else {
        (parse_toml(&name, &text)?, Some(file.to_owned()))
    };
    let name = file.as_deref().map_or_else(|| "case".to_owned(), stem);
    Ok(Named { name, file, case })
}

pub(super) fn stem(file: &Path) -> String {
    file.file_stem()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Where compiled code is kept between runs.
pub(super) fn home() -> Result<Home, Failure> {
    Ok(Home::open(&crate::connection::cache_directory().join("harness"))?)
}

/// The directory of a plugin that a command is about.
pub(super) fn source(directory: Option<&Path>) -> Result<PathBuf, Failure> {
    let directory = directory.unwrap_or(Path::new(".")).to_owned();
    if directory.join("plugin.toml").exists() {
        return Ok(directory);
    }
    Err(Failure::NoPlugin { directory })
}

/// The directory that the host can load: what is source is built first, or was before.
pub(super) fn built(source: &Path, no_build: bool) -> Result<PathBuf, Failure> {
    if !plugin::is_source(source) {
        return Ok(source.to_owned());
    }
    if no_build {
        return Ok(plugin::place_of(source).unwrap_or_else(|| source.to_owned()));
    }
    build(source)
}

fn build(source: &Path) -> Result<PathBuf, Failure> {
    let request = plugin::Request {
        paths: vec![source.to_owned()],
        ..plugin::Request::default()
    };
    let mut notes = anstream::stderr();
    let built = tokio::task::block_in_place(|| plugin::build(&request, &mut notes))?;
    let first = built.plugins.into_iter().next();
    first
        .map(|plugin| plugin.directory)
        .ok_or_else(|| Failure::Internal(format!("nothing was built of {}", source.display())))
}
