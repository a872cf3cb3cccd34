//! [`Reader`]: the consuming handle.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use super::attach::{self, Registration};
use super::{OnOverrun, ReaderOptions, ReaderStats, check_fork};
use crate::error::{QADataSwapError, Result};
use crate::layout::{DataSegment, RingState, SlotTable};
use crate::name::RingName;
use crate::ring::consume::{Cursor, Found, Look, Message};
use crate::ring::{wake, words};
use crate::shm;
use crate::sync::{AtomicU64, Ordering, load_acquire, load_acquire_u32};
use crate::wait::{Step, Wait, futex_wait};

/// How often a reader that finds nothing looks whether its segment still is the ring's.
const ORPHAN_CHECK: Duration = Duration::from_millis(100);
/// Looks that find nothing between two looks at the clock, for readers that never wait.
const LOOKS_PER_ORPHAN_CLOCK: u32 = 1024;
/// Copies in a row that may be spoilt by the writer before the time limit is looked at.
const FREE_RETRIES: u32 = 64;

/// A reader of a ring. Every reader sees every message; no reader can slow the writer or another.
///
/// A reader can move to another thread, but not be shared between threads: give each its own.
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<qadataswap::Reader>();
/// ```
///
/// All reads take a time limit in milliseconds: 0 does not wait, `u64::MAX` waits for ever. `Ok(None)`
/// means that no message came in time. A reader that was lapped by the writer goes on with a message
/// that is still there and counts exactly what it lost (see [`ReaderStats::lost`] and [`OnOverrun`]).
///
/// ```
/// use qadataswap::{create_reader, create_writer};
///
/// let name = format!("doc-reader-{}", std::process::id());
/// let writer = create_writer(&name, 4)?;
/// let reader = create_reader(&name)?;
/// for n in 0..10u8 {
///     writer.write(&[n])?;
/// }
/// let mut seen = 0;
/// while let Some(message) = reader.read(0)? {
///     assert!(message[0] >= 6); // four slots: the others are overwritten
///     seen += 1;
/// }
/// assert_eq!(reader.stats().consumed, seen);
/// assert_eq!(reader.stats().consumed + reader.stats().lost, 10);
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    inner: RefCell<Inner>,
    /// The fork generation the handle was made in.
    made_in: u64,
}

/// One message as its record batches, made by [`Reader::read_batches`].
///
/// ```
/// let rows = |table: &qadataswap::Batches| -> usize {
///     table.batches.iter().map(|batch| batch.num_rows()).sum()
/// };
/// # let schema = std::sync::Arc::new(qadataswap::arrow_schema::Schema::empty());
/// # assert_eq!(rows(&qadataswap::Batches { schema, batches: vec![] }), 0);
/// ```
#[cfg(feature = "arrow")]
#[derive(Clone, Debug, PartialEq)]
pub struct Batches {
    /// Schema of the message, there even if it has no batch.
    pub schema: arrow_schema::SchemaRef,
    /// The batches as they were published.
    pub batches: Vec<arrow_array::RecordBatch>,
}

/// What the `&self` methods work on. No method calls back into user code while it is borrowed.
#[derive(Debug)]
struct Inner {
    name: RingName,
    options: ReaderOptions,
    data: DataSegment,
    cursor: Cursor,
    registration: Option<Registration>,
    consumed: u64,
    lost: u64,
    overruns: u64,
    timeouts: u64,
    /// When the segment was last found to be the ring's.
    checked: Instant,
    looks_since_check: u32,
}

impl Reader {
    pub(super) fn attach(name: RingName, options: ReaderOptions) -> Result<Self> {
        let data = attach::data_segment(&name, &options)?;
        let registration = options.register.then(|| Registration::new(&name, &data)).flatten();
        let cursor = attach::cursor(&name, &data, options.start)?;
        let inner = Inner {
            name,
            options,
            data,
            cursor,
            registration,
            consumed: 0,
            lost: 0,
            overruns: 0,
            timeouts: 0,
            checked: Instant::now(),
            looks_since_check: 0,
        };
        inner.show();
        Ok(Self { inner: RefCell::new(inner), made_in: shm::fork_generation() })
    }

    /// Reads the next message into `buffer` and gives its length in bytes. Allocates nothing.
    ///
    /// # Errors
    /// [`BufferTooSmall`](QADataSwapError::BufferTooSmall), and the message is not consumed;
    /// [`Closed`](QADataSwapError::Closed) when the writer has ended the ring and everything is
    /// consumed; [`Overrun`](QADataSwapError::Overrun) if the options ask for it;
    /// [`CorruptMessage`](QADataSwapError::CorruptMessage); [`Forked`](QADataSwapError::Forked).
    ///
    /// ```
    /// # let name = format!("doc-read-into-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// writer.write(b"abc")?;
    /// let mut buffer = [0; 64];
    /// let length = reader.read_into(&mut buffer, 1_000)?.expect("just published");
    /// assert_eq!(&buffer[..length], b"abc");
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[inline]
    pub fn read_into(&self, buffer: &mut [u8], timeout_ms: u64) -> Result<Option<usize>> {
        self.receive(timeout_ms, |_, message| {
            let available_bytes = buffer.len();
            let Some(out) = buffer.get_mut(..message.length) else {
                let needed_bytes = message.length;
                return Err(QADataSwapError::BufferTooSmall { needed_bytes, available_bytes });
            };
            words::load(message.words, as_uninit(out));
            Ok(message.length)
        })
    }

    /// Reads the next message into a vector of its own.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into), but no buffer is too small.
    ///
    /// ```
    /// # let name = format!("doc-read-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// assert_eq!(reader.read(0)?, None); // nothing yet
    /// writer.write(b"abc")?;
    /// assert_eq!(reader.read(0)?, Some(b"abc".to_vec()));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn read(&self, timeout_ms: u64) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        Ok(self.read_to(&mut out, timeout_ms)?.then_some(out))
    }

    /// Reads the next message into `out`, replacing what it held and reusing its memory. `false` means
    /// that no message came in time, and `out` is empty.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// ```
    /// # let name = format!("doc-read-to-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// let mut message = Vec::new();
    /// writer.write(b"abc")?;
    /// while reader.read_to(&mut message, 0)? {
    ///     println!("{} bytes", message.len());
    /// }
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn read_to(&self, out: &mut Vec<u8>, timeout_ms: u64) -> Result<bool> {
        out.clear();
        let read = self.receive(timeout_ms, |found, message| {
            out.clear();
            // A length that is not the message's must not make a large allocation.
            if message.length > out.capacity() && !found.is_intact() {
                return Ok(());
            }
            out.reserve(message.length);
            words::load(message.words, &mut out.spare_capacity_mut()[..message.length]);
            // SAFETY: as many bytes were just reserved and initialised.
            unsafe { out.set_len(message.length) };
            Ok(())
        });
        if !matches!(read, Ok(Some(()))) {
            // What a spoilt copy may have left.
            out.clear();
        }
        Ok(read?.is_some())
    }

    /// Reads the next message as one value of a fixed-size type.
    ///
    /// # Errors
    /// [`SizeMismatch`](QADataSwapError::SizeMismatch) if the message has another size, and it is not
    /// consumed; otherwise as [`read_into`](Self::read_into).
    ///
    /// ```
    /// # let name = format!("doc-read-value-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// writer.write_value(&[1u64, 2, 3])?;
    /// assert_eq!(reader.read_value::<[u64; 3]>(0)?, Some([1, 2, 3]));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[cfg(feature = "typed")]
    #[inline]
    pub fn read_value<T: zerocopy::FromBytes>(&self, timeout_ms: u64) -> Result<Option<T>> {
        self.receive(timeout_ms, |_, message| {
            let expected_bytes = size_of::<T>();
            if message.length != expected_bytes {
                let found_bytes = message.length;
                return Err(QADataSwapError::SizeMismatch { found_bytes, expected_bytes });
            }
            let mut value = MaybeUninit::<T>::uninit();
            // SAFETY: the slice covers exactly `value`, whose bytes need not be initialised.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(
                    value.as_mut_ptr().cast::<MaybeUninit<u8>>(),
                    expected_bytes,
                )
            };
            words::load(message.words, bytes);
            // SAFETY: every byte was initialised, and any bytes are a value of T (FromBytes).
            Ok(unsafe { value.assume_init() })
        })
    }

    /// Reads the next message as one record batch: as it was published, or its batches concatenated if
    /// there were several (an empty batch if there were none).
    ///
    /// # Errors
    /// [`ArrowError`](QADataSwapError::ArrowError) if the message is not a sound Arrow IPC stream; it
    /// has then been consumed. Otherwise as [`read`](Self::read).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use qadataswap::arrow_array::{Int64Array, RecordBatch};
    ///
    /// # let name = format!("doc-read-arrow-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// assert_eq!(reader.read_arrow(0)?, None); // nothing yet
    /// let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
    /// writer.write_arrow(&batch)?;
    /// assert_eq!(reader.read_arrow(3_000)?, Some(batch));
    /// # writer.unlink()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "arrow")]
    pub fn read_arrow(&self, timeout_ms: u64) -> Result<Option<arrow_array::RecordBatch>> {
        match self.read_stream(timeout_ms)? {
            Some(stream) => Ok(Some(stream.into_one_batch()?)),
            None => Ok(None),
        }
    }

    /// Reads the next message as the record batches that were published in it.
    ///
    /// # Errors
    /// As [`read_arrow`](Self::read_arrow).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use qadataswap::arrow_schema::{DataType, Field, Schema};
    ///
    /// # let name = format!("doc-read-batches-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// let schema = Arc::new(Schema::new(vec![Field::new("price", DataType::Float64, false)]));
    /// writer.write_batches(&schema, &[])?;
    /// let table = reader.read_batches(0)?.expect("just published");
    /// assert_eq!((table.schema, table.batches.len()), (schema, 0));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[cfg(feature = "arrow")]
    pub fn read_batches(&self, timeout_ms: u64) -> Result<Option<Batches>> {
        let stream = self.read_stream(timeout_ms)?;
        Ok(stream.map(|stream| Batches { schema: stream.schema, batches: stream.batches }))
    }

    #[cfg(feature = "arrow")]
    fn read_stream(&self, timeout_ms: u64) -> Result<Option<crate::codec::DecodedStream>> {
        use arrow_buffer::{Buffer, MutableBuffer};
        let copy = self.receive(timeout_ms, |found, message| {
            // A length that is not the message's must not make a large allocation.
            if !found.is_intact() {
                return Ok(Buffer::default());
            }
            let mut copy = MutableBuffer::with_capacity(message.length);
            // SAFETY: the buffer has capacity for that many bytes, which need not be initialised.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(
                    copy.as_mut_ptr().cast::<MaybeUninit<u8>>(),
                    message.length,
                )
            };
            words::load(message.words, bytes);
            // SAFETY: `load` initialised them all.
            unsafe { copy.set_len(message.length) };
            Ok(Buffer::from(copy))
        })?;
        match copy {
            Some(bytes) => Ok(Some(crate::codec::decode_stream(bytes, false)?)),
            None => Ok(None),
        }
    }

    /// Passes over the next message without reading it; `false` if there is none. It counts as
    /// consumed.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into), but no buffer is too small.
    ///
    /// ```
    /// # let name = format!("doc-skip-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// writer.write(b"not wanted")?;
    /// writer.write(b"wanted")?;
    /// assert!(reader.skip()?);
    /// assert_eq!(reader.read(0)?.as_deref(), Some(&b"wanted"[..]));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn skip(&self) -> Result<bool> {
        Ok(self.receive(0, |_, _| Ok(()))?.is_some())
    }

    /// The ring's name.
    ///
    /// ```
    /// # let name = format!("doc-reader-name-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// assert_eq!(qadataswap::create_reader(&name)?.name(), name);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn name(&self) -> String {
        self.inner.borrow().name.as_str().to_owned()
    }

    /// Counters, exact at the time of the call.
    ///
    /// ```
    /// # let name = format!("doc-reader-stats-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// writer.write(b"one")?;
    /// assert_eq!((reader.stats().consumed, reader.stats().lag), (0, 1));
    /// reader.read(0)?;
    /// assert_eq!((reader.stats().consumed, reader.stats().lag), (1, 0));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn stats(&self) -> ReaderStats {
        let inner = self.inner.borrow();
        let position = inner.cursor.position().get();
        ReaderStats {
            consumed: inner.consumed,
            lost: inner.lost,
            overruns: inner.overruns,
            timeouts: inner.timeouts,
            position,
            lag: inner.published().saturating_sub(position),
            registered: inner.registration.is_some(),
        }
    }

    /// Waits for the next message and has `take` copy it out.
    ///
    /// `take` may see torn data; what it returns counts only if the slot was intact afterwards. It is
    /// called again for another message if it was not. If it refuses an intact message, that message is
    /// not consumed.
    #[inline(always)]
    fn receive<R>(
        &self,
        timeout_ms: u64,
        mut take: impl FnMut(&Found<'_>, &Message<'_>) -> Result<R>,
    ) -> Result<Option<R>> {
        check_fork(self.made_in)?;
        let inner = &mut *self.inner.borrow_mut();
        let mut wait = Wait::new(inner.options.wait, timeout_ms);
        let mut retries = 0;
        loop {
            match inner.cursor.look(&inner.data) {
                Look::Message(found) => {
                    let taken = found.message().map(|message| take(&found, &message));
                    if found.is_intact() {
                        return match taken {
                            Ok(Ok(value)) => {
                                let missing = inner.cursor.advance(&found);
                                inner.count_consumed(missing);
                                Ok(Some(value))
                            }
                            Ok(Err(refused)) => Err(refused),
                            Err((field, value)) => {
                                let missing = inner.cursor.advance(&found);
                                Err(inner.count_corrupt(missing, field, value))
                            }
                        };
                    }
                    // Overwritten meanwhile; the next look says by how much.
                    retries += 1;
                }
                Look::Lapped => {
                    retries += 1;
                    if let Some(lost) = inner.cursor.resume(&inner.data)
                        && let Some(error) = inner.count_overrun(lost)
                    {
                        return Err(error);
                    }
                }
                Look::Nothing => {
                    if !inner.wait(&mut wait)? {
                        return Ok(None);
                    }
                    continue;
                }
            }
            if retries > FREE_RETRIES {
                retries = 0;
                if inner.leave_ended()? {
                    continue;
                }
                inner.check_lapping()?;
                if wait.step(false) == Step::Expired {
                    inner.count_timeout();
                    return Ok(None);
                }
            }
        }
    }
}

/// A buffer seen as memory to be filled.
fn as_uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let (start, len) = (bytes.as_mut_ptr(), bytes.len());
    // SAFETY: same memory, same length, and u8 has the layout of MaybeUninit<u8>; the only function
    // that gets it (`words::load`) stores initialised bytes to all of it.
    unsafe { std::slice::from_raw_parts_mut(start.cast(), len) }
}

impl Inner {
    /// After a look that found nothing: waits a little. `false` if the time is up.
    #[inline(always)]
    fn wait(&mut self, wait: &mut Wait) -> Result<bool> {
        let step = wait.step(self.registration.is_some());
        if step == Step::Poll {
            return Ok(true);
        }
        self.wait_slowly(step)
    }

    fn wait_slowly(&mut self, step: Step) -> Result<bool> {
        if self.follow(step)? {
            return Ok(true);
        }
        match step {
            Step::Poll | Step::PollAll => {}
            Step::Expired => {
                self.count_timeout();
                return Ok(false);
            }
            Step::Sleep(limit) => {
                let live = self.data.live();
                let token = match &self.registration {
                    Some(registration) => wake::announce(live, registration.waiters()),
                    None => load_acquire_u32(&live.wake_sequence),
                };
                // Published, ended or superseded since the last look? All of these move the word on
                // after this, if not before.
                if self.state()? == RingState::Open
                    && matches!(self.cursor.look(&self.data), Look::Nothing)
                {
                    futex_wait(&live.wake_sequence, token, limit);
                }
            }
        }
        Ok(true)
    }

    /// One past the last position published, in whatever segment.
    fn published(&self) -> u64 {
        if let Ok(RingState::Superseded) = self.state()
            && let Ok(next) = attach::try_data_segment(&self.name, &self.options)
            && next.identity().ring_id == self.data.identity().ring_id
        {
            return load_acquire(&next.live().published);
        }
        load_acquire(&self.data.live().published)
    }

    fn state(&self) -> Result<RingState> {
        // Acquire: whoever sees the ring ended sees all that was published before.
        let word = load_acquire_u32(&self.data.header().owner.state);
        RingState::from_word(word).ok_or_else(|| QADataSwapError::Damaged {
            name: self.name.as_str().to_owned(),
            field: "state",
            found: word.into(),
            expected: RingState::Superseded as u64,
        })
    }

    /// Looks at what changes rarely. `true` if there may be a message after all; an error if there will
    /// be none.
    fn follow(&mut self, step: Step) -> Result<bool> {
        match self.state()? {
            RingState::Open => self.check_orphan(step),
            ended => {
                // What was published before the end is visible by now.
                if !matches!(self.cursor.look(&self.data), Look::Nothing) {
                    return Ok(true);
                }
                match ended {
                    RingState::Superseded => self.attach_next(),
                    _ => Err(QADataSwapError::Closed),
                }
            }
        }
    }

    /// Every now and then: whether the segment still is the ring's.
    fn check_orphan(&mut self, step: Step) -> Result<bool> {
        // A reader that polls without waiting should not pay for the clock each time.
        self.looks_since_check += 1;
        if step == Step::Expired && self.looks_since_check < LOOKS_PER_ORPHAN_CLOCK {
            return Ok(false);
        }
        self.looks_since_check = 0;
        if self.checked.elapsed() < ORPHAN_CHECK {
            return Ok(false);
        }
        self.checked = Instant::now();
        if self.registration.as_ref().is_none_or(Registration::is_orphaned) && self.options.register
        {
            self.registration = Registration::new(&self.name, &self.data);
            self.show();
        }
        let on_ring = |error: shm::SysError| error.on_ring(self.name.as_str());
        let unlinked = self.data.segment().is_unlinked().map_err(on_ring)?;
        if !unlinked || self.data.has_live_writer().map_err(on_ring)? {
            return Ok(false);
        }
        // Its last writer may have published just before it died.
        if !matches!(self.cursor.look(&self.data), Look::Nothing) {
            return Ok(true);
        }
        self.attach_next()
    }

    /// Goes on in the segment that has the ring's name now.
    fn attach_next(&mut self) -> Result<bool> {
        // Marked superseded and not superseded: a damaged mark. Whoever takes the ring over puts it right.
        let on_ring = |error: shm::SysError| error.on_ring(self.name.as_str());
        if !self.data.segment().is_unlinked().map_err(on_ring)? {
            return Ok(false);
        }
        let next = match attach::try_data_segment(&self.name, &self.options) {
            // Removed, or removed and made anew: either way this ring has ended.
            Err(QADataSwapError::NotFound { .. }) => return Err(QADataSwapError::Closed),
            Err(QADataSwapError::ReadTimeout) => return Ok(false),
            result => result?,
        };
        if next.identity().ring_id != self.data.identity().ring_id {
            return Err(QADataSwapError::Closed);
        }
        self.data = next;
        self.checked = Instant::now();
        // The ring may have moved more than once meanwhile, so that this segment begins later.
        let known = self.data.identity().first_position..=load_acquire(&self.data.live().published);
        if !known.contains(&self.cursor.position().get()) {
            let oldest = attach::cursor(&self.name, &self.data, crate::Start::Oldest)?;
            let lost = self.cursor.jump(oldest.position(), oldest.sequence());
            if let Some(error) = self.count_overrun(lost) {
                return Err(error);
            }
        }
        Ok(true)
    }

    /// After many overruns in a row without progress: leaves a ring that has ended. Nobody writes into it any
    /// more, so that what cannot be read now never can.
    #[cold]
    fn leave_ended(&mut self) -> Result<bool> {
        let ended = self.state()?;
        if ended == RingState::Open {
            return Ok(false);
        }
        // The looks so far may have been before the end: what is there now stays.
        if let Look::Message(found) = self.cursor.look(&self.data)
            && found.is_intact()
        {
            return Ok(true);
        }
        if let Some(lost) = self.cursor.resume(&self.data) {
            return self.count_overrun(lost).map_or(Ok(true), Err);
        }
        match ended {
            RingState::Superseded => self.attach_next(),
            _ => Err(QADataSwapError::Closed),
        }
    }

    /// After many overruns in a row without progress: whether the slot can be true at all.
    #[cold]
    fn check_lapping(&mut self) -> Result<()> {
        let slot_count = self.data.slot_count();
        let slot = self.data.slot(self.cursor.position().index(slot_count));
        let word = load_acquire(&slot.head.generation);
        let published = load_acquire(&self.data.live().published);
        // A writer is at most one lap of skipped slots ahead of what it announced.
        let limit = published.saturating_add(slot_count);
        if word >> 2 > limit {
            return Err(QADataSwapError::Damaged {
                name: self.name.as_str().to_owned(),
                field: "slot generation",
                found: word,
                expected: limit << 2,
            });
        }
        Ok(())
    }

    #[inline(always)]
    fn count_consumed(&mut self, missing: u64) {
        self.consumed += 1;
        self.lost = self.lost.saturating_add(missing);
        if let Some(registration) = &self.registration {
            let entry = registration.entry();
            // Relaxed: for operators.
            entry.position.store(self.cursor.position().get(), Ordering::Relaxed);
            entry.consumed.store(self.consumed, Ordering::Relaxed);
        }
    }

    fn count_overrun(&mut self, lost: u64) -> Option<QADataSwapError> {
        if lost == 0 {
            return None;
        }
        self.lost = self.lost.saturating_add(lost);
        self.overruns += 1;
        self.show();
        (self.options.on_overrun == OnOverrun::Error).then_some(QADataSwapError::Overrun { lost })
    }

    fn count_timeout(&mut self) {
        self.timeouts += 1;
        if let Some(registration) = &self.registration {
            registration.entry().timeouts.store(self.timeouts, Ordering::Relaxed);
        }
    }

    /// Gives up the message just passed, which cannot be what was published.
    #[cold]
    fn count_corrupt(&mut self, missing: u64, field: &'static str, found: u64) -> QADataSwapError {
        self.lost = self.lost.saturating_add(missing + 1);
        self.show();
        let position = self.cursor.position().get() - 1;
        QADataSwapError::CorruptMessage { position, field, found }
    }

    /// Brings the reader's entry up to date.
    fn show(&self) {
        let Some(registration) = &self.registration else { return };
        let entry = registration.entry();
        let shown: [(&AtomicU64, u64); 5] = [
            (&entry.position, self.cursor.position().get()),
            (&entry.consumed, self.consumed),
            (&entry.lost, self.lost),
            (&entry.overruns, self.overruns),
            (&entry.timeouts, self.timeouts),
        ];
        for (word, value) in shown {
            // Relaxed: for operators.
            word.store(value, Ordering::Relaxed);
        }
    }
}
