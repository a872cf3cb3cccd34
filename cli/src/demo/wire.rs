//! How the demo's processes talk: lines over pipes. A child says what it did on its standard output;
//! its standard input carries the parent's orders and, by its end, the news that the parent is gone.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};

/// What a step of the demo gives back: errors are for people, who read them in the end.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Reports of one child come this often.
pub const TICK_NS: u64 = 250_000_000;
/// Ticks in a second.
pub const TICKS_PER_SECOND: u64 = 1_000_000_000 / TICK_NS;

/// First words of a child's lines.
pub const READY: &str = "ready";
pub const ATTACHED: &str = "attached";
pub const AT: &str = "at";
pub const DONE: &str = "done";
pub const ERROR: &str = "error";
/// First words of the parent's lines.
pub const GO: &str = "go";
pub const DRAIN: &str = "drain";

/// Says a line to the parent.
pub fn say(word: &str, rest: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{word} {rest}")?;
    out.flush()
}

/// The parent's lines. When there are no more, because the parent is gone or wants nothing else,
/// `at_end` is called and the channel ends.
pub fn orders(at_end: fn()) -> Receiver<String> {
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
        at_end();
    });
    orders
}

/// The time at which the run starts, once the parent has said so.
pub fn await_go(orders: &Receiver<String>) -> Fallible<u64> {
    let line = orders.recv().map_err(|_| "the demo was given up before it started")?;
    let start = line.strip_prefix(GO).and_then(|time| time.trim().parse().ok());
    start.ok_or_else(|| format!("not an order: {line:?}").into())
}

/// Runs a child's part; what goes wrong is said to the parent, who tells the user.
pub fn child(part: impl FnOnce() -> Fallible<()>) -> ExitCode {
    match part() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a parent there is nobody to tell.
            let _ = say(ERROR, error.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// A struct of numbers that travels as one line.
macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64,)* }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let numbers = [$(self.$field,)*].map(|number| number.to_string());
                f.write_str(&numbers.join(" "))
            }
        }

        impl $name {
            /// What [`Display`](fmt::Display) wrote.
            pub fn parse(line: &str) -> Option<Self> {
                let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
                Some(Self { $($field: numbers.next()??,)* })
            }
        }
    };
}

numbers! {
    /// What the writer has to work with.
    Ready {
        /// Slots of the ring.
        slots,
        /// Bytes that a slot takes.
        slot_bytes,
        /// Events of the file, 0 if they are generated.
        events,
        /// Rows of the file.
        rows,
    }
}

numbers! {
    /// What the writer has done so far.
    WriterReport {
        /// Ticks since the start.
        tick,
        /// Messages published.
        published,
        /// Their bytes.
        bytes,
        /// From the start of the run to now.
        elapsed_ns,
        /// How late after they were due events were published: median...
        late_p50_ns,
        /// ...99 %...
        late_p99_ns,
        /// ...and worst.
        late_max_ns,
    }
}

numbers! {
    /// What a reader has done so far.
    ReaderReport {
        /// Ticks since the start.
        tick,
        /// Messages consumed, as the library counts.
        consumed,
        /// Messages lost, as the library counts.
        lost,
        /// Messages published and not yet consumed.
        lag,
        /// Position of the next message.
        sequence,
        /// Events missing between those consumed, by their numbers.
        missing,
        /// Number of the event to come.
        next_event,
        /// Batches that were not what had been published, or came out of order.
        damaged,
        /// From the first batch to the last.
        span_ns,
        /// Latency, publish stamp to decoded batch: median...
        p50_ns,
        /// ...99 %...
        p99_ns,
        /// ...and 99.9 %.
        p999_ns,
    }
}
