//! What a runbook in Rust asks of the host, one thing for each value of `do`: as in `trouble.py` and `trouble.ts`.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use landfall_sdk::guests::{Program, Side};
use landfall_sdk::http::Request;
use landfall_sdk::signing::{Hash, hmac};
use landfall_sdk::transport::Connection;
use landfall_sdk::{Call, Context, Effect, Failure, Outcome, Plugin, Runbook, clock, config, export_runbook, log, pair, session, state};

struct Trouble;

impl Plugin for Trouble {
    const NAME: &'static str = "trouble-rust";
    const SUMMARY: &'static str = "In rust";
}

impl Runbook for Trouble {
    fn effect(_context: &Context) -> Effect {
        Effect::keyed("trouble")
    }

    fn run(call: &Call, context: &Context, _resume: Option<Vec<u8>>) -> Result<Outcome, Failure> {
        let outputs = match param(context, "do") {
            "talk" => talk(call, context)?,
            "binary" => binary()?,
            "sign" => vec![
                ("signed", hex(&hmac("key", Hash::Sha256, &["what do ya want for nothing?"])?)),
                ("derived", hex(&hmac("key", Hash::Sha1, &["a", "b"])?)),
            ],
            "whisper" => {
                let request = Request::post(&config::get("url").unwrap_or_default())?;
                let answer = request.header("authorization", "Bearer {{secret:key}}").body("psst").send()?;
                vec![("answer", String::from_utf8_lossy(&answer.bytes()?).into_owned())]
            }
            "execute" => execute(param(context, "item"))?,
            "keep" => keep()?,
            "login" => {
                let found = session::get_text("login").unwrap_or_else(|| "none".to_owned());
                session::set("login", "token", Some(Duration::from_secs(60)))?;
                vec![("found", found)]
            }
            "hog" => {
                let mut kept = Vec::new();
                loop {
                    kept.push(vec![1_u8; 1 << 20]);
                    log::trace!("{}", kept.len());
                }
            }
            "now" => vec![("now", clock::now_ms().to_string())],
            other => return Err(Failure::definite("unknown", format!("there is no `{other}`"))),
        };
        Ok(Outcome::Done(outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    }
}

type Outputs = Vec<(&'static str, String)>;

fn param<'c>(context: &'c Context, name: &str) -> &'c str {
    pair(&context.params, name).unwrap_or_default()
}

fn talk(call: &Call, context: &Context) -> Result<Outputs, Failure> {
    let began = clock::now_ms();
    let port = param(context, "port").parse().ok();
    let mut line = BufReader::new(Connection::open_with("manager", port, param(context, "tag"))?);
    let warm = line.get_ref().is_warm();
    let mut greeting = String::new();
    if !warm {
        greeting = read_line(&mut line)?;
        say(&mut line, "LOGIN\n")?;
        if read_line(&mut line)? != "ok" {
            return Err(Failure::in_doubt("hung-up", "the manager did not say ok"));
        }
    }
    say(&mut line, &format!("GET {}\n", call.key))?;
    let answer = read_line(&mut line)?;
    line.into_inner().park();
    Ok(vec![
        ("warm", warm.to_string()),
        ("greeting", greeting),
        ("answer", answer),
        ("took", (clock::now_ms() - began).to_string()),
    ])
}

fn say(line: &mut BufReader<Connection>, text: &str) -> Result<(), Failure> {
    let line = line.get_mut();
    line.write_all(text.as_bytes()).and_then(|()| line.flush()).map_err(lost)
}

fn read_line(line: &mut BufReader<Connection>) -> Result<String, Failure> {
    let mut text = String::new();
    line.read_line(&mut text).map_err(lost)?;
    Ok(text.trim_end().to_owned())
}

fn lost(error: io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::BrokenPipe => "closed",
        _ => "broken-connection",
    };
    Failure::in_doubt(code, error.to_string()).retryable()
}

fn binary() -> Result<Outputs, Failure> {
    let mut line = Connection::open("manager")?;
    line.write_all(&b"\x00\xff".repeat(5_000)).map_err(lost)?;
    line.flush().map_err(lost)?;
    let mut answer = Vec::new();
    line.read_to_end(&mut answer).map_err(lost)?;
    Ok(vec![("answer", hex(&answer))])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn execute(item: &str) -> Result<Outputs, Failure> {
    let program = Program::new("pg_ctl").argument("promote").environment("PGDATA", "/data").input("yes");
    let exit = program.run(item, Side::Target)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(vec![
        ("code", exit.code.to_string()),
        ("stdout", text(&exit.stdout)),
        ("stderr", text(&exit.stderr)),
        ("truncated", exit.truncated.to_string()),
    ])
}

fn keep() -> Result<Outputs, Failure> {
    let cursor: u64 = state::get_text("cursor")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    state::set("cursor", (cursor + 1).to_string())?;
    state::delete("old")?;
    Ok(vec![("cursor", cursor.to_string())])
}

export_runbook!(Trouble);
