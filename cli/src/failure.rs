//! How a verb ends when it does not end well, and the exit codes that all verbs share.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use qadataswap::QADataSwapError;
use qadataswap::arrow_schema::ArrowError;

use crate::text;

/// What a verb gives back.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Told by every verb's `--help`.
pub const EXIT_CODES: &str =
    "Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It could not be done; the text says what was wrong and what to do.
    Failed(String),
    /// It was asked for wrongly.
    Usage(String),
    /// Ctrl-C, or another signal of this number; everything is tidied up.
    Stopped(i32),
    /// Whoever read the output has gone (`| head`): nothing that anybody needs to be told.
    NobodyListens,
}

impl Failure {
    /// The exit code; says on standard error what there is to say.
    pub fn report(self, verb: &str) -> ExitCode {
        // It may quote a ring or a file.
        match self {
            Self::Failed(text) => {
                text::say(&format!("qads {verb}: {}", text::escaped(&text)));
                ExitCode::FAILURE
            }
            Self::Usage(text) => {
                text::say(&format!(
                    "qads {verb}: {}\nSee 'qads {verb} --help'.",
                    text::escaped(&text)
                ));
                ExitCode::from(2)
            }
            // As shells report a death by signal.
            Self::Stopped(signal) => ExitCode::from(128 + signal as u8),
            Self::NobodyListens => ExitCode::SUCCESS,
        }
    }

    /// The same with more to say.
    pub fn with(self, more: &str) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(format!("{text}; {more}")),
            other => other,
        }
    }

    /// What was wrong.
    pub fn into_text(self) -> String {
        match self {
            Self::Failed(text) | Self::Usage(text) => text,
            Self::Stopped(_) | Self::NobodyListens => "stopped".to_owned(),
        }
    }

    /// The same with what was being worked on put before it.
    pub fn about(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(format!("{what}: {text}")),
            Self::Usage(text) => Self::Usage(format!("{what}: {text}")),
            other => other,
        }
    }
}

/// A failure with this text.
pub fn failed(text: impl fmt::Display) -> Failure {
    Failure::Failed(text.to_string())
}

/// Libraries panic on some files that are malformed, and on some types that they do not know. Nobody needs to see where.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    result.unwrap_or_else(|_| Err(ArrowError::IpcError("malformed, or of an unknown type".into())))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyListens,
            _ => failed(error),
        }
    }
}

impl From<QADataSwapError> for Failure {
    fn from(error: QADataSwapError) -> Self {
        match error {
            QADataSwapError::InvalidName => Self::Usage(error.to_string()),
            QADataSwapError::NotFound { name } => failed(format!(
                "no ring named '{name}': start its writer first ('qads ls' shows those that are there)"
            )),
            _ => failed(error),
        }
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => error.into(),
            // Ours (see `filter`): they say by themselves what was wrong.
            ArrowError::SchemaError(text) | ArrowError::CastError(text) => failed(text),
            ArrowError::ExternalError(error) => match error.downcast::<io::Error>() {
                Ok(error) => (*error).into(),
                Err(error) => failed(error),
            },
            // Writers of text wrap what the output said.
            error if error.to_string().contains("Broken pipe") => Self::NobodyListens,
            error => failed(error),
        }
    }
}
