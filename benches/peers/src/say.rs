//! What is told to whoever looks on. A measurement goes on when nobody does (`| head`): its results are in files.

use std::fmt::Display;
use std::io::Write;

/// A line on the standard output.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A line on the standard error.
pub fn problem(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
