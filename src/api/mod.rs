//! The handles that users hold, put together from the layers below.

#[cfg(feature = "arrow")]
mod arrow_reading;
#[cfg(feature = "arrow")]
mod arrow_writing;
mod attach;
mod create;
mod held;
mod lease;
pub mod observe;
mod options;
mod pace;
mod reader;
mod reading;
mod registration;
mod reservation;
mod source;
#[cfg(feature = "arrow")]
mod spare;
mod stats;
mod writer;

pub use lease::Lease;
pub use options::{OnOverrun, OnSlowReader, ReaderOptions, WriterOptions};
pub use reader::Reader;
pub use reservation::Reservation;
pub use stats::{ReaderStats, WriterStats};
pub use writer::Writer;

#[cfg(feature = "arrow")]
pub use reader::Batches;

use crate::crash;
use crate::error::{QADataSwapError, Result};
use crate::layout::{DataSegment, HeaderFault};
use crate::name::RingName;
use crate::shm::{self, Access, Lock, Segment};

/// Creates the ring `name` with `buffer_count` slots, or takes it over if its writer is gone.
///
/// Slots are large and sparse (see [`WriterOptions::slot_capacity`]), and the ring moves to larger ones
/// when a message needs it. More can be said with [`WriterOptions`].
///
/// # Errors
/// As [`WriterOptions::create`].
///
/// ```
/// use qadataswap::{create_reader, create_writer};
///
/// let name = format!("doc-create-writer-{}", std::process::id());
/// let writer = create_writer(&name, 10)?;
/// writer.write(b"hello")?;
/// assert_eq!(create_reader(&name)?.read(0)?.as_deref(), Some(&b"hello"[..]));
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
pub fn create_writer(name: &str, buffer_count: usize) -> Result<Writer> {
    WriterOptions::new(buffer_count).create(name)
}

/// Attaches a reader to the ring `name`, at the oldest message still in it. Waits up to five seconds
/// for a ring that is not there yet. More can be said with [`ReaderOptions`].
///
/// # Errors
/// As [`ReaderOptions::attach`].
///
/// ```
/// use qadataswap::{QADataSwapError, ReaderOptions};
///
/// // create_reader waits for the writer; this one does not.
/// let missing = ReaderOptions::new().attach_timeout_ms(0).attach("no-such-ring");
/// assert!(matches!(missing, Err(QADataSwapError::NotFound { .. })));
/// ```
pub fn create_reader(name: &str) -> Result<Reader> {
    ReaderOptions::new().attach(name)
}

/// Removes the ring `name`. Readers that are attached keep their memory, drain it, and are then told
/// that the ring is closed.
///
/// # Errors
/// [`NotFound`](QADataSwapError::NotFound); [`WriterAlive`](QADataSwapError::WriterAlive) if it has a
/// live writer (that writer can [unlink](Writer::unlink) it).
///
/// ```
/// let name = format!("doc-unlink-{}", std::process::id());
/// drop(qadataswap::create_writer(&name, 4)?); // the ring outlives its writer
/// qadataswap::unlink(&name)?;
/// assert!(!qadataswap::list()?.contains(&name));
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
pub fn unlink(name: &str) -> Result<()> {
    let name = RingName::new(name)?;
    let text = name.as_str();
    loop {
        let segment = Segment::open(&name.data_object(), Access::ReadWrite)
            .map_err(|error| error.on_ring(text))?;
        let locked = DataSegment::lock_as_writer(&segment).map_err(|error| error.on_ring(text))?;
        // A rollover may have given the name to another segment before the lock was had.
        if !segment.is_named(&name.data_object()).map_err(|error| error.on_ring(text))? {
            continue;
        }
        return match locked {
            Lock::Owned => Err(writer_alive(&name, segment)),
            // As long as there are shared locks, no writer can begin.
            Lock::Had | Lock::Obstructed(_) => remove_objects(&name),
        };
    }
}

/// Removes the ring `name` even if it has a live writer, which then goes on into memory that nobody new can
/// find (and takes the name again if a message makes it move to larger slots). Readers that are attached go on
/// reading from it.
///
/// # Errors
/// [`NotFound`](QADataSwapError::NotFound); [`PermissionDenied`](QADataSwapError::PermissionDenied).
///
/// ```
/// let name = format!("doc-unlink-by-force-{}", std::process::id());
/// let writer = qadataswap::create_writer(&name, 4)?;
/// assert!(qadataswap::unlink(&name).is_err());
/// qadataswap::unlink_by_force(&name)?;
/// assert!(!qadataswap::list()?.contains(&name));
/// # drop(writer);
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
pub fn unlink_by_force(name: &str) -> Result<()> {
    remove_objects(&RingName::new(name)?)
}

/// Names of the rings on this machine, sorted. More about each is told by [`observe::Observer`].
///
/// # Errors
/// [`SystemCall`](QADataSwapError::SystemCall) if `/dev/shm` cannot be read.
///
/// ```
/// for name in qadataswap::list()? {
///     println!("{name}");
/// }
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
pub fn list() -> Result<Vec<String>> {
    let objects =
        shm::objects_with_prefix(RingName::object_prefix()).map_err(|error| error.on_ring("*"))?;
    Ok(RingName::of_objects(&objects))
}

/// Removes every object of a ring; the data segment last, so that a failure can be repeated.
fn remove_objects(name: &RingName) -> Result<()> {
    for object in [name.next_object(), name.control_object()] {
        match shm::unlink(&object) {
            Err(error) if error.errno != libc::ENOENT => return Err(error.on_ring(name.as_str())),
            _ => {}
        }
    }
    crash::point("remove: control segment removed");
    shm::unlink(&name.data_object()).map_err(|error| error.on_ring(name.as_str()))
}

/// The segment again, if its lock is had.
fn if_had(locked: Lock, name: &RingName, segment: Segment) -> Result<Segment> {
    match locked {
        Lock::Had => Ok(segment),
        Lock::Owned => Err(writer_alive(name, segment)),
        Lock::Obstructed(pid) => {
            Err(QADataSwapError::Obstructed { name: name.as_str().to_owned(), pid })
        }
    }
}

/// The error for a ring whose writer lives, with its pid if the header has it.
fn writer_alive(name: &RingName, segment: Segment) -> QADataSwapError {
    let pid = match DataSegment::attach(segment, Access::Read, Default::default()) {
        // Relaxed: for the message only.
        Ok(Ok(data)) => {
            let owner = &data.header().owner;
            let pid = owner.pid.load(crate::sync::Ordering::Relaxed);
            let start = owner.start_ticks.load(crate::sync::Ordering::Relaxed);
            // While a new writer takes over, the header still names the old one.
            if shm::Process::start_of(pid) == start { pid } else { 0 }
        }
        _ => 0,
    };
    QADataSwapError::WriterAlive { name: name.as_str().to_owned(), pid }
}

/// The error for a segment that cannot be used.
fn header_fault(name: &RingName, fault: HeaderFault) -> QADataSwapError {
    let name = name.as_str().to_owned();
    match fault {
        HeaderFault::NotReady => QADataSwapError::ReadTimeout,
        HeaderFault::Version(found) => QADataSwapError::VersionMismatch {
            name,
            found,
            expected: crate::layout::Immutable::ABI_VERSION,
        },
        HeaderFault::Field(field, found, expected) => {
            QADataSwapError::Damaged { name, field, found, expected }
        }
    }
}

/// Refuses a handle that a forked child inherited.
#[inline(always)]
fn check_fork(made_in: u64) -> Result<()> {
    if made_in == shm::fork_generation() { Ok(()) } else { Err(QADataSwapError::Forked) }
}
