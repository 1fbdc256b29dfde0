//! Somebody between the daemon and the lab who sends requests twice, and answers too; or who says for a while that there
//! are no points.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const NO_POINTS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\
    connection: close\r\n\r\n{\"points\":[]}";

/// Runs until the process ends.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    doubled: Arc<AtomicU64>,
    pointless: Arc<AtomicBool>,
}

impl Proxy {
    /// Every so many requests is sent twice, and every so many answers.
    pub(crate) fn start(to: u16, every: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let doubled = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&doubled);
        let pointless = Arc::new(AtomicBool::new(false));
        let hides = Arc::clone(&pointless);
        thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let (counted, hides) = (Arc::clone(&counted), Arc::clone(&hides));
                thread::spawn(move || {
                    // Who hangs up in the middle gets no answer, and needs none.
                    let _ = serve(client, to, (number as u64, every), &counted, &hides);
                });
            }
        });
        Self {
            port,
            doubled,
            pointless,
        }
    }

    /// From now on no replica has points, or all have theirs again.
    pub(crate) fn hide_points(&self, hide: bool) {
        self.pointless.store(hide, Ordering::Relaxed);
    }

    /// Requests and answers that came twice.
    pub(crate) fn doubled(&self) -> u64 {
        self.doubled.load(Ordering::Relaxed)
    }
}

/// One request; the connection ends with its answer, so that nothing depends on what a client keeps open.
fn serve(
    mut client: TcpStream,
    to: u16,
    (number, every): (u64, u64),
    doubled: &AtomicU64,
    hides: &AtomicBool,
) -> std::io::Result<()> {
    let Some(request) = request(&mut client)? else {
        return Ok(());
    };
    let asked = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if hides.load(Ordering::Relaxed) && asked.ends_with(b"/points") {
        return client.write_all(NO_POINTS);
    }
    let twice = number.is_multiple_of(every);
    let mut answer = ask(to, &request)?;
    if twice {
        doubled.fetch_add(1, Ordering::Relaxed);
        let second = ask(to, &request)?;
        // Either of the two is as good.
        if number.is_multiple_of(2 * every) {
            answer = second;
        }
    }
    client.write_all(&answer)?;
    if number % every == 1 {
        doubled.fetch_add(1, Ordering::Relaxed);
        client.write_all(&answer)?;
    }
    Ok(())
}

fn ask(to: u16, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut lab = TcpStream::connect(("127.0.0.1", to))?;
    lab.write_all(request)?;
    let mut answer = Vec::new();
    lab.read_to_end(&mut answer)?;
    Ok(answer)
}

/// A whole request, with the wish that the connection ends after it.
fn request(client: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend(&buffer[..read]);
        let Some(end) = find(&bytes, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
        let body = &bytes[end + 4..];
        let whole = match (field("content-length:"), field("transfer-encoding:")) {
            (Some(length), _) => body.len() >= length.parse().unwrap_or(0),
            (None, Some(_)) => body.ends_with(b"0\r\n\r\n"),
            (None, None) => true,
        };
        if whole {
            let line = find(&bytes, b"\r\n").unwrap_or(end);
            let mut request = bytes[..line].to_vec();
            request.extend(b"\r\nconnection: close");
            request.extend(&bytes[line..]);
            return Ok(Some(request));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
