//! `qads rm` and `qads gc`: removing rings, and never one that is in use unless told to.

use std::io::{self, Write};

use qadataswap::{QADataSwapError, observe::Observer};

use crate::failure::{Outcome, failed};
use crate::processes;

const RM_EXAMPLES: &str = "\
Examples:
  qads rm ticks              a ring whose writer is gone and that nobody reads
  qads rm --force ticks      whoever uses it

With --force, a writer that lives goes on into memory that nobody new can find, and attached readers go on
reading it. Without, a ring is left alone that has a live writer, a registered reader, or is mapped by a process
that this user may look at.

Exit status: 0 removed, 1 failed or in use, 2 wrong usage, 130 stopped with Ctrl-C.";

const GC_EXAMPLES: &str = "\
Examples:
  qads gc --dry-run          what would be removed
  qads gc                    remove rings whose writer is gone and that nobody reads

A ring counts as read if a living reader is registered, or a process that this user may look at has it mapped.
(Run it as root to know of all.)

Exit status: 0 done, 1 something could not be removed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Remove rings
#[derive(clap::Args, Debug)]
#[command(after_help = RM_EXAMPLES)]
pub struct RmArguments {
    /// The rings
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Also if they are in use, or damaged
    #[arg(long, short)]
    force: bool,
}

/// Remove rings that nobody writes or reads any more
#[derive(clap::Args, Debug)]
#[command(after_help = GC_EXAMPLES)]
pub struct GcArguments {
    /// Only say what would be removed
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Who uses a ring, in words; nothing if nobody does.
pub fn users(name: &str) -> Result<Option<String>, QADataSwapError> {
    let seen = Observer::open(name)?.look()?;
    if seen.writer.alive {
        return Ok(Some(format!("its writer lives (pid {})", seen.writer.process.pid)));
    }
    if let Some(reader) = seen.readers.iter().find(|reader| reader.alive) {
        return Ok(Some(format!("it is being read (pid {})", reader.process.pid)));
    }
    let pids = processes::who_maps(name);
    Ok(pids.first().map(|pid| format!("it is mapped by a process (pid {pid})")))
}

pub fn rm(arguments: &RmArguments) -> Outcome {
    let mut failures = Vec::new();
    for name in &arguments.names {
        // Before anything is removed: a name that cannot be is a slip.
        qadataswap::check_name(name)?;
    }
    for name in &arguments.names {
        let removed = if arguments.force {
            qadataswap::unlink_by_force(name).map_err(|error| error.to_string())
        } else {
            match users(name) {
                Ok(Some(users)) => Err(format!(
                    "ring '{name}' is in use: {users}; stop that first, or use --force"
                )),
                Ok(None) => qadataswap::unlink(name).map_err(|error| error.to_string()),
                Err(QADataSwapError::NotFound { .. }) => {
                    Err(format!("no ring named '{name}' ('qads ls' shows those that are there)"))
                }
                Err(error) => Err(error.to_string()),
            }
        };
        failures.extend(removed.err());
    }
    if failures.is_empty() { Ok(()) } else { Err(failed(failures.join("\nqads rm: "))) }
}

pub fn gc(arguments: &GcArguments) -> Outcome {
    let out = &mut io::stdout().lock();
    let mut failures = Vec::new();
    for name in qadataswap::list()? {
        let shown = crate::text::tame(&name);
        match users(&name) {
            Ok(Some(_)) => {}
            Ok(None) if arguments.dry_run => writeln!(out, "would remove {shown}")?,
            Ok(None) => match qadataswap::unlink(&name) {
                Ok(()) => writeln!(out, "removed {shown}")?,
                // Another was faster, or a writer has come.
                Err(QADataSwapError::NotFound { .. } | QADataSwapError::WriterAlive { .. }) => {}
                Err(error) => failures.push(error.to_string()),
            },
            Err(QADataSwapError::NotFound { .. }) => {}
            // Somebody else's, who has not asked for this.
            Err(QADataSwapError::PermissionDenied { .. }) => {}
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failed(failures.join("\nqads gc: "))) }
}
