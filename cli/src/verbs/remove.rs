//! `qads rm` and `qads gc`: removing rings, and never one that is in use unless told to.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};

use qadataswap::QADataSwapError;
use qadataswap::observe::{Observation, Observer};

use crate::failure::{Outcome, failed};
use crate::verbs::processes;

const RM_EXAMPLES: &str = "\
Examples:
  qads rm ticks              a ring whose writer is gone and that nobody reads
  qads rm --force ticks      whoever uses it

With --force, a writer that lives goes on into memory that nobody new can find, and attached readers go on
reading it. Without, a ring is left alone that has a live writer, a registered reader, or is mapped by a process
that this user may look at; and so is what is no ring, but has the name of one in /dev/shm.

Exit status: 0 removed, 1 failed or in use, 2 wrong usage, 130 stopped with Ctrl-C.";

const GC_EXAMPLES: &str = "\
Examples:
  qads gc --dry-run          what would be removed
  qads gc                    remove rings whose writer is gone and that nobody reads

A ring counts as read if a living reader is registered, or a process that this user may look at has it mapped.
(Run it as root to know of all.) What a writer left unfinished that was killed goes too; what is no ring, but has the
name of one in /dev/shm, stays.

Exit status: 0 done, 1 something could not be removed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Remove rings
#[derive(clap::Args, Debug)]
#[command(after_help = RM_EXAMPLES)]
pub struct RmArguments {
    /// The rings
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Also if they are in use, or no rings but what has the name of one
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

/// What there is to be said before something that has a ring's name is removed.
pub enum Standing {
    /// It is a ring, or the beginning of one, that nobody uses.
    Unused,
    /// Somebody uses it, in words.
    Used(String),
    /// It is not of our making; what it is.
    Foreign(String),
}

/// Looks at what has the name of this ring.
pub fn standing(name: &str) -> Result<Standing, QADataSwapError> {
    use Standing::{Foreign, Unused, Used};
    // Before it is opened: opening alone may do something to what is no file.
    if let Ok(found) = fs::symlink_metadata(processes::object_path(name))
        && !found.is_file()
    {
        let what = match found.file_type() {
            kind if kind.is_dir() => "a folder",
            kind if kind.is_symlink() => "a symbolic link",
            _ => "no regular file",
        };
        return Ok(Foreign(what.to_owned()));
    }
    let seen = Observer::open(name)?.look()?;
    if !is_ours(name, &seen) {
        return Ok(Foreign("it has not the first bytes of a ring".to_owned()));
    }
    if seen.writer.alive {
        return Ok(Used(match seen.writer.process.pid {
            0 => "it is just being made".to_owned(),
            pid => format!("its writer lives (pid {pid})"),
        }));
    }
    if let Some(reader) = seen.readers.iter().find(|reader| reader.alive) {
        return Ok(Used(format!("it is being read (pid {})", reader.process.pid)));
    }
    let pids = processes::who_maps(name);
    Ok(pids.first().map_or(Unused, |pid| Used(format!("it is mapped by a process (pid {pid})"))))
}

/// Bytes of a segment before its slots, and what the size of a slot is a multiple of.
const HEADER_BYTES: u64 = 4096;
const SLOT_ALIGN: u64 = 128;
/// Bytes of an unfinished segment that are looked at.
const LOOKED_AT: u64 = 1 << 20;

/// Whether it is a ring, sound or damaged, or what a creator left that was killed before it had stored the magic
/// number, which comes last (docs/protocol.md): without a size; or with that of a ring, header words that are zero
/// or right, and nothing behind them.
fn is_ours(name: &str, seen: &Observation) -> bool {
    match seen.faults.iter().find(|fault| fault.field == "magic").map(|fault| fault.found) {
        // Another layout version, say, or damaged further on; but not too small for a header.
        None => seen.header.is_some(),
        Some(0) if seen.bytes == 0 => true,
        Some(0) => {
            let has_size =
                seen.bytes > HEADER_BYTES && (seen.bytes - HEADER_BYTES).is_multiple_of(SLOT_ALIGN);
            let is_right = seen.header.is_none_or(|header| {
                let is_zero_or = |word: u64, right: u64| word == 0 || word == right;
                is_zero_or(header.segment_bytes, seen.bytes)
                    && is_zero_or(header.header_bytes.into(), HEADER_BYTES)
                    && header.published == 0
            });
            has_size && is_right && is_blank(name).unwrap_or(false)
        }
        Some(_) => false,
    }
}

/// Whether the segment has only zeros where its slots begin.
fn is_blank(name: &str) -> io::Result<bool> {
    let mut file = File::open(processes::object_path(name))?;
    file.seek(SeekFrom::Start(HEADER_BYTES))?;
    let mut bytes = Vec::new();
    file.take(LOOKED_AT).read_to_end(&mut bytes)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

pub fn rm(arguments: &RmArguments) -> Outcome {
    let mut failures = Vec::new();
    for name in &arguments.names {
        // Before anything is removed: a name that cannot be is a slip.
        qadataswap::check_name(name)?;
    }
    for name in &arguments.names {
        let removed = if arguments.force {
            qadataswap::unlink_by_force(name).map_err(|error| told(name, &error))
        } else {
            match standing(name) {
                Ok(Standing::Used(by)) => {
                    Err(format!("ring '{name}' is in use: {by}; stop that first, or use --force"))
                }
                Ok(Standing::Foreign(what)) => Err(format!(
                    "{} is no ring: {what}; if it is in the way, --force removes it",
                    processes::object_path(name)
                )),
                Ok(Standing::Unused) => {
                    qadataswap::unlink(name).map_err(|error| told(name, &error))
                }
                Err(error) => Err(told(name, &error)),
            }
        };
        failures.extend(removed.err());
    }
    if failures.is_empty() { Ok(()) } else { Err(failed(failures.join("\nqads rm: "))) }
}

/// Why it could not be removed.
fn told(name: &str, error: &QADataSwapError) -> String {
    match error {
        QADataSwapError::NotFound { .. } => {
            format!("no ring named '{name}' ('qads ls' shows those that are there)")
        }
        QADataSwapError::PermissionDenied { .. } => {
            format!("ring '{name}' is another user's, who can remove it, as root can")
        }
        error => error.to_string(),
    }
}

pub fn gc(arguments: &GcArguments) -> Outcome {
    let out = &mut io::stdout().lock();
    let mut failures = Vec::new();
    for name in qadataswap::list()? {
        let shown = crate::text::tame(&name);
        match standing(&name) {
            Ok(Standing::Used(_) | Standing::Foreign(_)) => {}
            Ok(Standing::Unused) if arguments.dry_run => writeln!(out, "would remove {shown}")?,
            Ok(Standing::Unused) => match qadataswap::unlink(&name) {
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
