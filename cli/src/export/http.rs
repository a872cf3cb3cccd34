//! Just as much of HTTP as a scrape needs: a page, whoever asks, and whatever they send.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// Bytes and header lines of a request at most.
const MOST_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 64;
/// Requests that are answered at a time; more are turned away.
const MOST_AT_A_TIME: usize = 32;
/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after it could not be listened (no descriptors).
const PAUSE: Duration = Duration::from_millis(100);

/// What is served: the text of the page, made anew for each request.
pub type Page = fn() -> Outcome<Vec<u8>>;

/// An answer: status line, type and text.
struct Answer(&'static str, &'static str, Vec<u8>);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers requests, each in a thread of its own: a client that does not read keeps nobody else waiting.
pub fn serve(listener: &TcpListener, page: Page) {
    let counted = Arc::new(());
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let held = counted.clone();
        if Arc::strong_count(&counted) > MOST_AT_A_TIME + 1 {
            continue;
        }
        let answered = std::thread::Builder::new().spawn(move || {
            // Who asked has gone; others will ask.
            let _ = converse(stream, page);
            drop(held);
        });
        // No thread to be had: it is turned away.
        drop(answered);
    }
}

fn converse(mut stream: TcpStream, page: Page) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    let mut asked = Vec::new();
    let (Answer(status, kind, text), with_text) = loop {
        if let Some(answer) = answer(&asked, page) {
            break answer;
        }
        let mut more = [0; 2048];
        let count = stream.read(&mut more)?;
        if count == 0 || Instant::now() > until {
            return Ok(());
        }
        asked.extend_from_slice(&more[..count]);
    };
    let length = text.len();
    let mut sent = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    if with_text {
        sent.extend(text);
    }
    stream.write_all(&sent)?;
    // What it has sent besides is taken, for a while: closed with that unread, it might not get the answer.
    stream.shutdown(Shutdown::Write)?;
    let mut rest = [0; 2048];
    while Instant::now() < until && stream.read(&mut rest)? > 0 {}
    Ok(())
}

/// The answer to what was asked so far, and whether it has a text; `None` if more is to come.
fn answer(asked: &[u8], page: Page) -> Option<(Answer, bool)> {
    let plain = |status, text: &str| Answer(status, PLAIN, format!("{text}\n").into_bytes());
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(asked) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if asked.len() < MOST_BYTES => return None,
        Ok(httparse::Status::Partial) | Err(_) => {
            return Some((plain("400 Bad Request", "not a request for /metrics"), true));
        }
    }
    let method = request.method.unwrap_or_default();
    let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
    let answer = if !matches!(path, "/" | "/metrics") {
        plain("404 Not Found", "see /metrics")
    } else if !matches!(method, "GET" | "HEAD") {
        plain("405 Method Not Allowed", "GET it")
    } else {
        match page() {
            Ok(text) => Answer("200 OK", prometheus::TEXT_FORMAT, text),
            Err(Failure::Failed(text)) => plain("500 Internal Server Error", &text),
            Err(_) => plain("500 Internal Server Error", "failed"),
        }
    };
    Some((answer, method != "HEAD"))
}
