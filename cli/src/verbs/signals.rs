//! Ctrl-C and its like as a flag that loops look at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::{Failure, Outcome};

/// How long a sleep is that a signal may have come in.
const SLICE: Duration = Duration::from_millis(50);

/// Whether a signal has come, and which.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// From now on SIGINT, SIGTERM and SIGHUP are noted here. A second one ends the process at once, in case it
    /// hangs.
    pub fn on_signals() -> io::Result<Self> {
        let noted = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let again = Arc::new(AtomicBool::new(false));
            // In this order: the first signal finds the flag still down.
            flag::register_conditional_shutdown(signal, 128 + signal, again.clone())?;
            flag::register(signal, again)?;
            flag::register_usize(signal, noted.clone(), signal as usize)?;
        }
        Ok(Self(noted))
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        // Relaxed: a flag and nothing else.
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
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
