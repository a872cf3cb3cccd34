//! Ctrl-C and its like as a flag that loops look at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use crate::failure::{Failure, Outcome};

/// How long a sleep is that a signal may have come in.
const SLICE: Duration = Duration::from_millis(50);
/// A signal that comes so soon after the first is the same: `timeout` sends it to a process and to its group.
const SAME: Duration = Duration::from_millis(500);

/// Whether a signal has come, and which.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicI32>);

impl Stop {
    /// From now on SIGINT, SIGTERM and SIGHUP are noted here. A second one ends the process at once, in case it
    /// hangs.
    pub fn on_signals() -> io::Result<Self> {
        // A file as large as it may be (ulimit -f) is to be an error of the write, as a full disk is, and not the end.
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let noted = Arc::new(AtomicI32::new(0));
        let stop = Self(noted.clone());
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        std::thread::Builder::new().spawn(move || {
            let mut first = None;
            for signal in signals.forever() {
                if first.get_or_insert_with(Instant::now).elapsed() >= SAME {
                    low_level::exit(128 + signal);
                }
                // Relaxed: a flag and nothing else. The first is the one to be told.
                let _ = noted.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
            }
        })?;
        Ok(stop)
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        // Relaxed: a flag and nothing else.
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// A failure if a signal has come.
    pub fn check(&self) -> Outcome {
        self.signal().map_or(Ok(()), |signal| Err(Failure::Stopped(signal)))
    }

    /// Sleeps until `due`, in slices; a failure if a signal came meanwhile.
    pub fn sleep_until(&self, due: Instant) -> Outcome {
        loop {
            self.check()?;
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}
