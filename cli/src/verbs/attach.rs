//! Attaching to a ring that may not be there yet, as a wait that a signal ends.

use std::time::{Duration, Instant};

use qadataswap::{QADataSwapError, Reader, ReaderOptions};

use crate::failure::Outcome;
use crate::verbs::signals::Stop;

/// How long one try waits before signals are looked at.
const SLICE_MS: u64 = 100;

/// Attaches to the ring `name`, which is waited for as long as `timeout_ms` says.
pub fn attach(
    options: ReaderOptions,
    name: &str,
    timeout_ms: u64,
    stop: &Stop,
) -> Outcome<Result<Reader, QADataSwapError>> {
    let (started, limit) = (Instant::now(), Duration::from_millis(timeout_ms));
    loop {
        stop.check()?;
        let left_ms = limit.saturating_sub(started.elapsed()).as_millis() as u64;
        let options = options.clone().attach_timeout_ms(left_ms.min(SLICE_MS));
        match options.attach(name) {
            // Those that a longer wait might have been good for.
            Err(
                QADataSwapError::NotFound { .. }
                | QADataSwapError::ReadTimeout
                | QADataSwapError::Evicted { .. },
            ) if left_ms > SLICE_MS => {}
            attached => return Ok(attached),
        }
    }
}
