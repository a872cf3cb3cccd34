//! `qads doctor`: what of this machine is in the way of rings, and what to do about it.

pub mod probes;

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::failure::{Outcome, failed};
use crate::text::{self, Look, painted};
use crate::verbs::print::write_json;

const EXAMPLES: &str = "\
Examples:
  qads doctor
  qads doctor --json | jq '.[] | select(.level != \"ok\")'

It only looks. Each finding says what to do; most of that takes root, and some of it is for machines that do nothing
else. ('bad' is what keeps rings from working, 'warning' what costs latency or memory.)

Exit status: 0 nothing bad, 1 something bad or failed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Check this machine: shared memory, limits, processors, rings that were left behind
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArguments {
    /// For programs: an array of objects
    #[arg(long)]
    json: bool,
    /// Look at the /proc, /sys and /dev below this folder (for tests)
    #[arg(long, value_name = "FOLDER", default_value = "/", hide = true)]
    root: PathBuf,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Note,
    Warning,
    Bad,
}

/// Something that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; nothing if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub fn ok(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, level: Level::Ok, found: found.into(), advice: None }
    }

    pub fn of(
        subject: &'static str,
        level: Level,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { subject, level, found: found.into(), advice: Some(advice.into()) }
    }
}

pub fn run(arguments: &DoctorArguments) -> Outcome {
    let findings = probes::all(&arguments.root);
    let out = &mut io::stdout().lock();
    if arguments.json {
        write_json(out, &findings)?;
    } else {
        let colours = text::colours();
        for finding in &findings {
            let (word, look) = match finding.level {
                Level::Ok => ("ok     ", Look::Good),
                Level::Note => ("note   ", Look::Plain),
                Level::Warning => ("warning", Look::Warning),
                Level::Bad => ("bad    ", Look::Bad),
            };
            let word = painted(word, look, colours);
            writeln!(out, "{word}  {:<14} {}", finding.subject, text::tame(&finding.found))?;
            if let Some(advice) = &finding.advice {
                let advice = text::tame(advice);
                writeln!(out, "         {:<14} {}", "", painted(&advice, Look::Dim, colours))?;
            }
        }
    }
    out.flush()?;
    match findings.iter().filter(|finding| finding.level == Level::Bad).count() {
        0 => Ok(()),
        count => Err(failed(format!("{count} of the findings are bad"))),
    }
}
