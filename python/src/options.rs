//! Keyword options as the core's builders.

use std::time::Duration;

use pyo3::prelude::*;
use qadataswap::{OnOverrun, OnSlowReader, Start, WaitStrategy};

use crate::errors;

/// One of the words that an option takes.
fn word<T: Copy>(py: Python<'_>, option: &str, given: &str, words: &[(&str, T)]) -> PyResult<T> {
    let found = words.iter().find(|(word, _)| *word == given);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        errors::option(py, option, &format!("it is one of {}", words.join(", ")), given)
    })
}

pub fn start(py: Python<'_>, given: &str) -> PyResult<Start> {
    let words = [("oldest", Start::Oldest), ("newest", Start::Newest), ("next", Start::Next)];
    word(py, "start", given, &words)
}

pub fn on_overrun(py: Python<'_>, given: &str) -> PyResult<OnOverrun> {
    word(py, "on_overrun", given, &[("resume", OnOverrun::Resume), ("error", OnOverrun::Error)])
}

pub fn wait(py: Python<'_>, given: &str, spin_us: u64) -> PyResult<WaitStrategy> {
    let words = [
        ("spin_then_sleep", WaitStrategy::SpinThenSleep(Duration::from_micros(spin_us))),
        ("spin", WaitStrategy::Spin),
        ("yield", WaitStrategy::Yield),
        ("sleep", WaitStrategy::Sleep),
    ];
    word(py, "wait", given, &words)
}

/// `limit_ms`: `None` for ever.
pub fn on_slow_reader(
    py: Python<'_>,
    given: &str,
    limit_ms: Option<u64>,
) -> PyResult<OnSlowReader> {
    let limit_ms = limit_ms.unwrap_or(u64::MAX);
    let words = [
        ("wait", OnSlowReader::Wait { limit_ms }),
        ("refuse", OnSlowReader::Refuse),
        ("evict", OnSlowReader::Evict { grace_ms: limit_ms }),
    ];
    word(py, "on_slow_reader", given, &words)
}

/// A number of milliseconds, or `None` for no limit.
pub fn milliseconds(
    py: Python<'_>,
    option: &str,
    given: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<u64>> {
    number(py, option, "milliseconds, 0 or more, or None for no limit", given)
}

/// A file mode; the core tells which there are.
pub fn mode(
    py: Python<'_>,
    option: &str,
    given: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<u32>> {
    let rule = "a file mode, such as 0o600";
    let Some(mode) = number(py, option, rule, given)? else { return Ok(None) };
    let mode = u32::try_from(mode).map_err(|_| errors::option(py, option, rule, given));
    mode.map(Some)
}

/// A whole number that is not negative.
pub fn number(
    py: Python<'_>,
    option: &str,
    rule: &str,
    given: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<u64>> {
    let Some(given) = given else { return Ok(None) };
    match given.extract::<u64>() {
        Ok(number) => Ok(Some(number)),
        // Not a whole number at all.
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyTypeError>(py) => Err(error),
        Err(_) => Err(errors::option(py, option, rule, given)),
    }
}
