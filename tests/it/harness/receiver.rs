//! A receiver of webhooks that says nothing: it takes the connection and keeps it open. What became of a request that
//! it got is known to nobody, which is just what a test of doubt needs.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Listens until the test is over; the thread ends with the process.
pub(crate) struct Receiver {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

/// A webhook's request is smaller.
const REQUEST_MAX: usize = 16 << 10;

impl Receiver {
    pub(crate) fn silent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut buffer = vec![0; REQUEST_MAX];
                let length = stream.read(&mut buffer).unwrap_or(0);
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                open.push(stream);
            }
        });
        Self { port, requests }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
