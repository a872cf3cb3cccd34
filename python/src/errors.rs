//! The core's errors as Python exceptions, of the classes in `qadataswap._errors`.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use qadataswap::{HoldsReason, QADataSwapError};

/// Why a call on a handle failed.
pub enum Failure {
    /// What the core says.
    Ring(QADataSwapError),
    /// The handle has been closed by its own process; says which kind of handle it was.
    HandleClosed(&'static str),
    /// A message that an asynchronous read took before it was cancelled is of another kind than is asked for.
    Pending(&'static str),
}

impl From<QADataSwapError> for Failure {
    fn from(error: QADataSwapError) -> Self {
        Self::Ring(error)
    }
}

impl Failure {
    /// The exception to raise.
    pub fn raise(&self, py: Python<'_>) -> PyErr {
        match self {
            Self::Ring(error) => raise(py, error),
            Self::HandleClosed(what) => {
                let text = format!("this {what} has been closed; create a new one");
                exception(py, "HandleClosedError", &text, |_| Ok(()))
            }
            Self::Pending(read) => {
                let text = format!(
                    "a message that a cancelled asynchronous read had already taken is kept for this \
                     reader; have it with {read} first"
                );
                exception(py, "PendingMessageError", &text, |_| Ok(()))
            }
        }
    }
}

/// The exception for an error of the core, with the error's details as attributes.
pub fn raise(py: Python<'_>, error: &QADataSwapError) -> PyErr {
    use QADataSwapError::*;
    let text = error.to_string();
    let plain = |class| exception(py, class, &text, |_| Ok(()));
    match error {
        InvalidName => plain("InvalidNameError"),
        MemoryMapFailed => plain("MemoryMapFailedError"),
        WriteError => plain("WriteError"),
        ReadTimeout => plain("ReadTimeoutError"),
        ArrowError(_) => plain("ArrowError"),
        InvalidOption { option, value, rule: _ } => {
            exception(py, "InvalidOptionError", &text, |details| {
                details.set_item("option", option)?;
                details.set_item("value", value)
            })
        }
        NotFound { name } => {
            exception(py, "NotFoundError", &text, |details| details.set_item("name", name))
        }
        PermissionDenied { name, call } => {
            exception(py, "PermissionDeniedError", &text, |details| {
                details.set_item("name", name)?;
                details.set_item("call", call)
            })
        }
        NoSpace { name, needed_bytes } => exception(py, "NoSpaceError", &text, |details| {
            details.set_item("name", name)?;
            details.set_item("needed_bytes", needed_bytes)
        }),
        SystemCall { name, call, errno } => exception(py, "SystemCallError", &text, |details| {
            details.set_item("name", name)?;
            details.set_item("call", call)?;
            details.set_item("errno", errno)
        }),
        WriterAlive { name, pid } => exception(py, "WriterAliveError", &text, |details| {
            details.set_item("name", name)?;
            details.set_item("pid", pid)
        }),
        VersionMismatch { name, found, expected } => {
            exception(py, "VersionMismatchError", &text, |details| {
                details.set_item("name", name)?;
                details.set_item("found", found)?;
                details.set_item("expected", expected)
            })
        }
        Damaged { name, field, found, expected } => {
            exception(py, "DamagedError", &text, |details| {
                details.set_item("name", name)?;
                details.set_item("field", field)?;
                details.set_item("found", found)?;
                details.set_item("expected", expected)
            })
        }
        MessageTooLarge { needed_bytes, available_bytes } => {
            sizes(py, "MessageTooLargeError", &text, *needed_bytes, *available_bytes)
        }
        BufferTooSmall { needed_bytes, available_bytes } => {
            sizes(py, "BufferTooSmallError", &text, *needed_bytes, *available_bytes)
        }
        CorruptMessage { position, field, found } => {
            exception(py, "CorruptMessageError", &text, |details| {
                details.set_item("position", position)?;
                details.set_item("field", field)?;
                details.set_item("found", found)
            })
        }
        Overrun { lost } => {
            exception(py, "OverrunError", &text, |details| details.set_item("lost", lost))
        }
        WouldBlock { name, pid, behind } => exception(py, "WouldBlockError", &text, |details| {
            details.set_item("name", name)?;
            details.set_item("pid", pid)?;
            details.set_item("behind", behind)
        }),
        AllSlotsLeased { name, pids } => exception(py, "AllSlotsLeasedError", &text, |details| {
            details.set_item("name", name)?;
            details.set_item("pids", pids)
        }),
        Evicted { lost } => {
            // The core names its own method; the way out has the same name here.
            let text = text.replace("Reader::rejoin", "Reader.rejoin");
            exception(py, "EvictedError", &text, |details| details.set_item("lost", lost))
        }
        HoldsUnavailable { name, reason } => {
            exception(py, "HoldsUnavailableError", &text, |details| {
                details.set_item("name", name)?;
                details.set_item("reason", reason_word(reason))
            })
        }
        TooManyLeases { limit } => {
            exception(py, "TooManyLeasesError", &text, |details| details.set_item("limit", limit))
        }
        NotAligned => exception(
            py,
            "NotAlignedError",
            "the message has buffers that are not aligned for reading in place (Arrow writers align to 8 \
             bytes or more, some types need 16), or a dictionary in parts; nothing was consumed, \
             zero_copy=False gives a copy",
            |_| Ok(()),
        ),
        Closed => plain("ClosedError"),
        Forked => plain("ForkedError"),
        // SizeMismatch and NotOneBatch belong to reads that are not offered here.
        _ => plain("QADataSwapError"),
    }
}

fn sizes(py: Python<'_>, class: &str, text: &str, needed: usize, available: usize) -> PyErr {
    exception(py, class, text, |details| {
        details.set_item("needed_bytes", needed)?;
        details.set_item("available_bytes", available)
    })
}

/// A word for programs; the text is for people.
fn reason_word(reason: &HoldsReason) -> &'static str {
    match reason {
        HoldsReason::NotRegistered => "not_registered",
        HoldsReason::NoWriteAccess => "no_write_access",
        HoldsReason::NoControlSegment => "no_control_segment",
        HoldsReason::NoFreeEntry => "no_free_entry",
        HoldsReason::Disabled => "disabled",
        _ => "system_call",
    }
}

/// An error about Arrow data that comes or goes.
pub fn arrow(py: Python<'_>, text: &str) -> PyErr {
    exception(py, "ArrowError", text, |_| Ok(()))
}

/// An option that cannot be.
pub fn option<'py>(
    py: Python<'py>,
    option: &str,
    rule: &str,
    value: impl IntoPyObject<'py>,
) -> PyErr {
    let refuse = |value: Bound<'py, PyAny>| -> PyResult<PyErr> {
        let message = format!("option {option} = {}: {rule}", value.repr()?);
        Ok(exception(py, "InvalidOptionError", &message, |details| {
            details.set_item("option", option)?;
            details.set_item("value", value)
        }))
    };
    let value = value.into_bound_py_any(py);
    value.and_then(refuse).unwrap_or_else(|error| error)
}

fn exception(
    py: Python<'_>,
    class: &str,
    text: &str,
    fill: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyErr {
    let make = || {
        let class = py.import("qadataswap._errors")?.getattr(class)?;
        let details = PyDict::new(py);
        fill(&details)?;
        class.call((PyString::new(py, text),), Some(&details))
    };
    match make() {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}
