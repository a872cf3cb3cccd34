//! Ring names and the names of the shared-memory objects behind them.

use crate::error::{QADataSwapError, Result};

/// Longest ring name in bytes: a file name holds 255, less the prefix and the longest suffix.
pub const MAX_NAME_BYTES: usize = 255 - PREFIX.len() - NEXT_SUFFIX.len();

/// What [`QADataSwapError::InvalidName`] tells the user.
pub(crate) const NAME_RULES: &str = "a name has 1 to 245 bytes of UTF-8, no '/', no control \
     character, no leading dot, and does not end in '.ctl' or '.next'";

const PREFIX: &str = "qads_";
const CONTROL_SUFFIX: &str = ".ctl";
const NEXT_SUFFIX: &str = ".next";

const _: () = assert!(MAX_NAME_BYTES == 245, "NAME_RULES says 245");

/// Whether a ring can have this name; for who takes a name now and makes the ring later.
///
/// # Errors
/// [`InvalidName`](QADataSwapError::InvalidName), whose text tells the rules.
///
/// ```
/// assert!(qadataswap::check_name("market_data").is_ok());
/// assert!(qadataswap::check_name("market/data").is_err());
/// ```
pub fn check_name(name: &str) -> Result<()> {
    RingName::new(name).map(drop)
}

/// A ring's name, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RingName(String);

impl RingName {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let valid = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && !name.starts_with('.')
            && !name.chars().any(|c| c == '/' || c.is_control())
            // The objects of ring "x" are "x", "x.ctl" and "x.next"; no other ring may be one.
            && !name.ends_with(CONTROL_SUFFIX)
            && !name.ends_with(NEXT_SUFFIX);
        if valid { Ok(Self(name.to_owned())) } else { Err(QADataSwapError::InvalidName) }
    }

    /// The ring's name as the user gave it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Object that holds the data segment.
    pub(crate) fn data_object(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    /// Object that holds the control segment.
    pub(crate) fn control_object(&self) -> String {
        format!("{PREFIX}{}{CONTROL_SUFFIX}", self.0)
    }

    /// Object in which a rollover prepares the next data segment before it takes the name.
    pub(crate) fn next_object(&self) -> String {
        format!("{PREFIX}{}{NEXT_SUFFIX}", self.0)
    }

    /// The ring names behind object names, each once.
    pub(crate) fn of_objects(objects: &[String]) -> Vec<String> {
        let mut names: Vec<String> = objects
            .iter()
            .filter_map(|object| object.strip_prefix(PREFIX))
            .filter(|name| Self::new(name).is_ok())
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    /// The prefix that all objects of this library share.
    pub(crate) fn object_prefix() -> &'static str {
        PREFIX
    }
}
