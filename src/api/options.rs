//! What a writer and a reader can be told when they are made.
//!
//! Long because each option has its units and an example.

use crate::error::{QADataSwapError, Result};
use crate::layout::{Geometry, LEASES_PER_ENTRY, MAX_PAYLOAD_BYTES};
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
/// Leases a reader may have at a time, unless told otherwise.
const DEFAULT_MAX_LEASES: usize = 4;

/// What a reader does when the writer has lapped it.
///
/// ```
/// use qadataswap::{OnOverrun, QADataSwapError, ReaderOptions, create_writer};
///
/// let name = format!("doc-on-overrun-{}", std::process::id());
/// let writer = create_writer(&name, 4)?;
/// let reader = ReaderOptions::new().on_overrun(OnOverrun::Error).attach(&name)?;
/// for n in 0..10u8 {
///     writer.write(&[n])?;
/// }
/// // Ten were published into four slots; the reader goes on half a ring behind the writer.
/// assert!(matches!(reader.read(0), Err(QADataSwapError::Overrun { lost: 8 })));
/// assert_eq!(reader.read(0)?, Some(vec![8]));
/// writer.unlink()?;
/// # Ok::<(), QADataSwapError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOverrun {
    /// Go on with a message that is still there, and count what was lost in
    /// [`ReaderStats::lost`](crate::ReaderStats::lost).
    #[default]
    Resume,
    /// Do the same, but return [`QADataSwapError::Overrun`] first.
    Error,
}

/// What a writer does when a lossless reader ([`ReaderOptions::lossless`]) is a whole ring behind, so that the
/// next message would overwrite one that it has not consumed.
///
/// A reader that has died is never waited for. Lossy readers do not count.
///
/// ```
/// use qadataswap::{OnSlowReader, QADataSwapError, ReaderOptions, WriterOptions};
///
/// let name = format!("doc-on-slow-reader-{}", std::process::id());
/// let writer = WriterOptions::new(2).on_slow_reader(OnSlowReader::Refuse).create(&name)?;
/// let reader = ReaderOptions::new().lossless(true).attach(&name)?;
/// writer.write(b"1")?;
/// writer.write(b"2")?;
/// assert!(matches!(writer.write(b"3"), Err(QADataSwapError::WouldBlock { behind: 2, .. })));
/// assert_eq!(reader.read(0)?.as_deref(), Some(&b"1"[..]));
/// writer.write(b"3")?; // there is room now
/// writer.unlink()?;
/// # Ok::<(), QADataSwapError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSlowReader {
    /// Wait until it has consumed a message, for this many milliseconds at most (`u64::MAX`: for ever); then
    /// refuse the write with [`QADataSwapError::WouldBlock`]. The default, with 5,000.
    Wait {
        /// Longest wait of one write, in milliseconds.
        limit_ms: u64,
    },
    /// Refuse the write at once with [`QADataSwapError::WouldBlock`]; it can be tried again. May also happen
    /// for the microsecond that a lossless reader takes to attach.
    Refuse,
    /// Wait for this many milliseconds; then overwrite what the reader has not consumed. Its next read is
    /// told so ([`QADataSwapError::Evicted`]).
    Evict {
        /// Longest wait for one reader, in milliseconds. (A write that meets one after the other waits for each.)
        grace_ms: u64,
    },
}

impl Default for OnSlowReader {
    fn default() -> Self {
        Self::Wait { limit_ms: 5_000 }
    }
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
    pub(crate) on_slow_reader: OnSlowReader,
    pub(crate) holds: bool,
    pub(crate) backing: Backing,
}

impl WriterOptions {
    /// A ring of `slot_count` slots (1 to 16,777,216): how many messages a reader may be behind before
    /// it loses some.
    ///
    /// ```
    /// use qadataswap::{QADataSwapError, WriterOptions};
    ///
    /// let none = WriterOptions::new(0).create("any-name");
    /// assert!(matches!(none, Err(QADataSwapError::InvalidOption { option: "slot_count", .. })));
    /// ```
    pub fn new(slot_count: usize) -> Self {
        Self {
            slot_count: slot_count as u64,
            slot_capacity: None,
            rollover: true,
            mode: 0o600,
            control_mode: None,
            on_slow_reader: OnSlowReader::default(),
            holds: true,
            backing: Backing::default(),
        }
    }

    /// Largest message in bytes (1 to 4,294,963,200). Default: 16 MiB, less if there are more than
    /// 1,024 slots.
    ///
    /// This is address space. Memory is taken only for what messages use: a slot keeps the pages of
    /// the largest message it ever held.
    ///
    /// ```
    /// use qadataswap::WriterOptions;
    ///
    /// let options = WriterOptions::new(64).slot_capacity(1500); // datagrams
    /// # options.create(&format!("doc-writer-option-slot-capacity-{}", std::process::id()))?.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn slot_capacity(mut self, bytes: usize) -> Self {
        self.slot_capacity = Some(bytes as u64);
        self
    }

    /// Whether a larger message makes the ring move to a segment with larger slots (default), or is
    /// refused with [`QADataSwapError::MessageTooLarge`].
    ///
    /// Readers follow by themselves and lose nothing. The write that causes it takes longer: the
    /// messages in the ring are copied.
    ///
    /// ```
    /// use qadataswap::WriterOptions;
    ///
    /// let options = WriterOptions::new(64).slot_capacity(1500).rollover(false);
    /// # options.create(&format!("doc-writer-option-rollover-{}", std::process::id()))?.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn rollover(mut self, allowed: bool) -> Self {
        self.rollover = allowed;
        self
    }

    /// File mode of the shared memory, default `0o600`: readers of the same user. With `0o644` other
    /// users may read; the process's umask does not apply.
    ///
    /// ```
    /// use qadataswap::WriterOptions;
    ///
    /// let options = WriterOptions::new(64).mode(0o644);
    /// # options.create(&format!("doc-writer-option-mode-{}", std::process::id()))?.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// File mode of the control segment; default: as [`mode`](Self::mode), though only for those who may also
    /// write. Who may write to it can register: be seen in lists and woken from sleep, lease messages, be
    /// lossless. Who may not still reads, and waits in slices of at most a millisecond. Who may only read it
    /// can see who else reads, and can keep others from registering, with locks.
    ///
    /// ```
    /// use qadataswap::WriterOptions;
    ///
    /// // Other users may read and register.
    /// let options = WriterOptions::new(64).mode(0o644).control_mode(0o666);
    /// # options.create(&format!("doc-writer-option-control-mode-{}", std::process::id()))?.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn control_mode(mut self, mode: u32) -> Self {
        self.control_mode = Some(mode);
        self
    }

    /// What happens when a lossless reader is a whole ring behind. Default: wait for up to five seconds,
    /// then refuse the write.
    ///
    /// ```
    /// use qadataswap::{OnSlowReader, WriterOptions};
    ///
    /// let options = WriterOptions::new(64).on_slow_reader(OnSlowReader::Evict { grace_ms: 100 });
    /// # options.create(&format!("doc-writer-option-slow-{}", std::process::id()))?.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn on_slow_reader(mut self, action: OnSlowReader) -> Self {
        self.on_slow_reader = action;
        self
    }

    /// Whether readers may hold messages: lease them, or be lossless. Default: yes. Without, a write is some
    /// nanoseconds cheaper, and readers that want to hold something are refused.
    ///
    /// ```
    /// use qadataswap::{HoldsReason, QADataSwapError, ReaderOptions, WriterOptions};
    ///
    /// # let name = format!("doc-writer-option-holds-{}", std::process::id());
    /// let writer = WriterOptions::new(64).holds(false).create(&name)?;
    /// let refused = ReaderOptions::new().lossless(true).attach(&name).unwrap_err();
    /// assert!(matches!(
    ///     refused,
    ///     QADataSwapError::HoldsUnavailable { reason: HoldsReason::Disabled, .. }
    /// ));
    /// # writer.unlink()?;
    /// # Ok::<(), QADataSwapError>(())
    /// ```
    pub fn holds(mut self, allowed: bool) -> Self {
        self.holds = allowed;
        self
    }

    /// Allocate and fault in all memory of the ring when it is made, rather than slot by slot on first
    /// use. Give a [`slot_capacity`](Self::slot_capacity) with it: the default is 16 MiB a slot.
    ///
    /// ```
    /// use qadataswap::WriterOptions;
    ///
    /// let options = WriterOptions::new(64).slot_capacity(1500).prefault(true);
    /// # options.create(&format!("doc-writer-option-prefault-{}", std::process::id()))?.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn prefault(mut self, yes: bool) -> Self {
        self.backing.prefault = yes;
        self
    }

    /// Keep the ring's pages in memory once they are there (`mlock2`; mind `ulimit -l`, which counts
    /// the address space of the whole ring).
    ///
    /// ```
    /// use qadataswap::WriterOptions;
    ///
    /// let options = WriterOptions::new(64).slot_capacity(1500).lock_memory(true);
    /// # let _ = options; // creating it may exceed the limit of locked memory
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn lock_memory(mut self, yes: bool) -> Self {
        self.backing.lock = yes;
        self
    }

    /// Ask for transparent huge pages (advice; needs `shmem_enabled` set to `advise` in
    /// `/sys/kernel/mm/transparent_hugepage`).
    ///
    /// ```
    /// use qadataswap::WriterOptions;
    ///
    /// let options = WriterOptions::new(8).slot_capacity(64 << 20).huge_pages(true);
    /// # options.create(&format!("doc-writer-option-huge-pages-{}", std::process::id()))?.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn huge_pages(mut self, yes: bool) -> Self {
        self.backing.huge_pages = yes;
        self
    }

    /// Creates the ring, or takes it over if its writer is gone.
    ///
    /// # Errors
    /// [`InvalidName`](QADataSwapError::InvalidName), [`InvalidOption`](QADataSwapError::InvalidOption),
    /// [`WriterAlive`](QADataSwapError::WriterAlive) if the ring has a live writer,
    /// [`Obstructed`](QADataSwapError::Obstructed) if a lock of some other process keeps writers out,
    /// [`WouldBlock`](QADataSwapError::WouldBlock) if the ring is to get fewer slots than a lossless reader
    /// is behind, [`NoSpace`](QADataSwapError::NoSpace), [`VersionMismatch`](QADataSwapError::VersionMismatch) or
    /// [`Damaged`](QADataSwapError::Damaged) if the name holds something else than a ring of this
    /// version.
    ///
    /// ```
    /// use qadataswap::{QADataSwapError, WriterOptions};
    ///
    /// let name = format!("doc-create-{}", std::process::id());
    /// let writer = WriterOptions::new(4).create(&name)?;
    /// let second = WriterOptions::new(4).create(&name);
    /// assert!(matches!(second, Err(QADataSwapError::WriterAlive { .. })));
    /// drop(writer);
    /// let next = WriterOptions::new(4).create(&name)?; // takes over
    /// assert_eq!(next.stats().epoch, 2);
    /// next.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
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

    /// File mode of the control segment.
    pub(crate) fn mode_of_control(&self) -> u32 {
        self.control_mode.unwrap_or_else(|| {
            let may_write = self.mode & 0o222;
            may_write | self.mode & may_write << 1
        })
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
    pub(crate) lossless: bool,
    pub(crate) max_leases: usize,
    pub(crate) writable_mapping: bool,
    pub(crate) backing: Backing,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ReaderOptions {
    /// The defaults.
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// # let name = format!("doc-reader-options-new-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = ReaderOptions::new().attach(&name)?; // as create_reader does
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn new() -> Self {
        Self {
            start: Start::Oldest,
            wait: WaitStrategy::default(),
            on_overrun: OnOverrun::Resume,
            attach_timeout_ms: DEFAULT_ATTACH_TIMEOUT_MS,
            register: true,
            lossless: false,
            max_leases: DEFAULT_MAX_LEASES,
            writable_mapping: false,
            backing: Backing::default(),
        }
    }

    /// Which message comes first. Default: the oldest still in the ring.
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().start(qadataswap::Start::Next);
    /// # let name = format!("doc-reader-option-start-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = options.attach(&name)?;
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How reads wait. Default: poll for 50 us, then sleep.
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().wait(qadataswap::WaitStrategy::Sleep);
    /// # let name = format!("doc-reader-option-wait-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = options.attach(&name)?;
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn wait(mut self, strategy: WaitStrategy) -> Self {
        self.wait = strategy;
        self
    }

    /// What happens when the writer laps this reader. Default: go on and count the loss.
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().on_overrun(qadataswap::OnOverrun::Error);
    /// # let name = format!("doc-reader-option-on-overrun-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = options.attach(&name)?;
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn on_overrun(mut self, action: OnOverrun) -> Self {
        self.on_overrun = action;
        self
    }

    /// How long, in milliseconds, [`attach`](Self::attach) waits for the ring to be there. Default:
    /// 5,000; 0 does not wait, `u64::MAX` waits for ever.
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().attach_timeout_ms(u64::MAX);
    /// # let name = format!("doc-reader-option-attach-timeout-ms-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = options.attach(&name)?;
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn attach_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.attach_timeout_ms = timeout_ms;
        self
    }

    /// Whether to register in the ring's control segment, so that the reader is listed and is woken
    /// from sleep. Default: yes, where it is allowed and one of the 64 entries is free. Without, the
    /// reader only ever reads, and sleeps in slices of at most a millisecond.
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().register(false);
    /// # let name = format!("doc-reader-option-register-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = options.attach(&name)?;
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn register(mut self, yes: bool) -> Self {
        self.register = yes;
        self
    }

    /// Whether the reader must not lose messages: from the moment it is attached, the writer overwrites
    /// nothing that it has not consumed. Default: no.
    ///
    /// What the writer does when such a reader is a whole ring behind is the writer's option
    /// ([`WriterOptions::on_slow_reader`]). Needs write access to the control segment.
    ///
    /// ```
    /// use qadataswap::{ReaderOptions, create_writer};
    ///
    /// # let name = format!("doc-reader-option-lossless-{}", std::process::id());
    /// let writer = create_writer(&name, 4)?;
    /// let reader = ReaderOptions::new().lossless(true).attach(&name)?;
    /// let writing = std::thread::spawn(move || {
    ///     (0..1_000u32).try_for_each(|n| writer.write(&n.to_le_bytes())).map(|()| writer)
    /// });
    /// for n in 0..1_000u32 {
    ///     assert_eq!(reader.read(u64::MAX)?, Some(n.to_le_bytes().to_vec()));
    /// }
    /// writing.join().expect("does not panic")?.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn lossless(mut self, yes: bool) -> Self {
        self.lossless = yes;
        self
    }

    /// How many leases, zero-copy batches included, the reader may have at a time (0 to 8). Default: 4.
    ///
    /// ```
    /// use qadataswap::{QADataSwapError, ReaderOptions, create_writer};
    ///
    /// # let name = format!("doc-reader-option-max-leases-{}", std::process::id());
    /// let writer = create_writer(&name, 8)?;
    /// let reader = ReaderOptions::new().max_leases(1).attach(&name)?;
    /// writer.write(b"one")?;
    /// writer.write(b"two")?;
    /// let first = reader.lease(0)?;
    /// assert!(matches!(reader.lease(0), Err(QADataSwapError::TooManyLeases { limit: 1 })));
    /// drop(first);
    /// assert_eq!(reader.lease(0)?.as_deref(), Some(&b"two"[..]));
    /// # writer.unlink()?;
    /// # Ok::<(), QADataSwapError>(())
    /// ```
    pub fn max_leases(mut self, count: usize) -> Self {
        self.max_leases = count;
        self
    }

    /// Fault in the pages that have memory when attaching, rather than on first use.
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().prefault(true);
    /// # let name = format!("doc-reader-option-prefault-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = options.attach(&name)?;
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn prefault(mut self, yes: bool) -> Self {
        self.backing.prefault = yes;
        self
    }

    /// Map the ring writable, although nothing is ever stored to it.
    ///
    /// A line that another core has changed comes to a core that may store to it about a third sooner, on processors
    /// where this was measured (AMD EPYC, see `docs/performance.md`). The price is that a stray store of this process
    /// can spoil the ring for everybody, which a read-only mapping rules out; so it is off unless asked for. It takes
    /// the right to write to the ring: attaching fails with [`PermissionDenied`](QADataSwapError::PermissionDenied)
    /// otherwise.
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().writable_mapping(true);
    /// # let name = format!("doc-reader-option-writable-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = options.attach(&name)?;
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn writable_mapping(mut self, yes: bool) -> Self {
        self.writable_mapping = yes;
        self
    }

    /// Keep the mapped pages in memory once they are there (`mlock2`; mind `ulimit -l`).
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().lock_memory(true);
    /// # let _ = options; // attaching may exceed the limit of locked memory
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn lock_memory(mut self, yes: bool) -> Self {
        self.backing.lock = yes;
        self
    }

    /// Ask for transparent huge pages (advice).
    ///
    /// ```
    /// use qadataswap::ReaderOptions;
    ///
    /// let options = ReaderOptions::new().huge_pages(true);
    /// # let name = format!("doc-reader-option-huge-pages-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = options.attach(&name)?;
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
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
    /// [`VersionMismatch`](QADataSwapError::VersionMismatch), [`Damaged`](QADataSwapError::Damaged),
    /// [`InvalidOption`](QADataSwapError::InvalidOption); for a lossless reader also
    /// [`HoldsUnavailable`](QADataSwapError::HoldsUnavailable), and
    /// [`Evicted`](QADataSwapError::Evicted) if the writer gives it up again and again.
    ///
    /// ```
    /// use qadataswap::{QADataSwapError, ReaderOptions};
    ///
    /// let options = ReaderOptions::new().attach_timeout_ms(0);
    /// assert!(matches!(options.attach("no-such-ring"), Err(QADataSwapError::NotFound { .. })));
    /// assert!(matches!(options.attach("no/such/name"), Err(QADataSwapError::InvalidName)));
    /// ```
    pub fn attach(&self, name: &str) -> Result<Reader> {
        if self.max_leases > LEASES_PER_ENTRY {
            return Err(QADataSwapError::InvalidOption {
                option: "max_leases",
                value: self.max_leases as u64,
                rule: "a reader has room for 0 to 8 leases",
            });
        }
        Reader::attach(RingName::new(name)?, self.clone())
    }
}
