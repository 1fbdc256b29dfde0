//! The tutorials in `sdk/tutorials`, command by command as a reader would type them.
//!
//! A fenced block is a file (`toml file=NAME`), commands (`sh`; `sh fails=3` if they are meant to end so), or what the
//! commands before it promise to print (`text`): each of its lines is in the output, in that order. All commands of a
//! tutorial run in one shell, so that a directory, a variable or a process in the background lives on to the next.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::process::{binary, path, plugins};

/// A tutorial compiles the SDK once and its plugin a few times; on a machine that is busy with other tests that was seen
/// to take two minutes.
const PATIENCE: Duration = Duration::from_mins(10);

/// Separates the outputs of blocks in the stream of the one shell.
const MARK: &str = "----- block";

#[derive(Debug)]
struct Block {
    /// The words behind the fence.
    info: Vec<String>,
    text: String,
}

impl Block {
    fn says(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}=");
        self.info.iter().find_map(|word| word.strip_prefix(prefix.as_str()))
    }

    fn is(&self, language: &str) -> bool {
        self.info.first().is_some_and(|word| word == language)
    }
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(Block {
            info: info.split_whitespace().map(str::to_owned).collect(),
            text: text.join("\n") + "\n",
        });
    }
    blocks
}

/// One script: files and commands in their order.
fn script(blocks: &[Block]) -> String {
    let mut parts = vec!["set -u\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n".to_owned()];
    for (number, block) in blocks.iter().enumerate() {
        let text = &block.text;
        if let Some(file) = block.says("file") {
            parts.push(format!(
                "mkdir -p \"$(dirname {file})\"\ncat > {file} <<'END OF FILE'\n{text}END OF FILE\n"
            ));
        } else if block.is("sh") {
            parts.push(format!("echo '{MARK} {number}'\n"));
            // A command that fails ends the tutorial, unless it is meant to.
            parts.push(match block.says("fails") {
                None => format!("set -e\n{text}set +e\n"),
                Some(expected) => format!(
                    "{{\n{text}}}\nended=$?\nif [ $ended != {expected} ]; then echo \"ended with $ended\"; exit 1; fi\n"
                ),
            });
        }
    }
    parts.push("echo '----- end'\n".to_owned());
    parts.concat()
}

/// Runs a tutorial, and compares what it promises with what is printed.
fn follow(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sdk/tutorials")
        .join(name);
    let blocks = blocks(&fs::read_to_string(&file).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let output = run(&script(&blocks), directory.path());
    assert!(
        output.contains("----- end\n"),
        "{name} did not come to its end:\n{output}"
    );
    let mut printed = "";
    for (number, block) in blocks.iter().enumerate() {
        if block.is("sh") {
            let (_, behind) = output.split_once(&format!("{MARK} {number}\n")).unwrap();
            printed = behind.split("-----").next().unwrap();
        } else if block.is("text") {
            let mut rest = printed;
            for line in block.text.lines() {
                let place = rest.find(line.trim_end());
                let place = place.unwrap_or_else(|| panic!("{name} promises `{line}`, and printed:\n{printed}"));
                rest = &rest[place + line.trim_end().len()..];
            }
        }
    }
    assert!(
        blocks.iter().filter(|block| block.is("sh")).count() > 3,
        "{name} has commands"
    );
}

/// Both streams in one, as on a terminal.
fn run(script: &str, directory: &Path) -> String {
    let bin = binary();
    let target: PathBuf = bin.ancestors().nth(2).unwrap().join("tutorials");
    let search = format!("{}:{}", path(bin.parent().unwrap()), std::env::var("PATH").unwrap());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut child = Command::new("bash")
        .args(["-c", script])
        .current_dir(directory)
        .env("PATH", search)
        .env("NO_COLOR", "1")
        .env("LANDFALL_PLUGINS", plugins())
        // What is compiled once serves every tutorial, and the next run.
        .env("CARGO_TARGET_DIR", target.join("target"))
        .env("XDG_DATA_HOME", target.join("data"))
        .env_remove("LANDFALL_DATA")
        .env_remove("LANDFALL_SERVER")
        .env_remove("LANDFALL_TOKEN_FILE")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .process_group(0)
        .spawn()
        .unwrap();
    let reading = std::thread::spawn(move || {
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        output
    });
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            // Its whole group, background processes too; what it printed until then is shown.
            let group = format!("-{}", child.id());
            Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    reading.join().unwrap()
}

#[test]
fn c06_a_runbook_in_ten_minutes() {
    follow("runbook-in-ten-minutes.md");
}

#[test]
fn c07_an_adapter_in_an_afternoon() {
    follow("adapter-in-an-afternoon.md");
}
