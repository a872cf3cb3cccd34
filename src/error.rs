//! [`QADataSwapError`]: everything that can go wrong, and [`Result`].
//!
//! An outcome that is part of normal work is not an error: a read that times out is `Ok(None)`, and
//! an overrun is counted (unless the reader asked to be told). The traits are written out rather than
//! derived because the bytes ring builds with libc as its only dependency.

use std::fmt;

use crate::name::{NAME_RULES, RingName};
use crate::shm::SysError;

/// What an operation of this crate gives back.
pub type Result<T, E = QADataSwapError> = std::result::Result<T, E>;

/// Why an operation was not carried out.
///
/// Whatever the variant, nothing was published or consumed by the call that returned it unless the
/// variant says so.
///
/// ```
/// use qadataswap::{QADataSwapError, create_writer};
///
/// let error = create_writer("a/b", 8).unwrap_err();
/// assert!(matches!(error, QADataSwapError::InvalidName));
/// assert!(error.to_string().contains("'/'"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum QADataSwapError {
    /// The ring's name is empty, too long, or has a character that no ring name may have.
    InvalidName,
    /// The kernel would not map the segment into this process: its address space or its number of
    /// mappings is limited.
    MemoryMapFailed,
    /// The message could not be brought into a form to publish; nothing was published.
    WriteError,
    /// The ring was not ready within the time limit of an attach.
    ///
    /// A *read* that finds no message within its limit is not an error but `Ok(None)`.
    ReadTimeout,
    /// The Arrow data cannot be encoded, or what a slot holds cannot be decoded.
    ///
    /// When reading, the message in question has been consumed: the next read goes on after it.
    #[cfg(feature = "arrow")]
    ArrowError(arrow_schema::ArrowError),

    /// An option has a value that cannot be had.
    InvalidOption {
        /// Name of the option.
        option: &'static str,
        /// The value given.
        value: u64,
        /// What values there are.
        rule: &'static str,
    },
    /// There is no ring of this name (after waiting for as long as the attach was told to).
    NotFound {
        /// The ring's name.
        name: String,
    },
    /// The operating system denies access to the ring's shared memory.
    PermissionDenied {
        /// The ring's name.
        name: String,
        /// The system call that was refused.
        call: &'static str,
    },
    /// `/dev/shm` (or the memory limit of this container) is full; what was published before is
    /// intact.
    NoSpace {
        /// The ring's name.
        name: String,
        /// Bytes that were needed and not to be had.
        needed_bytes: u64,
    },
    /// A system call failed in a way that has no variant of its own.
    SystemCall {
        /// The ring's name.
        name: String,
        /// The system call.
        call: &'static str,
        /// Its error number.
        errno: i32,
    },
    /// The ring has a live writer; there can be only one.
    WriterAlive {
        /// The ring's name.
        name: String,
        /// The writer's process id in its own pid namespace; 0 if it has not written it yet.
        pid: u32,
    },
    /// The ring has no writer, and a process that may only read it keeps a new one out with a lock of its own
    /// (no reader of this library takes one).
    Obstructed {
        /// The ring's name.
        name: String,
        /// That process's id, or 0 where the kernel does not tell.
        pid: u32,
    },
    /// The ring was made by an incompatible version of this library.
    VersionMismatch {
        /// The ring's name.
        name: String,
        /// Layout version found in the segment.
        found: u32,
        /// Layout version this library reads and writes.
        expected: u32,
    },
    /// The shared memory of this name does not hold a ring, or holds a damaged one.
    Damaged {
        /// The ring's name.
        name: String,
        /// The header field that is wrong.
        field: &'static str,
        /// The value found.
        found: u64,
        /// The value that would be right (a bound, where there are several).
        expected: u64,
    },
    /// The message is larger than a slot and the ring may not grow.
    MessageTooLarge {
        /// Bytes the message needs.
        needed_bytes: usize,
        /// Bytes a message may have.
        available_bytes: usize,
    },
    /// The caller's buffer is smaller than the message, which has not been consumed: read it into a
    /// larger one, or pass over it with [`Reader::skip`](crate::Reader::skip).
    BufferTooSmall {
        /// Bytes the message has.
        needed_bytes: usize,
        /// Bytes the buffer has.
        available_bytes: usize,
    },
    /// The message has not the size of the type asked for. It has not been consumed: read it as
    /// bytes, or pass over it with [`Reader::skip`](crate::Reader::skip).
    SizeMismatch {
        /// Bytes the message has.
        found_bytes: usize,
        /// Bytes the type has.
        expected_bytes: usize,
    },
    /// A published slot describes a message that cannot be. The message counts as lost and the next
    /// read goes on after it.
    CorruptMessage {
        /// Position of the message.
        position: u64,
        /// The field of the slot that is wrong.
        field: &'static str,
        /// The value found.
        found: u64,
    },
    /// The reader was lapped and asked to be told ([`OnOverrun::Error`](crate::OnOverrun::Error)).
    /// The next read goes on with a message that is still there.
    Overrun {
        /// Messages lost by this overrun.
        lost: u64,
    },
    /// A lossless reader is so far behind that the message would overwrite one it has not consumed, and the
    /// writer's time for that is up ([`OnSlowReader`](crate::OnSlowReader)). Nothing was published; the
    /// write can be tried again.
    WouldBlock {
        /// The ring's name.
        name: String,
        /// Process id of the slowest such reader, in its own pid namespace, as its entry says.
        pid: u32,
        /// Positions it is behind.
        behind: u64,
    },
    /// Every slot is leased by readers, so that there is none for the message. Nothing was published.
    AllSlotsLeased {
        /// The ring's name.
        name: String,
        /// Process ids of those readers, as their entries say.
        pids: Vec<u32>,
    },
    /// The writer gave this lossless reader up because it was too slow
    /// ([`OnSlowReader::Evict`](crate::OnSlowReader::Evict)).
    /// [`Reader::rejoin`](crate::Reader::rejoin) makes it lossless again; until then no message is read.
    Evicted {
        /// Messages lost so far by this eviction.
        lost: u64,
    },
    /// The reader cannot hold messages (lease them, be lossless) on this ring.
    HoldsUnavailable {
        /// The ring's name.
        name: String,
        /// Why not.
        reason: HoldsReason,
    },
    /// The reader has as many leases as it may
    /// ([`ReaderOptions::max_leases`](crate::ReaderOptions::max_leases)); drop one. No message was consumed.
    TooManyLeases {
        /// How many it may have.
        limit: usize,
    },
    /// The message cannot be had without copying, because buffers in it are not aligned as their types need,
    /// or a dictionary in it comes in parts.
    /// It has not been consumed: read a copy with [`Reader::read_arrow`](crate::Reader::read_arrow).
    NotAligned,
    /// The message has several record batches. It has not been consumed: read it with
    /// [`Reader::read_batches_zero_copy`](crate::Reader::read_batches_zero_copy), or as a copy with
    /// [`Reader::read_arrow`](crate::Reader::read_arrow).
    NotOneBatch {
        /// Batches it has.
        found: usize,
    },
    /// The writer has ended the ring and every message in it has been consumed.
    Closed,
    /// The handle was inherited by a forked child; only the process that made it may use it.
    Forked,
}

/// Why a reader cannot lease messages or be lossless
/// (in [`QADataSwapError::HoldsUnavailable`]).
///
/// ```
/// use qadataswap::{HoldsReason, QADataSwapError, ReaderOptions};
///
/// # let name = format!("doc-holds-reason-{}", std::process::id());
/// let writer = qadataswap::create_writer(&name, 4)?;
/// let reader = ReaderOptions::new().register(false).attach(&name)?;
/// let refused = reader.lease(0).unwrap_err();
/// assert!(matches!(
///     refused,
///     QADataSwapError::HoldsUnavailable { reason: HoldsReason::NotRegistered, .. }
/// ));
/// # writer.unlink()?;
/// # Ok::<(), QADataSwapError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldsReason {
    /// The reader was told not to register ([`ReaderOptions::register`](crate::ReaderOptions::register)).
    NotRegistered,
    /// This process may not write to the control segment.
    NoWriteAccess,
    /// The ring's control segment is missing or is not the ring's. The next writer makes a new one.
    NoControlSegment,
    /// All entries of the control segment are taken by living readers.
    NoFreeEntry,
    /// The ring was made without holds ([`WriterOptions::holds`](crate::WriterOptions::holds)).
    Disabled,
    /// A system call failed.
    SystemCall {
        /// The system call.
        call: &'static str,
        /// Its error number.
        errno: i32,
    },
}

impl fmt::Display for HoldsReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegistered => f.write_str("the reader was attached with register(false)"),
            Self::NoWriteAccess => f.write_str(
                "a lease or a lossless reader needs write access to the control segment; the \
                 writer's control_mode option decides who has it (0666 admits other users)",
            ),
            Self::NoControlSegment => f.write_str(
                "a lease or a lossless reader needs the control segment, which is missing or not \
                 this ring's; the next writer of the ring makes a new one",
            ),
            Self::NoFreeEntry => f.write_str(
                "all 64 entries of the control segment are taken by living readers; stop one, or \
                 attach others with register(false)",
            ),
            Self::Disabled => f.write_str("the writer made the ring with holds(false)"),
            Self::SystemCall { call, errno } => {
                write!(f, "{call} failed: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl From<SysError> for HoldsReason {
    fn from(error: SysError) -> Self {
        match error.errno {
            libc::EACCES | libc::EPERM | libc::EROFS => Self::NoWriteAccess,
            // A symbolic link or a directory in its place, besides nothing at all.
            libc::ENOENT | libc::ELOOP | libc::EISDIR => Self::NoControlSegment,
            errno => Self::SystemCall { call: error.call, errno },
        }
    }
}

impl HoldsReason {
    /// The error to give a user of the ring `name`.
    pub(crate) fn on_ring(self, name: &RingName) -> QADataSwapError {
        QADataSwapError::HoldsUnavailable { name: name.as_str().to_owned(), reason: self }
    }
}

impl fmt::Display for QADataSwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use QADataSwapError::*;
        match self {
            InvalidName => write!(f, "invalid ring name: {NAME_RULES}"),
            MemoryMapFailed => f.write_str(
                "cannot map the ring's shared memory: the address space (ulimit -v) or the number \
                 of mappings (vm.max_map_count) of this process is limited; raise the limit or \
                 use fewer or smaller slots",
            ),
            WriteError => f.write_str(
                "the message could not be encoded (an internal failure of the encoder); nothing \
                 was published",
            ),
            ReadTimeout => f.write_str(
                "timed out: the ring exists but its writer has not finished setting it up; try \
                 again or attach with a longer timeout",
            ),
            #[cfg(feature = "arrow")]
            ArrowError(e) => write!(f, "Arrow data: {e}"),
            InvalidOption { option, value, rule } => {
                write!(f, "option {option} = {value}: {rule}")
            }
            NotFound { name } => write!(
                f,
                "no ring named '{name}': start its writer first, or attach with a longer timeout"
            ),
            PermissionDenied { name, call } => write!(
                f,
                "ring '{name}': permission denied ({call}); the writer's mode option decides who \
                 may read (0644 admits other users)"
            ),
            NoSpace { name, needed_bytes } => write!(
                f,
                "ring '{name}': no memory for {needed_bytes} more bytes in /dev/shm; free some \
                 (df -h /dev/shm), raise its size or the container's limit, or use fewer slots"
            ),
            SystemCall { name, call, errno } => {
                let reason = std::io::Error::from_raw_os_error(*errno);
                write!(f, "ring '{name}': {call} failed: {reason}")
            }
            Obstructed { name, pid } => {
                let process = match pid {
                    0 => "a process that lslocks may name".to_owned(),
                    pid => format!("process {pid}"),
                };
                write!(
                    f,
                    "ring '{name}' has no writer, but {process} holds a shared lock on its data \
                     segment, which keeps a new one out; stop that process or remove the ring (unlink)"
                )
            }
            WriterAlive { name, pid } => {
                let writer = match pid {
                    0 => "that is just starting".to_owned(),
                    pid => format!("(pid {pid})"),
                };
                write!(
                    f,
                    "ring '{name}' has a live writer {writer} and a ring has only one; stop it or \
                     choose another name"
                )
            }
            VersionMismatch { name, found, expected } => write!(
                f,
                "ring '{name}' has layout version {found}, this library version {expected}; use \
                 one version on both sides, or unlink the ring and create it anew"
            ),
            Damaged { name, field, found, expected } => write!(
                f,
                "shared memory of ring '{name}' is not a ring or is damaged: {field} is {found}, \
                 expected {expected}; if nothing uses it, unlink it and create it anew"
            ),
            MessageTooLarge { needed_bytes, available_bytes } => write!(
                f,
                "message of {needed_bytes} bytes, but a slot takes {available_bytes} and the ring \
                 may not grow; create it with larger slots or allow rollover"
            ),
            BufferTooSmall { needed_bytes, available_bytes } => write!(
                f,
                "message of {needed_bytes} bytes, but the buffer has {available_bytes}; nothing \
                 was consumed, read again with a larger buffer"
            ),
            SizeMismatch { found_bytes, expected_bytes } => write!(
                f,
                "message of {found_bytes} bytes, but the type asked for has {expected_bytes}; \
                 nothing was consumed, read it as bytes or skip it"
            ),
            CorruptMessage { position, field, found } => write!(
                f,
                "message at position {position} is damaged ({field} is {found}) and was passed \
                 over; the next read goes on after it"
            ),
            Overrun { lost } => write!(
                f,
                "overrun: the writer lapped this reader and {lost} messages were lost; the next \
                 read goes on with what is still there"
            ),
            WouldBlock { name, pid, behind: 0 } => write!(
                f,
                "ring '{name}': a lossless reader (pid {pid}) is just joining or leaving; nothing was \
                 published, try again"
            ),
            WouldBlock { name, pid, behind } => write!(
                f,
                "ring '{name}' is full: the lossless reader with pid {pid} is {behind} messages \
                 behind; nothing was published, try again, or use more slots or \
                 OnSlowReader::Evict"
            ),
            AllSlotsLeased { name, pids } => write!(
                f,
                "ring '{name}': every slot is leased (by pids {pids:?}); nothing was published, \
                 have leases and zero-copy batches dropped sooner or use more slots"
            ),
            Evicted { lost } => write!(
                f,
                "this lossless reader was too slow and the writer went on without it; {lost} \
                 messages were lost so far; Reader::rejoin goes on with what is still there"
            ),
            HoldsUnavailable { name, reason } => {
                write!(f, "ring '{name}': messages cannot be held: {reason}")
            }
            TooManyLeases { limit: 0 } => f.write_str(
                "this reader was attached with max_leases(0), so that it can lease nothing",
            ),
            TooManyLeases { limit } => write!(
                f,
                "this reader holds {limit} leases, which is all it may; drop one, or attach with \
                 a larger max_leases (at most 8)"
            ),
            NotAligned => f.write_str(
                "the message cannot be read in place: a buffer is not aligned (Arrow writers align to \
                 8 bytes or more, some types need 16), or a dictionary comes in parts; nothing was \
                 consumed, read_arrow gives a copy",
            ),
            NotOneBatch { found } => write!(
                f,
                "the message has {found} record batches, and only one can be had without copying; \
                 nothing was consumed, read_batches_zero_copy gives them as they are"
            ),
            Closed => f.write_str(
                "the ring is closed: its writer ended it and every message has been consumed",
            ),
            Forked => f.write_str(
                "this handle was inherited through fork; create a new reader or writer in the \
                 child process",
            ),
        }
    }
}

impl std::error::Error for QADataSwapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(feature = "arrow")]
            Self::ArrowError(e) => Some(e),
            _ => None,
        }
    }
}

#[cfg(feature = "arrow")]
impl From<arrow_schema::ArrowError> for QADataSwapError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::ArrowError(error)
    }
}

impl SysError {
    /// The public error for this failure while working on the ring `name`.
    pub(crate) fn on_ring(self, name: &str) -> QADataSwapError {
        let name = name.to_owned();
        match (self.call, self.errno) {
            ("mmap", _) => QADataSwapError::MemoryMapFailed,
            (_, libc::ENOENT) => QADataSwapError::NotFound { name },
            (call, libc::EACCES | libc::EPERM) => QADataSwapError::PermissionDenied { name, call },
            (call, errno) => QADataSwapError::SystemCall { name, call, errno },
        }
    }

    /// [`on_ring`](Self::on_ring) for a call that asked for `needed_bytes` of memory.
    pub(crate) fn on_allocation(self, name: &str, needed_bytes: u64) -> QADataSwapError {
        // Other calls run into limits of the process, not of the file system.
        let allocates = matches!(self.call, "fallocate" | "ftruncate" | "shm_open" | "madvise");
        match self.errno {
            _ if !allocates => self.on_ring(name),
            libc::ENOSPC | libc::ENOMEM | libc::EDQUOT => {
                QADataSwapError::NoSpace { name: name.to_owned(), needed_bytes }
            }
            _ => self.on_ring(name),
        }
    }
}
