//! Just as much of HTTP as a scrape needs: a page, whoever asks, and whatever they send.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// Bytes and header lines of a request at most.
const MOST_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 64;
/// Clients that are listened to at a time; one more, and the one is given up that has been silent for longest.
const MOST_AT_A_TIME: usize = 32;
/// Threads at most; those of clients that were given up end a little later than these.
const MOST_THREADS: usize = 4 * MOST_AT_A_TIME;
/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after it could not be listened (no descriptors).
const PAUSE: Duration = Duration::from_millis(100);

/// What is served: the text of the page, made anew for each request.
pub type Page = fn() -> Outcome<Vec<u8>>;

/// An answer: status line, type and text.
struct Answer(&'static str, &'static str, Vec<u8>);

const PLAIN: &str = "text/plain; charset=utf-8";

/// A client that is being talked to.
struct Client {
    stream: TcpStream,
    has_asked: bool,
}

/// Clients by number, the oldest first.
#[derive(Default)]
struct Clients(Mutex<BTreeMap<u64, Client>>);

impl Clients {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for another: hangs up on the oldest that has not said yet what it wants, or else on the oldest.
    fn make_room(&self) {
        let mut all = self.all();
        if all.len() < MOST_AT_A_TIME {
            return;
        }
        let silent = all.iter().find(|(_, client)| !client.has_asked).map(|(number, _)| *number);
        let given_up = silent.and_then(|number| all.remove(&number));
        if let Some(client) = given_up.or_else(|| all.pop_first().map(|(_, client)| client)) {
            // Its thread reads the end, or fails to write.
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }
}

/// Answers requests, each in a thread of its own: a client that does not read keeps nobody else waiting.
pub fn serve(listener: &TcpListener, page: Page) {
    let clients = Arc::new(Clients::default());
    for number in 0.. {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        if Arc::strong_count(&clients) > MOST_THREADS {
            continue;
        }
        clients.make_room();
        let Ok(again) = stream.try_clone() else { continue };
        clients.all().insert(number, Client { stream: again, has_asked: false });
        let shared = clients.clone();
        let answered = std::thread::Builder::new().spawn(move || {
            let asked = || {
                shared.all().entry(number).and_modify(|client| client.has_asked = true);
            };
            // Who asked has gone, or was given up; others will ask.
            let _ = converse(stream, page, asked);
            shared.all().remove(&number);
        });
        if answered.is_err() {
            // No thread to be had: it is turned away.
            clients.all().remove(&number);
        }
    }
}

fn converse(mut stream: TcpStream, page: Page, has_asked: impl FnOnce()) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    let mut asked = Vec::new();
    let (Answer(status, kind, text), with_text) = loop {
        if let Some(request) = Request::parse(&asked) {
            has_asked();
            break request.answer(page);
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

/// What a client wants.
enum Request {
    Page { with_text: bool },
    Unknown { with_text: bool },
    OtherMethod,
    Nonsense,
}

impl Request {
    /// What was asked so far; `None` if more is to come.
    fn parse(asked: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(asked) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if asked.len() < MOST_BYTES => return None,
            Ok(httparse::Status::Partial) | Err(_) => return Some(Self::Nonsense),
        }
        let method = request.method.unwrap_or_default();
        let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
        let with_text = method != "HEAD";
        Some(if !matches!(path, "/" | "/metrics") {
            Self::Unknown { with_text }
        } else if !matches!(method, "GET" | "HEAD") {
            Self::OtherMethod
        } else {
            Self::Page { with_text }
        })
    }

    /// The answer, and whether its text is wanted.
    fn answer(self, page: Page) -> (Answer, bool) {
        let plain = |status, text: &str| Answer(status, PLAIN, format!("{text}\n").into_bytes());
        match self {
            Self::Nonsense => (plain("400 Bad Request", "not a request for /metrics"), true),
            Self::Unknown { with_text } => (plain("404 Not Found", "see /metrics"), with_text),
            Self::OtherMethod => (plain("405 Method Not Allowed", "GET it"), true),
            Self::Page { with_text } => {
                let answer = match page() {
                    Ok(text) => Answer("200 OK", prometheus::TEXT_FORMAT, text),
                    Err(Failure::Failed(text)) => plain("500 Internal Server Error", &text),
                    Err(_) => plain("500 Internal Server Error", "failed"),
                };
                (answer, with_text)
            }
        }
    }
}
