//! Ctrl-C and its like: they end the run that is under way, so that what it has made is removed, and then the program.

use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, signal_name};

use crate::Result;

/// What a run waits for.
pub enum Event {
    /// A line of the worker of this role; `None` at its end.
    Said(usize, Option<String>),
    /// The program is to end.
    Stopped,
}

/// The signal that came, and who is to hear of it.
struct State {
    signal: Option<i32>,
    run: Option<Sender<Event>>,
}

static STATE: Mutex<State> = Mutex::new(State { signal: None, run: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on these signals end a run instead of the program.
pub fn on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let mut state = state();
            state.signal.get_or_insert(signal);
            if let Some(run) = &state.run {
                // Nobody listens between two runs; the next one is told.
                let _ = run.send(Event::Stopped);
            }
        }
    });
    Ok(())
}

/// A run begins, which hears of signals here; of those that have come, too.
pub fn tell(run: Sender<Event>) {
    let mut state = state();
    if state.signal.is_some() {
        let _ = run.send(Event::Stopped);
    }
    state.run = Some(run);
}

/// What to say of the signal that came, if one did.
pub fn reason() -> Option<String> {
    let signal = state().signal?;
    Some(format!("stopped by {}", signal_name(signal).unwrap_or("a signal")))
}

/// Ends the program by the signal that came, if one did, as whoever waits for it expects.
pub fn end() {
    if let Some(signal) = state().signal {
        // It fails only for signals that cannot be caught.
        let _ = emulate_default_handler(signal);
    }
}
