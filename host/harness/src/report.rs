//! What came of it, as data first: the words for people are made from the same.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

/// All cases of one plugin.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What was tested, exactly.
    pub digest: String,
    /// How many passed.
    pub passed: usize,
    /// How many did not.
    pub failed: usize,
    /// One by one.
    pub cases: Vec<CaseReport>,
}

/// One case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    /// The file's name without its ending.
    pub name: String,
    /// The file, if it came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Nothing was other than expected.
    pub passed: bool,
    /// Real time, not the case's.
    pub milliseconds: u64,
    /// What was not as expected.
    pub problems: Vec<String>,
    /// What was called and what happened.
    pub calls: Vec<Played>,
}

/// One call, with the polls that finish it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Played {
    /// The function.
    pub function: String,
    /// `done`, `again`, `skip`, `failure`, `fault`.
    pub outcome: String,
    /// The answer, named as in the contract.
    pub answer: Value,
    /// How often it was called.
    pub times: usize,
    /// What was asked of the network.
    pub requests: Vec<Asked>,
    /// What happened on connections, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transport: Vec<String>,
    /// Connections that were opened or tried.
    #[serde(skip)]
    pub connections: usize,
    /// Programs that were run inside machines, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// What the plugin keeps afterwards.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub state: BTreeMap<String, String>,
    /// What was logged: level and text.
    pub log: Vec<String>,
    /// What was refused.
    pub denied: Vec<String>,
}

/// One request.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Where to.
    pub url: String,
    /// The guest's own headers.
    pub headers: BTreeMap<String, String>,
    /// The beginning of its body.
    pub body: String,
    /// What it got: a status, or what went wrong.
    pub answer: String,
}

impl Report {
    /// From its cases.
    pub fn of(plugin: &landfall_runtime::Plugin, cases: Vec<CaseReport>) -> Self {
        let identity = plugin.identity();
        let passed = cases.iter().filter(|case| case.passed).count();
        Self {
            plugin: identity.name.clone(),
            version: identity.version.to_string(),
            digest: identity.digest.clone(),
            passed,
            failed: cases.len() - passed,
            cases,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            case.fmt(out)?;
        }
        let Self {
            plugin,
            version,
            passed,
            failed,
            ..
        } = self;
        writeln!(out, "{plugin} {version}: {passed} passed, {failed} failed")
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok" } else { "FAILED" };
        writeln!(out, "{verdict:<6} {} ({} ms)", self.name, self.milliseconds)?;
        if self.passed {
            return Ok(());
        }
        if let Some(about) = &self.about {
            writeln!(out, "    {about}")?;
        }
        for problem in &self.problems {
            writeln!(out, "    - {}", problem.replace('\n', "\n      "))?;
        }
        for (number, call) in self.calls.iter().enumerate() {
            writeln!(out, "    call {}: {call}", number + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Played {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            function,
            outcome,
            answer,
            times,
            ..
        } = self;
        write!(out, "{function} -> {outcome}")?;
        if !answer.is_null() {
            write!(out, " {answer}")?;
        }
        if *times > 1 {
            write!(out, " after {times} calls")?;
        }
        for asked in &self.requests {
            write!(out, "\n        {} {} -> {}", asked.method, asked.url, asked.answer)?;
        }
        for said in self.transport.iter().chain(&self.programs) {
            write!(out, "\n        {said}")?;
        }
        for (key, value) in &self.state {
            write!(out, "\n        state {key} = {value}")?;
        }
        for line in &self.log {
            write!(out, "\n        log {line}")?;
        }
        for denial in &self.denied {
            write!(out, "\n        refused: {denial}")?;
        }
        Ok(())
    }
}
