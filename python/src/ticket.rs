//! [`Ticket`]: one asynchronous read, which can be cancelled without losing a message.
//!
//! A worker thread waits for the message; the task that asked for it may be cancelled at any time. Whoever comes
//! first to the ticket's state decides: a read that is cancelled before the message is taken takes none, and a
//! message that was taken before that is kept for the reader's next read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::Failure;
use crate::handle::TimeLimit;
use crate::reader::{Form, Shared, Taken};

/// Longest wait, in milliseconds, before a worker looks whether it is still wanted.
const SLICE_MS: u64 = 10;

/// The interpreter is going down, and would wait for workers that wait for messages.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Ends all asynchronous reads that wait, now and from now on. For the end of the interpreter.
#[pyfunction(name = "_cancel_all")]
pub fn cancel_all() {
    // Relaxed: a flag on its own.
    STOPPING.store(true, Ordering::Relaxed);
}

/// One asynchronous read.
#[pyclass(frozen, module = "qadataswap._native")]
pub struct Ticket {
    shared: Arc<Shared>,
    form: Form,
    limit: TimeLimit,
    state: Mutex<State>,
}

type Outcome = Result<Option<Taken>, Failure>;

enum State {
    Waiting,
    /// The message is being taken.
    Taking,
    /// Nothing was taken, and nothing will be.
    Cancelled,
    /// Cancelled while the message is being taken: it is to be kept.
    Abandoned,
    Done(Outcome),
}

impl Ticket {
    pub fn new(shared: Arc<Shared>, form: Form, timeout_ms: Option<u64>) -> Self {
        let limit = TimeLimit::new(timeout_ms);
        Self { shared, form, limit, state: Mutex::new(State::Waiting) }
    }

    fn is_wanted(&self) -> bool {
        if STOPPING.load(Ordering::Relaxed) {
            self.give_up();
        }
        matches!(*self.state.lock(), State::Waiting)
    }

    fn give_up(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Waiting) {
            *state = State::Cancelled;
        }
    }

    /// From waiting to taking, if the read has not been cancelled.
    fn begin_taking(&self) -> bool {
        let mut state = self.state.lock();
        let wanted = matches!(*state, State::Waiting);
        if wanted {
            *state = State::Taking;
        }
        wanted
    }

    fn finish(&self, outcome: Outcome) {
        let mut state = self.state.lock();
        match *state {
            State::Abandoned => keep(&self.shared, outcome),
            _ => *state = State::Done(outcome),
        }
    }

    /// Nothing was there after all.
    fn wait_again(&self) {
        let mut state = self.state.lock();
        *state = match *state {
            State::Taking => State::Waiting,
            _ => State::Cancelled,
        };
    }

    /// One slice of waiting; true when the read is over.
    fn step(&self) -> bool {
        let slice = self.limit.slice_ms(SLICE_MS);
        let step = self.shared.handle.locked(|reader| {
            if !self.is_wanted() {
                return Ok(true);
            }
            if self.form.needs_lease() {
                reader.check_can_lease()?;
            }
            if (slice > 0 && !reader.wait(slice)?) || !self.begin_taking() {
                return Ok(!self.is_wanted());
            }
            // Under the reader's lock, so that no later read comes before what is kept.
            match self.form.take(reader) {
                Ok(None) if slice > 0 => {
                    self.wait_again();
                    Ok(false)
                }
                outcome => {
                    self.finish(outcome.map_err(Failure::from));
                    Ok(true)
                }
            }
        });
        step.unwrap_or_else(|failure| {
            if self.begin_taking() {
                self.finish(Err(failure));
            }
            true
        })
    }
}

/// Keeps a message, or an error about one, that nobody else will be told of.
fn keep(shared: &Shared, outcome: Outcome) {
    match outcome {
        Ok(Some(taken)) => shared.keep(Ok(taken)),
        Err(Failure::Ring(error)) => shared.keep(Err(error)),
        Ok(None) | Err(_) => {}
    }
}

#[pymethods]
impl Ticket {
    /// Waits for the message and takes it. To be called once, by a worker thread.
    fn run(&self, py: Python<'_>) {
        py.detach(|| {
            if self.begin_taking() {
                match self.shared.kept(|taken| self.form.fits(taken)) {
                    Ok(None) => self.wait_again(),
                    outcome => return self.finish(outcome),
                }
            }
            while !self.step() {}
        });
    }

    /// Cancels the read. A message that has been taken already is kept for the reader's next read.
    fn cancel(&self) {
        let mut state = self.state.lock();
        let next = match &*state {
            State::Waiting => State::Cancelled,
            State::Taking => State::Abandoned,
            State::Done(_) => State::Cancelled,
            State::Cancelled | State::Abandoned => return,
        };
        if let State::Done(outcome) = std::mem::replace(&mut *state, next) {
            keep(&self.shared, outcome);
        }
    }

    /// What the read gave, after `run` has returned.
    fn result(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match std::mem::replace(&mut *self.state.lock(), State::Cancelled) {
            State::Done(Ok(taken)) => taken.map(|taken| taken.into_python(py)).transpose(),
            State::Done(Err(failure)) => Err(failure.raise(py)),
            _ => Err(PyRuntimeError::new_err("the read was cancelled: the interpreter is ending")),
        }
    }
}
