//! Whether a ring that is waited for has a writer at all: says so, once, when it has none, and when one has come.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use qadataswap::observe::{Observer, Phase};

use crate::text;

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(500);

/// What is known of the writer of a ring, and has been told on standard error.
pub struct WriterWatch<'a> {
    verb: &'static str,
    ring: &'a str,
    is_told_gone: bool,
    looked: Option<Instant>,
}

impl<'a> WriterWatch<'a> {
    /// For messages of this verb about that ring.
    pub fn new(verb: &'static str, ring: &'a str) -> Self {
        Self { verb, ring, is_told_gone: false, looked: None }
    }

    /// Nothing has come: has it a writer?
    pub fn nothing_came(&mut self) {
        if self.looked.is_none_or(|looked| looked.elapsed() >= EVERY) {
            self.looked = Some(Instant::now());
            self.look();
        }
    }

    /// A message has come: it may be of another writer.
    pub fn something_came(&mut self) {
        if self.is_told_gone {
            self.nothing_came();
        }
    }

    fn look(&mut self) {
        // What cannot be seen is no reason to say anything; reading goes on, and ends with an error if need be.
        let Ok(observer) = Observer::open(self.ring) else { return };
        let see = || {
            let seen = observer.look().ok()?;
            let is_open = seen.header?.phase == Phase::Open;
            Some((is_open, seen.writer))
        };
        let ring = text::tame(self.ring);
        match see() {
            Some((true, writer)) if writer.alive && self.is_told_gone => {
                self.say(&format!("ring '{ring}' has a writer again (pid {})", writer.process.pid));
                self.is_told_gone = false;
            }
            // (One that ended the ring between those two words has said so at a second look.)
            Some((true, writer))
                if !writer.alive
                    && !self.is_told_gone
                    && see().is_some_and(|(is_open, writer)| is_open && !writer.alive) =>
            {
                self.say(&format!(
                    "the writer of ring '{ring}' is gone (pid {}) and has not ended it; waiting for another to take \
                     it over",
                    writer.process.pid
                ));
                self.is_told_gone = true;
            }
            _ => {}
        }
    }

    fn say(&self, what: &str) {
        let mut err = io::stderr();
        // A line of progress may stand there.
        let clear = if err.is_terminal() { "\r\x1b[K" } else { "" };
        // That it cannot be said is no reason to stop.
        let _ = writeln!(err, "{clear}qads {}: {what}", self.verb);
    }
}
