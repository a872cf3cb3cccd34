//! [`Writer`]: the publishing handle.

use std::cell::RefCell;

use super::create::{Ring, end, grown};
use super::held::HoldStats;
use super::pace::Pace;
use super::{OnSlowReader, Reservation, WriterOptions, WriterStats, check_fork, remove_objects};
use crate::error::Result;
use crate::layout::{ControlSegment, DataSegment, RingState, Slot, SlotTable};
use crate::name::RingName;
use crate::ring::hold::EntryMask;
use crate::ring::publish::{Claim, Publisher};
use crate::ring::{Descriptor, MessageKind, wake, words};
use crate::shm;
use crate::sync::{AtomicU64, Ordering};
use crate::wait::futex_wake_all;

/// The one writer of a ring.
///
/// A writer can move to another thread, but not be shared between threads.
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<qadataswap::Writer>();
/// ```
///
/// Dropping it leaves the ring as it is: readers go on waiting, and another writer may continue it. [`close`](Self::close) tells
/// readers that nothing more comes; [`unlink`](Self::unlink) also removes the ring.
///
/// ```
/// use qadataswap::{create_reader, create_writer};
///
/// let name = format!("doc-writer-{}", std::process::id());
/// let writer = create_writer(&name, 8)?;
/// let reader = create_reader(&name)?;
/// let writer = std::thread::spawn(move || writer).join().expect("moves"); // Send
/// writer.write(b"tick")?;
/// assert_eq!(reader.read(1_000)?.as_deref(), Some(&b"tick"[..]));
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    inner: RefCell<Inner>,
    /// The fork generation the handle was made in.
    made_in: u64,
}

/// What the `&self` methods work on. No method calls back into user code while it is borrowed.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) name: RingName,
    pub(super) options: WriterOptions,
    pub(super) ring: Ring,
    pub(super) control: ControlSegment,
    pub(super) holds: HoldStats,
    /// Messages of writers before this one.
    first_sequence: u64,
    /// Their bytes.
    bytes_before: u64,
    /// Bytes of all messages of the ring.
    message_bytes: u64,
    wakes: u64,
    pub(super) pace: Pace,
    pub(super) rollovers: u64,
    #[cfg(feature = "arrow")]
    pub(super) templates: crate::flat::Written,
    /// Memory for what a batch is made of.
    #[cfg(feature = "arrow")]
    pub(super) pieces: crate::flat::Pieces<'static>,
}

impl Writer {
    pub(super) fn new(inner: Inner) -> Self {
        Self { inner: RefCell::new(inner), made_in: shm::fork_generation() }
    }

    /// Publishes `message`: copies it into the next slot and makes it visible to every reader.
    ///
    /// Takes no lock, allocates nothing, and waits for no reader but a lossless one that is a whole ring
    /// behind (see [`OnSlowReader`](crate::OnSlowReader)). A message of up to 40 bytes moves in one cache
    /// line.
    ///
    /// # Errors
    /// [`MessageTooLarge`](crate::QADataSwapError::MessageTooLarge) if it exceeds the slot and the ring
    /// may not grow; [`NoSpace`](crate::QADataSwapError::NoSpace) if a slot is used for the first time
    /// (or for a larger message than before) and `/dev/shm` is full;
    /// [`WouldBlock`](crate::QADataSwapError::WouldBlock) if a lossless reader is in the way;
    /// [`AllSlotsLeased`](crate::QADataSwapError::AllSlotsLeased);
    /// [`Forked`](crate::QADataSwapError::Forked). Nothing was published then.
    #[inline]
    pub fn write(&self, message: &[u8]) -> Result<()> {
        self.write_sized(message)
    }

    /// [`write`](Self::write), where the length may be known to the compiler.
    #[inline(always)]
    fn write_sized(&self, message: &[u8]) -> Result<()> {
        check_fork(self.made_in)?;
        self.inner.borrow_mut().write(Descriptor::BYTES, message)
    }

    /// Publishes the bytes of one value of a fixed-size type.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// ```
    /// use qadataswap::{create_reader, create_writer};
    /// // In Cargo.toml: zerocopy = { version = "0.8", features = ["derive"] }
    /// use zerocopy::{FromBytes, Immutable, IntoBytes};
    ///
    /// #[derive(Debug, PartialEq, FromBytes, IntoBytes, Immutable)]
    /// #[repr(C)]
    /// struct Quote { bid: f64, ask: f64, instrument: u64 }
    ///
    /// let name = format!("doc-write-value-{}", std::process::id());
    /// let writer = create_writer(&name, 8)?;
    /// let reader = create_reader(&name)?;
    /// writer.write_value(&Quote { bid: 1.5, ask: 1.6, instrument: 7 })?;
    /// let quote: Option<Quote> = reader.read_value(1_000)?;
    /// assert_eq!(quote, Some(Quote { bid: 1.5, ask: 1.6, instrument: 7 }));
    /// writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[cfg(feature = "typed")]
    #[inline]
    pub fn write_value<T>(&self, value: &T) -> Result<()>
    where
        T: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized,
    {
        self.write_sized(value.as_bytes())
    }

    /// Opens the next slot for a message of up to `len` bytes to be written in place.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// ```
    /// use std::io::Write as _;
    /// use qadataswap::{create_reader, create_writer};
    ///
    /// let name = format!("doc-reserve-{}", std::process::id());
    /// let mut writer = create_writer(&name, 8)?;
    /// let mut slot = writer.reserve(100)?;
    /// write!(slot, "price={}", 4725.25).expect("fits in 100 bytes");
    /// slot.publish()?;
    /// assert_eq!(create_reader(&name)?.read(0)?.as_deref(), Some(&b"price=4725.25"[..]));
    /// writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>> {
        check_fork(self.made_in)?;
        let inner = self.inner.get_mut();
        if !inner.claim_at_once(Descriptor::BYTES, len) {
            inner.claim(Descriptor::BYTES, len)?;
        }
        inner.ring.forget_in_slot();
        Ok(Reservation::new(inner, len))
    }

    /// Publishes one record batch as one message.
    ///
    /// The slot then holds a complete Arrow IPC stream (schema, dictionaries, the batch), so the schema
    /// may change from one message to the next.
    ///
    /// # Errors
    /// [`ArrowError`](crate::QADataSwapError::ArrowError) if the batch has a type that Arrow IPC cannot
    /// carry; otherwise as [`write`](Self::write).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use qadataswap::arrow_array::{Float64Array, Int64Array, RecordBatch};
    /// use qadataswap::{create_reader, create_writer};
    ///
    /// let batch = RecordBatch::try_from_iter([
    ///     ("price", Arc::new(Float64Array::from(vec![1.0, 2.0])) as _),
    ///     ("volume", Arc::new(Int64Array::from(vec![100, 200])) as _),
    /// ])?;
    /// let name = format!("doc-write-arrow-{}", std::process::id());
    /// let writer = create_writer(&name, 5)?;
    /// writer.write_arrow(&batch)?;
    /// assert_eq!(create_reader(&name)?.read_arrow(3_000)?, Some(batch));
    /// writer.unlink()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "arrow")]
    pub fn write_arrow(&self, batch: &arrow_array::RecordBatch) -> Result<()> {
        self.write_batches(batch.schema_ref(), std::slice::from_ref(batch))
    }

    /// Publishes several record batches of one schema (a table's chunks; none is fine) as one message.
    ///
    /// # Errors
    /// As [`write_arrow`](Self::write_arrow); also if a batch has another schema.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use qadataswap::arrow_array::{Int64Array, RecordBatch};
    /// use qadataswap::{create_reader, create_writer};
    ///
    /// let chunk = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
    /// let name = format!("doc-write-batches-{}", std::process::id());
    /// let writer = create_writer(&name, 5)?;
    /// writer.write_batches(&chunk.schema(), &[chunk.clone(), chunk.clone()])?;
    /// let table = create_reader(&name)?.read_batches(0)?.expect("just published");
    /// assert_eq!(table.batches, [chunk.clone(), chunk]);
    /// writer.unlink()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "arrow")]
    pub fn write_batches(
        &self,
        schema: &arrow_schema::SchemaRef,
        batches: &[arrow_array::RecordBatch],
    ) -> Result<()> {
        check_fork(self.made_in)?;
        self.inner.borrow_mut().write_batches(schema, batches)
    }

    /// Publishes bytes that already are one Arrow IPC stream, made by any Arrow implementation.
    ///
    /// They are not looked at: readers check what they decode.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// ```
    /// # fn stream_from_elsewhere() -> Vec<u8> { b"\xff\xff\xff\xff\0\0\0\0".to_vec() }
    /// let name = format!("doc-write-ipc-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// writer.write_ipc_stream(&stream_from_elsewhere())?;
    /// writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn write_ipc_stream(&self, stream: &[u8]) -> Result<()> {
        check_fork(self.made_in)?;
        self.inner.borrow_mut().write(Descriptor::ARROW_STREAM, stream)
    }

    /// Ends the ring: readers consume what is in it and are then told
    /// [`Closed`](crate::QADataSwapError::Closed). The memory stays, for readers that come later, and a
    /// new writer may reopen it.
    ///
    /// # Errors
    /// [`Forked`](crate::QADataSwapError::Forked).
    ///
    /// ```
    /// use qadataswap::{QADataSwapError, create_reader, create_writer};
    ///
    /// let name = format!("doc-close-{}", std::process::id());
    /// let writer = create_writer(&name, 4)?;
    /// writer.write(b"last")?;
    /// writer.close()?;
    /// let reader = create_reader(&name)?;
    /// assert_eq!(reader.read(0)?.as_deref(), Some(&b"last"[..]));
    /// assert!(matches!(reader.read(u64::MAX), Err(QADataSwapError::Closed)));
    /// qadataswap::unlink(&name)?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn close(self) -> Result<()> {
        check_fork(self.made_in)?;
        end(&self.inner.borrow().ring.data, RingState::Closed);
        Ok(())
    }

    /// Ends the ring like [`close`](Self::close) and removes it. Readers that are attached still
    /// consume what is in it.
    ///
    /// # Errors
    /// [`Forked`](crate::QADataSwapError::Forked); a failed system call.
    ///
    /// ```
    /// let name = format!("doc-writer-unlink-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// writer.unlink()?;
    /// assert!(!qadataswap::list()?.contains(&name));
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn unlink(self) -> Result<()> {
        check_fork(self.made_in)?;
        let inner = self.inner.borrow();
        // If someone removed the ring by hand, the name may by now belong to another.
        let own = inner.ring.data.segment().is_named(&inner.name.data_object());
        end(&inner.ring.data, RingState::Closed);
        match own {
            Ok(true) => remove_objects(&inner.name),
            _ => Ok(()),
        }
    }

    /// Changes what happens when a lossless reader is a whole ring behind, from the next write on (see
    /// [`WriterOptions::on_slow_reader`]).
    ///
    /// ```
    /// use qadataswap::{OnSlowReader, QADataSwapError, ReaderOptions, create_writer};
    ///
    /// # let name = format!("doc-writer-slow-{}", std::process::id());
    /// let writer = create_writer(&name, 1)?;
    /// let reader = ReaderOptions::new().lossless(true).attach(&name)?;
    /// writer.write(b"1")?;
    /// writer.set_on_slow_reader(OnSlowReader::Refuse);
    /// assert!(matches!(writer.write(b"2"), Err(QADataSwapError::WouldBlock { .. })));
    /// writer.set_on_slow_reader(OnSlowReader::Evict { grace_ms: 0 });
    /// writer.write(b"2")?;
    /// # writer.unlink()?;
    /// # Ok::<(), QADataSwapError>(())
    /// ```
    pub fn set_on_slow_reader(&self, action: OnSlowReader) {
        self.inner.borrow_mut().options.on_slow_reader = action;
    }

    /// The ring's name.
    ///
    /// ```
    /// # let name = format!("doc-writer-name-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// assert_eq!(writer.name(), name);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn name(&self) -> String {
        self.inner.borrow().name.as_str().to_owned()
    }

    /// Number of slots.
    ///
    /// ```
    /// # let name = format!("doc-writer-slots-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// assert_eq!(writer.slot_count(), 4);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn slot_count(&self) -> usize {
        self.inner.borrow().ring.data.slot_count() as usize
    }

    /// Largest message, in bytes, that fits without a rollover.
    ///
    /// ```
    /// # let name = format!("doc-writer-capacity-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// assert_eq!(writer.slot_capacity(), 16 << 20);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn slot_capacity(&self) -> usize {
        self.inner.borrow().ring.data.geometry().payload_capacity as usize
    }

    /// Counters, exact at the time of the call.
    ///
    /// ```
    /// # let name = format!("doc-writer-stats-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// writer.write(b"one")?;
    /// assert_eq!((writer.stats().published, writer.stats().published_bytes), (1, 3));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn stats(&self) -> WriterStats {
        let inner = self.inner.borrow();
        WriterStats {
            published: inner.ring.publisher.sequence().wrapping_sub(inner.first_sequence),
            published_bytes: inner.message_bytes.wrapping_sub(inner.bytes_before),
            message_count: inner.ring.publisher.sequence(),
            position: inner.ring.publisher.position().get(),
            wakes: inner.wakes,
            rollovers: inner.rollovers,
            lease_skips: inner.holds.lease_skips,
            stalls: inner.holds.stalls,
            evictions: inner.holds.evictions,
            reclaimed: inner.holds.reclaimed,
            // Relaxed: stored by this writer only.
            epoch: inner.ring.data.header().owner.epoch.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    pub(super) fn new(
        name: RingName,
        options: WriterOptions,
        ring: Ring,
        control: ControlSegment,
    ) -> Self {
        // Relaxed: stored by writers only, of which this is the one.
        let bytes_before = ring.data.live().message_bytes.load(Ordering::Relaxed);
        let pace = Pace::new(options.slot_count);
        Self {
            name,
            options,
            first_sequence: ring.publisher.sequence(),
            ring,
            control,
            holds: HoldStats::new(),
            bytes_before,
            message_bytes: bytes_before,
            wakes: 0,
            pace,
            rollovers: 0,
            #[cfg(feature = "arrow")]
            templates: crate::flat::Written::default(),
            #[cfg(feature = "arrow")]
            pieces: crate::flat::Pieces::default(),
        }
    }

    /// Takes the next slot for a message of `len` bytes: one that has memory, in a larger segment if need be,
    /// and that nobody holds.
    pub(super) fn claim(&mut self, descriptor: Descriptor, len: usize) -> Result<()> {
        if len as u64 > self.ring.data.geometry().payload_capacity {
            let wanted = grown(&self.options, self.ring.data.geometry(), len)?;
            return self.claim_in_larger_segment(descriptor.offset_bytes() + len, wanted);
        }
        let bytes = descriptor.offset_bytes() + len;
        self.allocate(bytes)?;
        let Ring { data, publisher, .. } = &mut self.ring;
        if !data.identity().holds {
            publisher.claim_unheld(data);
            return Ok(());
        }
        match publisher.claim(data, &self.control, EntryMask::NONE) {
            Claim::Claimed => {
                if self.holds.is_time_to_ask(publisher.position()) {
                    self.ask_about_next_entry();
                }
                Ok(())
            }
            // From where this got to, all is begun again there.
            Claim::Skipped => {
                self.holds.lease_skips += 1;
                self.claim_past_holds(bytes)
            }
            Claim::Gated(_) | Claim::Leased(_) => self.claim_past_holds(bytes),
        }
    }

    #[inline(always)]
    pub(super) fn allocate(&mut self, bytes: usize) -> Result<()> {
        self.ring
            .allocate(bytes)
            .map_err(|error| error.on_allocation(self.name.as_str(), bytes as u64))
    }

    /// Publishes these bytes: at once if nothing is in the way, which is worked out with as few steps as can be.
    #[inline(always)]
    fn write(&mut self, descriptor: Descriptor, message: &[u8]) -> Result<()> {
        if self.is_nothing_due(descriptor, message.len()) {
            let Self { ring: Ring { data, publisher, .. }, control, holds, pace, .. } = self;
            // Worked out once, before the fence of the claim, which nothing after it can begin before.
            let slot = data.slot(publisher.index());
            if claim_slot(data, slot, publisher, control, holds) {
                let payload = &slot.payload[descriptor.first_word..];
                pace.store(message.len(), |way| words::store_by(way, payload, message));
                publisher.publish_slot(data, slot, descriptor, message.len() as u32);
                self.after_publish(message.len());
                return Ok(());
            }
        }
        self.write_slowly(descriptor, message)
    }

    /// [`claim`](Self::claim), if that is all there is to do and nothing is in the way; else it has to be called.
    #[inline(always)]
    pub(super) fn claim_at_once(&mut self, descriptor: Descriptor, len: usize) -> bool {
        let is_nothing_due = self.is_nothing_due(descriptor, len);
        let Ring { data, publisher, .. } = &mut self.ring;
        let slot = data.slot(publisher.index());
        is_nothing_due && claim_slot(data, slot, publisher, &self.control, &mut self.holds)
    }

    #[cold]
    #[inline(never)]
    fn write_slowly(&mut self, descriptor: Descriptor, message: &[u8]) -> Result<()> {
        self.claim(descriptor, message.len())?;
        let (slot, pace) = self.claimed_and_pace(descriptor);
        pace.store(message.len(), |way| words::store_by(way, slot, message));
        self.publish(descriptor, message.len());
        Ok(())
    }

    /// Whether the next slot takes a message of `len` bytes as it is, and the claim is all that there is to do before.
    #[inline(always)]
    fn is_nothing_due(&self, descriptor: Descriptor, len: usize) -> bool {
        len as u64 <= self.ring.data.geometry().payload_capacity
            && self.ring.has_memory(descriptor.offset_bytes() + len)
            && !(self.ring.data.identity().holds
                && self.holds.is_time_to_ask(self.ring.publisher.position()))
    }

    /// The words of the slot that was claimed, from the message's first on.
    #[inline(always)]
    pub(super) fn claimed(&self, descriptor: Descriptor) -> &[AtomicU64] {
        &self.ring.data.slot(self.ring.publisher.index()).payload[descriptor.first_word..]
    }

    /// The same, and how they are stored to.
    #[inline(always)]
    pub(super) fn claimed_and_pace(&mut self, descriptor: Descriptor) -> (&[AtomicU64], &mut Pace) {
        let slot = self.ring.data.slot(self.ring.publisher.index());
        (&slot.payload[descriptor.first_word..], &mut self.pace)
    }

    /// Publishes the claimed slot and wakes whoever sleeps.
    #[inline(always)]
    pub(super) fn publish(&mut self, descriptor: Descriptor, len: usize) {
        self.ring.publisher.publish(&self.ring.data, descriptor, len as u32);
        self.after_publish(len);
    }

    #[inline(always)]
    fn after_publish(&mut self, len: usize) {
        self.message_bytes = self.message_bytes.wrapping_add(len as u64);
        let live = self.ring.data.live();
        // Relaxed: for operators.
        live.message_bytes.store(self.message_bytes, Ordering::Relaxed);
        if wake::must_wake(live, self.control.waiters()) {
            futex_wake_all(&live.wake_sequence);
            self.wakes += 1;
        }
    }
}

/// Claims the next slot, which is this one, if nobody holds it.
#[inline(always)]
fn claim_slot(
    data: &DataSegment,
    slot: Slot<'_>,
    publisher: &mut Publisher,
    control: &ControlSegment,
    holds: &mut HoldStats,
) -> bool {
    if !data.identity().holds {
        publisher.claim_unheld(data);
        return true;
    }
    match publisher.claim_slot(data, slot, control, EntryMask::NONE) {
        Claim::Claimed => true,
        Claim::Skipped => {
            holds.lease_skips += 1;
            false
        }
        Claim::Gated(_) | Claim::Leased(_) => false,
    }
}

impl Descriptor {
    /// An Arrow stream: at the next cache line, so that what is aligned within it is aligned in memory.
    pub(super) const ARROW_STREAM: Self = Self {
        kind: MessageKind::ArrowStream,
        first_word: (crate::layout::STREAM_OFFSET - crate::layout::INLINE_OFFSET) / 8,
    };
}
