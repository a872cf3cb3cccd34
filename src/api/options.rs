//! What a writer and a reader can be told when they are made.

use crate::error::{QADataSwapError, Result};
use crate::layout::{Geometry, MAX_PAYLOAD_BYTES};
use crate::name::RingName;
use crate::ring::consume::Start;
use crate::shm::Backing;
use crate::wait::WaitStrategy;
use crate::{Reader, Writer};

/// Slot payload of a ring made without saying how large: 16 MiB of address space each. Memory is
/// taken only for what messages really use.
const DEFAULT_SLOT_BYTES: u64 = 16 << 20;
/// Address space that the slots of such a ring take together at most, however many there are...
const DEFAULT_RING_BYTES: u64 = 16 << 30;
/// ...but never less than this for each.
const SMALLEST_DEFAULT_SLOT_BYTES: u64 = 4096;
/// How long [`create_reader`](crate::create_reader) waits for the writer, unless told otherwise.
const DEFAULT_ATTACH_TIMEOUT_MS: u64 = 5_000;

/// What a reader does when the writer has lapped it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOverrun {
    /// Go on with a message that is still there, and count what was lost in
    /// [`ReaderStats::lost`](crate::ReaderStats::lost).
    #[default]
    Resume,
    /// Do the same, but return [`QADataSwapError::Overrun`] first.
    Error,
}

/// Options of a [`Writer`].
///
/// ```
/// use qadataswap::WriterOptions;
///
/// let name = format!("doc-writer-options-{}", std::process::id());
/// let writer = WriterOptions::new(1024) // slots
///     .slot_capacity(4096)              // bytes
///     .rollover(false)                  // larger messages are refused
///     .mode(0o644)                      // other users may read
///     .create(&name)?;
/// assert_eq!(writer.slot_capacity(), 4096);
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Clone, Debug)]
pub struct WriterOptions {
    pub(crate) slot_count: u64,
    slot_capacity: Option<u64>,
    pub(crate) rollover: bool,
    pub(crate) mode: u32,
    pub(crate) control_mode: Option<u32>,
    pub(crate) backing: Backing,
}

impl WriterOptions {
    /// A ring of `slot_count` slots (1 to 16,777,216): how many messages a reader may be behind before
    /// it loses some.
    pub fn new(slot_count: usize) -> Self {
        Self {
            slot_count: slot_count as u64,
            slot_capacity: None,
            rollover: true,
            mode: 0o600,
            control_mode: None,
            backing: Backing::default(),
        }
    }

    /// Largest message in bytes (1 to 4,294,963,200). Default: 16 MiB, less if there are more than
    /// 1,024 slots.
    ///
    /// This is address space. Memory is taken only for what messages use: a slot keeps the pages of
    /// the largest message it ever held.
    pub fn slot_capacity(mut self, bytes: usize) -> Self {
        self.slot_capacity = Some(bytes as u64);
        self
    }

    /// Whether a larger message makes the ring move to a segment with larger slots (default), or is
    /// refused with [`QADataSwapError::MessageTooLarge`].
    ///
    /// Readers follow by themselves and lose nothing. The write that causes it takes longer: the
    /// messages in the ring are copied.
    pub fn rollover(mut self, allowed: bool) -> Self {
        self.rollover = allowed;
        self
    }

    /// File mode of the shared memory, default `0o600`: readers of the same user. With `0o644` other
    /// users may read; the process's umask does not apply.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// File mode of the control segment; default: as [`mode`](Self::mode). Who may write to it can
    /// register: be seen in lists and woken from sleep. Who may not still reads, and waits in slices
    /// of at most a millisecond.
    pub fn control_mode(mut self, mode: u32) -> Self {
        self.control_mode = Some(mode);
        self
    }

    /// Allocate and fault in all memory of the ring when it is made, rather than slot by slot on first
    /// use. Give a [`slot_capacity`](Self::slot_capacity) with it: the default is 16 MiB a slot.
    pub fn prefault(mut self, yes: bool) -> Self {
        self.backing.prefault = yes;
        self
    }

    /// Keep the ring's pages in memory once they are there (`mlock2`; mind `ulimit -l`, which counts
    /// the address space of the whole ring).
    pub fn lock_memory(mut self, yes: bool) -> Self {
        self.backing.lock = yes;
        self
    }

    /// Ask for transparent huge pages (advice; needs `shmem_enabled` set to `advise` in
    /// `/sys/kernel/mm/transparent_hugepage`).
    pub fn huge_pages(mut self, yes: bool) -> Self {
        self.backing.huge_pages = yes;
        self
    }

    /// Creates the ring, or takes it over if its writer is gone.
    ///
    /// # Errors
    /// [`InvalidName`](QADataSwapError::InvalidName), [`InvalidOption`](QADataSwapError::InvalidOption),
    /// [`WriterAlive`](QADataSwapError::WriterAlive) if the ring has a live writer,
    /// [`NoSpace`](QADataSwapError::NoSpace), [`VersionMismatch`](QADataSwapError::VersionMismatch) or
    /// [`Damaged`](QADataSwapError::Damaged) if the name holds something else than a ring of this
    /// version.
    pub fn create(&self, name: &str) -> Result<Writer> {
        Writer::create(RingName::new(name)?, self.clone())
    }

    /// The segment layout these options ask for.
    pub(crate) fn geometry(&self) -> Result<Geometry> {
        for (option, mode) in [("mode", Some(self.mode)), ("control_mode", self.control_mode)] {
            if let Some(mode) = mode
                && (mode & !0o666 != 0 || mode & 0o600 != 0o600)
            {
                return Err(QADataSwapError::InvalidOption {
                    option,
                    value: mode.into(),
                    rule: "a mode has read and write for the owner and no bits outside 0o666",
                });
            }
        }
        Geometry::new(
            self.slot_count,
            self.slot_capacity.unwrap_or_else(|| self.default_capacity()),
        )
    }

    fn default_capacity(&self) -> u64 {
        let share = DEFAULT_RING_BYTES / self.slot_count.max(1);
        share.clamp(SMALLEST_DEFAULT_SLOT_BYTES, DEFAULT_SLOT_BYTES)
    }

    /// Slot capacity after a rollover that makes room for `needed` bytes; `None` if there is none.
    pub(crate) fn grown_capacity(&self, current: u64, needed: u64) -> Option<u64> {
        if !self.rollover || needed > MAX_PAYLOAD_BYTES {
            return None;
        }
        // Twice the size, so that slowly growing messages do not cause a rollover each.
        Some((current * 2).max(needed.next_power_of_two()).min(MAX_PAYLOAD_BYTES))
    }
}

/// Options of a [`Reader`].
///
/// ```
/// use qadataswap::{OnOverrun, ReaderOptions, Start, WriterOptions};
///
/// let name = format!("doc-reader-options-{}", std::process::id());
/// let writer = WriterOptions::new(8).create(&name)?;
/// writer.write(b"before")?;
/// let reader = ReaderOptions::new()
///     .start(Start::Next)
///     .on_overrun(OnOverrun::Error)
///     .attach_timeout_ms(0)
///     .attach(&name)?;
/// writer.write(b"after")?;
/// assert_eq!(reader.read(0)?.as_deref(), Some(&b"after"[..]));
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    pub(crate) start: Start,
    pub(crate) wait: WaitStrategy,
    pub(crate) on_overrun: OnOverrun,
    pub(crate) attach_timeout_ms: u64,
    pub(crate) register: bool,
    pub(crate) backing: Backing,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ReaderOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            start: Start::Oldest,
            wait: WaitStrategy::default(),
            on_overrun: OnOverrun::Resume,
            attach_timeout_ms: DEFAULT_ATTACH_TIMEOUT_MS,
            register: true,
            backing: Backing::default(),
        }
    }

    /// Which message comes first. Default: the oldest still in the ring.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How reads wait. Default: poll for 50 us, then sleep.
    pub fn wait(mut self, strategy: WaitStrategy) -> Self {
        self.wait = strategy;
        self
    }

    /// What happens when the writer laps this reader. Default: go on and count the loss.
    pub fn on_overrun(mut self, action: OnOverrun) -> Self {
        self.on_overrun = action;
        self
    }

    /// How long, in milliseconds, [`attach`](Self::attach) waits for the ring to be there. Default:
    /// 5,000; 0 does not wait, `u64::MAX` waits for ever.
    pub fn attach_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.attach_timeout_ms = timeout_ms;
        self
    }

    /// Whether to register in the ring's control segment, so that the reader is listed and is woken
    /// from sleep. Default: yes, where it is allowed and one of the 64 entries is free. Without, the
    /// reader only ever reads, and sleeps in slices of at most a millisecond.
    pub fn register(mut self, yes: bool) -> Self {
        self.register = yes;
        self
    }

    /// Fault in the pages that have memory when attaching, rather than on first use.
    pub fn prefault(mut self, yes: bool) -> Self {
        self.backing.prefault = yes;
        self
    }

    /// Keep the mapped pages in memory once they are there (`mlock2`; mind `ulimit -l`).
    pub fn lock_memory(mut self, yes: bool) -> Self {
        self.backing.lock = yes;
        self
    }

    /// Ask for transparent huge pages (advice).
    pub fn huge_pages(mut self, yes: bool) -> Self {
        self.backing.huge_pages = yes;
        self
    }

    /// Attaches to the ring `name`, waiting for it if need be.
    ///
    /// # Errors
    /// [`InvalidName`](QADataSwapError::InvalidName), [`NotFound`](QADataSwapError::NotFound) if there
    /// is no such ring in time, [`ReadTimeout`](QADataSwapError::ReadTimeout) if there is one and it
    /// does not get ready in time, [`PermissionDenied`](QADataSwapError::PermissionDenied),
    /// [`VersionMismatch`](QADataSwapError::VersionMismatch), [`Damaged`](QADataSwapError::Damaged).
    pub fn attach(&self, name: &str) -> Result<Reader> {
        Reader::attach(RingName::new(name)?, self.clone())
    }
}
