//! A handle of the core that Python threads share, and waiting in slices.
//!
//! Calls release the interpreter, then take the handle's lock. A call that waits does so in slices and gives
//! the lock back between them: other threads get their turn, and Ctrl-C is noticed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::prelude::*;
use qadataswap::{OnSlowReader, QADataSwapError};

use crate::errors::Failure;

/// Longest wait, in milliseconds, before signals are looked for.
pub const SLICE_MS: u64 = 50;

/// A reader or writer, or the place where one was.
pub struct Handle<T> {
    what: &'static str,
    inner: Mutex<Option<T>>,
    /// A forked child must not even wait for the lock, which a thread that it does not have may hold.
    made_by: u32,
}

impl<T: Send> Handle<T> {
    pub fn new(what: &'static str, inner: T) -> Self {
        Self { what, inner: Mutex::new(Some(inner)), made_by: std::process::id() }
    }

    /// Refuses in a forked child.
    pub fn check_fork(&self) -> Result<(), Failure> {
        if self.made_by == std::process::id() {
            Ok(())
        } else {
            Err(QADataSwapError::Forked.into())
        }
    }

    /// Has `act` work on the handle. Not to be called with the interpreter attached: whoever has the lock may
    /// be waiting for that.
    pub fn locked<R>(&self, act: impl FnOnce(&mut T) -> Result<R, Failure>) -> Result<R, Failure> {
        self.check_fork()?;
        match &mut *self.inner.lock() {
            Some(inner) => act(inner),
            None => Err(Failure::HandleClosed(self.what)),
        }
    }

    /// The same, releasing the interpreter first.
    pub fn with<R: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut T) -> Result<R, Failure> + Send,
    ) -> PyResult<R> {
        py.detach(|| self.locked(act)).map_err(|failure| failure.raise(py))
    }

    /// Takes the handle away and has `act` dispose of it. Does nothing if that has been done before.
    pub fn close(
        &self,
        py: Python<'_>,
        act: impl FnOnce(T) -> Result<(), QADataSwapError> + Send,
    ) -> PyResult<()> {
        py.detach(|| {
            self.check_fork()?;
            // Not disposed of under the lock: that may take a while (unmapping).
            let taken = self.inner.lock().take();
            taken.map_or(Ok(()), act).map_err(Failure::from)
        })
        .map_err(|failure| failure.raise(py))
    }

    /// Whether it has not been closed.
    pub fn is_open(&self, py: Python<'_>) -> bool {
        py.detach(|| self.check_fork().is_ok() && self.inner.lock().is_some())
    }
}

/// How long a call may still take.
pub struct TimeLimit {
    /// None: for ever.
    end: Option<Instant>,
}

impl TimeLimit {
    /// From now on; `None` for ever.
    pub fn new(timeout_ms: Option<u64>) -> Self {
        let end = timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        Self { end }
    }

    /// What is left, in milliseconds but at most `longest`; 0 only if the time is up.
    pub fn slice_ms(&self, longest: u64) -> u64 {
        let Some(end) = self.end else { return longest };
        let left = end.saturating_duration_since(Instant::now());
        longest.min(left.as_micros().div_ceil(1000) as u64)
    }
}

/// One write, or the creation of a ring, that may wait for lossless readers.
pub struct Patience {
    policy: OnSlowReader,
    limit: TimeLimit,
}

impl Patience {
    pub fn new(policy: OnSlowReader) -> Self {
        let limit_ms = match policy {
            OnSlowReader::Refuse => Some(0),
            OnSlowReader::Wait { limit_ms: u64::MAX }
            | OnSlowReader::Evict { grace_ms: u64::MAX } => None,
            OnSlowReader::Wait { limit_ms: ms } | OnSlowReader::Evict { grace_ms: ms } => Some(ms),
        };
        Self { policy, limit: TimeLimit::new(limit_ms) }
    }

    /// What the core shall do in the next try, and whether that is the last one.
    pub fn next(&self) -> (OnSlowReader, bool) {
        let slice = self.limit.slice_ms(SLICE_MS);
        if slice == SLICE_MS {
            return (OnSlowReader::Wait { limit_ms: SLICE_MS }, false);
        }
        let last = match self.policy {
            OnSlowReader::Evict { .. } => OnSlowReader::Evict { grace_ms: slice },
            _ if slice > 0 => OnSlowReader::Wait { limit_ms: slice },
            _ => OnSlowReader::Refuse,
        };
        (last, true)
    }
}
