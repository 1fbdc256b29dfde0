//! The `landfall` command as a person or a script runs it: arguments in, exit code and two streams out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::de::DeserializeOwned;

use super::eventually;
use super::process::binary;

/// A command that was started and may still run.
pub(crate) struct Running {
    child: Child,
    words: String,
    files: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    words: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Starts the command in a directory, against the daemon whose data lies there.
pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Running {
    let files = tempfile::tempdir_in(directory).expect("a place for the output");
    let stream = |name: &str| File::create(stream_path(&files, name)).expect("the output can be written");
    let child = Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .env("LANDFALL_DATA", directory.join("data"))
        .env("NO_COLOR", "1")
        .env_remove("LANDFALL_SERVER")
        .env_remove("LANDFALL_TOKEN_FILE")
        .stdin(Stdio::null())
        .stdout(stream("out"))
        .stderr(stream("err"))
        .spawn()
        .expect("the binary starts");
    Running {
        child,
        words: format!("landfall {}", arguments.join(" ")),
        files,
    }
}

fn stream_path(files: &tempfile::TempDir, name: &str) -> PathBuf {
    files.path().join(name)
}

impl Running {
    fn read(&self, name: &str) -> String {
        fs::read_to_string(stream_path(&self.files, name)).unwrap_or_default()
    }

    /// What it has said so far.
    pub(crate) fn err(&self) -> String {
        self.read("err")
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let code = eventually(&format!("`{}` ends", self.words), || {
            self.child.try_wait().expect("a process can be asked for")
        });
        Ended {
            words: self.words.clone(),
            code: code.code().expect("no signal ended it"),
            out: self.read("out"),
            err: self.read("err"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Mostly it has ended long since.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// It ended as it should.
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "{self}");
        self
    }

    /// What it printed with `-o json`.
    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in the output of {self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { words, code, out, err } = self;
        write!(f, "`{words}` ended with {code}\nstdout:\n{out}\nstderr:\n{err}")
    }
}
