//! What a recording says while it runs and when it ends, on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use qadataswap::ReaderStats;

use super::output::Output;
use crate::text;

/// How often a line is shown on a terminal.
const EVERY: Duration = Duration::from_millis(500);

/// Counts of a recording.
pub struct Progress {
    ring: String,
    quiet: bool,
    on_terminal: bool,
    started: Instant,
    shown: Instant,
    shown_messages: u64,
    pub messages: u64,
    pub rows: u64,
    pub unreadable: u64,
    pub evicted: u64,
}

impl Progress {
    pub fn new(ring: &str, quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            ring: text::tame(ring),
            quiet,
            on_terminal: io::stderr().is_terminal(),
            started: now,
            shown: now,
            shown_messages: 0,
            messages: 0,
            rows: 0,
            unreadable: 0,
            evicted: 0,
        }
    }

    /// Shows a line now and then, where there is a terminal.
    pub fn tick(&mut self, stats: &ReaderStats, output: &Output) {
        if self.quiet || !self.on_terminal || self.shown.elapsed() < EVERY {
            return;
        }
        let seconds = self.shown.elapsed().as_secs_f64();
        let rate = (self.messages - self.shown_messages) as f64 / seconds;
        (self.shown, self.shown_messages) = (Instant::now(), self.messages);
        // That it cannot be shown is no reason to stop recording.
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{}: {}, {}, {}, lag {}, lost {}",
            self.ring,
            text::count(self.messages, "message"),
            text::bytes(output.bytes() as f64),
            text::rate(rate),
            text::grouped(stats.lag),
            text::grouped(self.lost(stats)),
        );
    }

    /// Says how it came out.
    pub fn summary(&self, stats: &ReaderStats, output: &Output) {
        if self.quiet {
            return;
        }
        if self.on_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let files: Vec<String> =
            output.files().iter().map(|file| file.display().to_string()).collect();
        let files = match files.as_slice() {
            [] => "nothing to write".to_owned(),
            [file] => file.clone(),
            [first, .., last] => format!("{} files, {first} to {last}", files.len()),
        };
        let _ = writeln!(
            io::stderr(),
            "{}: {}, {}, {}, {} on average, {} lost; {files}",
            self.ring,
            text::count(self.messages, "message"),
            text::count(self.rows, "row"),
            text::bytes(output.bytes() as f64),
            text::rate(self.messages as f64 / seconds),
            text::grouped(self.lost(stats)),
        );
    }

    fn lost(&self, stats: &ReaderStats) -> u64 {
        stats.lost.max(self.evicted)
    }
}
