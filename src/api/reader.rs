//! [`Reader`]: the consuming handle.
//!
//! Long because each way of reading has its errors and an example; what they share is in `reading` and `source`.

use std::cell::RefCell;
use std::mem::MaybeUninit;

#[cfg(feature = "arrow")]
use super::arrow_reading::Arrived;
use super::observe::MessageKind;
use super::reading::{Gate, Inner};
use super::source::{NotCopied, Taken};
use super::{Lease, ReaderOptions, ReaderStats, check_fork};
#[cfg(feature = "arrow")]
use crate::codec::Reading;
use crate::crash;
use crate::error::{QADataSwapError, Result};
use crate::name::RingName;
use crate::ring::consume::{Found, Look, Message};
use crate::ring::{Descriptor, words};
use crate::shm;
use crate::wait::{Step, Wait};

/// Copies in a row that may be spoilt by the writer before the time limit is looked at.
const FREE_RETRIES: u32 = 64;

/// A reader of a ring. Every reader sees every message; no reader can slow another, and none but a lossless
/// one can slow the writer.
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
/// that is still there and counts exactly what it lost (see [`ReaderStats::lost`] and
/// [`OnOverrun`](crate::OnOverrun)). A [lossless](ReaderOptions::lossless) reader is not lapped.
///
/// Most reads copy the message out. [`lease`](Self::lease) and
#[cfg_attr(feature = "arrow", doc = "[`read_arrow_zero_copy`](Self::read_arrow_zero_copy)")]
#[cfg_attr(not(feature = "arrow"), doc = "its Arrow twin")]
/// give it in place; the writer passes over its slot until it is dropped.
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
    /// What is known of the streams of this ring.
    #[cfg(feature = "arrow")]
    pub(super) templates: RefCell<crate::flat::Read>,
    /// Memory of the last large batch that was copied and dropped.
    #[cfg(feature = "arrow")]
    pub(super) spare: super::spare::Spare,
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

impl Reader {
    pub(super) fn attach(name: RingName, options: ReaderOptions) -> Result<Self> {
        let inner = Inner::attach(name, options)?;
        Ok(Self {
            inner: RefCell::new(inner),
            #[cfg(feature = "arrow")]
            templates: RefCell::default(),
            #[cfg(feature = "arrow")]
            spare: super::spare::Spare::default(),
            made_in: shm::fork_generation(),
        })
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
        self.copy(timeout_ms, |_, message| {
            let available_bytes = buffer.len();
            let Some(out) = buffer.get_mut(..message.length) else {
                let needed_bytes = message.length;
                return Err(NotCopied::BufferTooSmall { needed_bytes, available_bytes });
            };
            words::load(message.words, as_uninit(out));
            Ok(message.length)
        })
    }

    /// Reads the next message into `buffer` if it has exactly that many bytes. `false` means that no message
    /// came in time.
    ///
    /// # Errors
    /// [`SizeMismatch`](QADataSwapError::SizeMismatch) if the message has another size, and it is not
    /// consumed; otherwise as [`read_into`](Self::read_into).
    ///
    /// ```
    /// # let name = format!("doc-read-exact-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// writer.write(b"abc")?;
    /// let mut buffer = [0; 4];
    /// assert!(reader.read_exact(&mut buffer, 0).is_err());
    /// assert!(reader.read_exact(&mut buffer[..3], 0)?);
    /// assert_eq!(&buffer[..3], b"abc");
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[inline]
    pub fn read_exact(&self, buffer: &mut [u8], timeout_ms: u64) -> Result<bool> {
        let read = self.copy(timeout_ms, |_, message| {
            let (found_bytes, expected_bytes) = (message.length, buffer.len());
            if found_bytes != expected_bytes {
                return Err(NotCopied::SizeMismatch { found_bytes, expected_bytes });
            }
            words::load(message.words, as_uninit(buffer));
            Ok(())
        })?;
        Ok(read.is_some())
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
        let read = self.copy(timeout_ms, |found, message| {
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
        let mut value = MaybeUninit::<T>::uninit();
        let read = self.copy(timeout_ms, |_, message| {
            let (found_bytes, expected_bytes) = (message.length, size_of::<T>());
            if found_bytes != expected_bytes {
                return Err(NotCopied::SizeMismatch { found_bytes, expected_bytes });
            }
            let start = value.as_mut_ptr().cast::<MaybeUninit<u8>>();
            // SAFETY: the slice covers exactly `value`, whose bytes need not be initialised.
            words::load(message.words, unsafe {
                std::slice::from_raw_parts_mut(start, expected_bytes)
            });
            Ok(())
        })?;
        // SAFETY: after a copy every byte was initialised, and any bytes are a value of T (FromBytes).
        Ok(read.map(|()| unsafe { value.assume_init() }))
    }

    /// Reads the next message as one record batch: as it was published, or its batches concatenated if
    /// there were several (an empty batch if there were none).
    ///
    /// It is fastest if the last batch, and all that was taken from it, has been dropped before: then its memory is
    /// used again. For that the reader keeps the memory of the last batch of 1 MiB or more that was dropped, and
    /// up to 64 KiB for each of 32 schemas, as long as it lives.
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
            Some(arrived) => Ok(Some(arrived.into_one_batch()?)),
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
        Ok(self.read_stream(timeout_ms)?.map(Batches::from))
    }

    /// Reads the next message in place: gives a guard that derefs to its bytes in shared memory, and keeps
    /// them as they are until it is dropped.
    ///
    /// The writer does not wait for that: it passes over the slot. Each lease therefore takes a slot out of
    /// the ring, and if all are leased, writes are refused.
    ///
    /// # Errors
    /// [`TooManyLeases`](QADataSwapError::TooManyLeases) and
    /// [`HoldsUnavailable`](QADataSwapError::HoldsUnavailable), at once and whether there is a message or
    /// not; otherwise as [`read`](Self::read).
    ///
    /// ```
    /// # let name = format!("doc-lease-reader-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 8)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// writer.write(b"in place")?;
    /// let lease = reader.lease(1_000)?.expect("just published");
    /// assert_eq!(&lease[3..], b"place");
    /// assert_eq!(reader.stats().leases, 1);
    /// drop(lease);
    /// assert_eq!(reader.stats().leases, 0);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[inline]
    pub fn lease(&self, timeout_ms: u64) -> Result<Option<Lease>> {
        self.hold(timeout_ms, Taken::Held)
    }

    /// Reads the next message as one record batch whose buffers lie in shared memory. What that costs does
    /// not depend on the size of the batch, but for the validation of strings and offsets.
    ///
    /// The message is leased (see [`lease`](Self::lease)) until the last clone or slice of any column is
    /// dropped, on whatever thread, also after the reader is gone. Nothing is copied, ever: what cannot be
    /// had without is an error, and the message is then not consumed.
    ///
    /// # Errors
    /// [`NotAligned`](QADataSwapError::NotAligned) and [`NotOneBatch`](QADataSwapError::NotOneBatch), which
    /// leave the message to another kind of read; as [`read_arrow`](Self::read_arrow) and
    /// [`lease`](Self::lease).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use qadataswap::arrow_array::{Int64Array, RecordBatch};
    ///
    /// # let name = format!("doc-zero-copy-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
    /// writer.write_arrow(&batch)?;
    /// let shared = reader.read_arrow_zero_copy(3_000)?.expect("just published");
    /// let column = shared.column(0).slice(1, 1);
    /// drop((shared, reader));
    /// for _ in 0..10 {
    ///     writer.write_arrow(&batch)?;
    /// }
    /// assert_eq!(*column, Int64Array::from(vec![2]));
    /// # writer.unlink()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "arrow")]
    pub fn read_arrow_zero_copy(
        &self,
        timeout_ms: u64,
    ) -> Result<Option<arrow_array::RecordBatch>> {
        self.read_in_place(timeout_ms, Reading::InPlace, Arrived::only_batch)
    }

    /// [`read_arrow_zero_copy`](Self::read_arrow_zero_copy) for a message of any number of record batches.
    ///
    /// # Errors
    /// As [`read_arrow_zero_copy`](Self::read_arrow_zero_copy), without
    /// [`NotOneBatch`](QADataSwapError::NotOneBatch).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use qadataswap::arrow_array::{Int64Array, RecordBatch};
    ///
    /// # let name = format!("doc-batches-zero-copy-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// let chunk = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
    /// writer.write_batches(&chunk.schema(), &[chunk.clone(), chunk.clone()])?;
    /// let table = reader.read_batches_zero_copy(0)?.expect("just published");
    /// assert_eq!(table.batches, [chunk.clone(), chunk]);
    /// # writer.unlink()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "arrow")]
    pub fn read_batches_zero_copy(&self, timeout_ms: u64) -> Result<Option<Batches>> {
        self.read_in_place(timeout_ms, Reading::InPlace, |arrived| Ok(arrived.into()))
    }

    /// [`read_arrow_zero_copy`](Self::read_arrow_zero_copy) without looking at the contents of the buffers
    /// (UTF-8, offsets, dictionary keys, run ends), so that its cost is independent of the size altogether.
    /// Structure is checked all the same: no buffer reaches outside the message.
    ///
    /// # Errors
    /// As [`read_arrow_zero_copy`](Self::read_arrow_zero_copy).
    ///
    /// # Safety
    /// The message must be what an Arrow implementation wrote: the contents of its arrays must be valid for
    /// their types. That is so if every process that may write to the ring is trusted to publish such
    /// messages only.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use qadataswap::arrow_array::{RecordBatch, StringArray};
    ///
    /// # let name = format!("doc-zero-copy-unchecked-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// let batch = RecordBatch::try_from_iter([("s", Arc::new(StringArray::from(vec!["a"])) as _)])?;
    /// writer.write_arrow(&batch)?;
    /// // SAFETY: the writer is this program, and it has just written a valid batch.
    /// let shared = unsafe { reader.read_arrow_zero_copy_unchecked(3_000) }?;
    /// assert_eq!(shared, Some(batch));
    /// # writer.unlink()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "arrow")]
    pub unsafe fn read_arrow_zero_copy_unchecked(
        &self,
        timeout_ms: u64,
    ) -> Result<Option<arrow_array::RecordBatch>> {
        let mut trusted = arrow_data::UnsafeFlag::new();
        // SAFETY: the caller vouches for the contents.
        unsafe { trusted.set(true) };
        self.read_in_place(timeout_ms, Reading::InPlaceTrusted(trusted), Arrived::only_batch)
    }

    /// Makes a lossless reader that the writer gave up ([`Evicted`](QADataSwapError::Evicted)) lossless
    /// again, at the oldest message from its place on that is still there. Returns how many messages it lost
    /// besides those that the error told of. Does nothing for any other reader.
    ///
    /// # Errors
    /// [`HoldsUnavailable`](QADataSwapError::HoldsUnavailable);
    /// [`Closed`](QADataSwapError::Closed) if the ring has been removed meanwhile;
    /// [`Evicted`](QADataSwapError::Evicted) if the writer gives it up again and again while it tries.
    ///
    /// ```
    /// use qadataswap::{OnSlowReader, QADataSwapError, ReaderOptions, WriterOptions};
    ///
    /// # let name = format!("doc-rejoin-{}", std::process::id());
    /// let evict = OnSlowReader::Evict { grace_ms: 1 };
    /// let writer = WriterOptions::new(4).on_slow_reader(evict).create(&name)?;
    /// let reader = ReaderOptions::new().lossless(true).attach(&name)?;
    /// for n in 0..10u8 {
    ///     writer.write(&[n])?;
    /// }
    /// let Err(QADataSwapError::Evicted { lost }) = reader.read(0) else { panic!("evicted") };
    /// let more = reader.rejoin()?;
    /// assert_eq!(reader.read(0)?, Some(vec![(lost + more) as u8]));
    /// # writer.unlink()?;
    /// # Ok::<(), QADataSwapError>(())
    /// ```
    pub fn rejoin(&self) -> Result<u64> {
        check_fork(self.made_in)?;
        let inner = &mut *self.inner.borrow_mut();
        match inner.gate {
            Gate::Lost { .. } => inner.rejoin(),
            Gate::None | Gate::Held => Ok(0),
        }
    }

    /// Waits until a read would not have to wait: there is a message, or messages were lost. `false` if the
    /// time is up. Consumes nothing and counts nothing.
    ///
    /// For those who wait in slices, because something else than a message may end their wait: a signal, a
    /// cancelled task. (The message may be overwritten before it is read; then another is found, or none.)
    ///
    /// # Errors
    /// As [`read`](Self::read), but for what only the message itself can be the cause of.
    ///
    /// ```
    /// # let name = format!("doc-wait-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let reader = qadataswap::create_reader(&name)?;
    /// assert!(!reader.wait(10)?);
    /// writer.write(b"abc")?;
    /// assert!(reader.wait(10)?);
    /// assert_eq!((reader.stats().consumed, reader.stats().timeouts), (0, 0));
    /// assert_eq!(reader.read(0)?, Some(b"abc".to_vec()));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn wait(&self, timeout_ms: u64) -> Result<bool> {
        check_fork(self.made_in)?;
        let inner = &mut *self.inner.borrow_mut();
        if let Gate::Lost { lost } = inner.gate {
            return Err(QADataSwapError::Evicted { lost });
        }
        let mut wait = Wait::new(inner.options.wait, timeout_ms);
        while matches!(inner.cursor.look(&*inner.data), Look::Nothing) {
            if !inner.wait(&mut wait)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits like [`wait`](Self::wait) and says what the next message is, without consuming it; `None` if the
    /// time is up. For those who do not know whether a ring has bytes or Arrow.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// An example is at [`MessageKind`](crate::observe::MessageKind).
    pub fn next_kind(&self, timeout_ms: u64) -> Result<Option<MessageKind>> {
        if !self.wait(timeout_ms)? {
            return Ok(None);
        }
        let inner = &*self.inner.borrow();
        // A copy: where a lapped reader goes on, and what it lost, is for the read to say.
        let mut cursor = inner.cursor;
        for _ in 0..FREE_RETRIES {
            match cursor.look(&*inner.data) {
                Look::Message(found) => {
                    let kind = Descriptor::from_word(found.kind_word());
                    if found.is_intact() {
                        // One that cannot be is for the read to refuse.
                        return Ok(Some(kind.map_or(MessageKind::Bytes, |kind| kind.kind.into())));
                    }
                }
                Look::Lapped => {
                    // None: the writer went round meanwhile, and another look is needed anyway.
                    let _ = cursor.resume(&*inner.data);
                }
                Look::Nothing => {}
            }
        }
        Ok(Some(MessageKind::Bytes))
    }

    /// Whether a message could be leased now, if there was one: gives the errors that
    /// [`lease`](Self::lease) and the zero-copy reads give at once.
    ///
    /// # Errors
    /// [`TooManyLeases`](QADataSwapError::TooManyLeases),
    /// [`HoldsUnavailable`](QADataSwapError::HoldsUnavailable), [`Forked`](QADataSwapError::Forked).
    ///
    /// ```
    /// use qadataswap::{HoldsReason, QADataSwapError, ReaderOptions, create_writer};
    ///
    /// # let name = format!("doc-can-lease-{}", std::process::id());
    /// let writer = create_writer(&name, 4)?;
    /// assert!(ReaderOptions::new().attach(&name)?.check_can_lease().is_ok());
    /// let unregistered = ReaderOptions::new().register(false).attach(&name)?;
    /// assert!(matches!(
    ///     unregistered.check_can_lease(),
    ///     Err(QADataSwapError::HoldsUnavailable { reason: HoldsReason::NotRegistered, .. })
    /// ));
    /// # writer.unlink()?;
    /// # Ok::<(), QADataSwapError>(())
    /// ```
    pub fn check_can_lease(&self) -> Result<()> {
        check_fork(self.made_in)?;
        self.inner.borrow_mut().prepare_to_lease()
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
        Ok(self.copy(0, |_, _| Ok(()))?.is_some())
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
        self.inner.borrow().stats()
    }

    /// Waits for the next message and has `copy` copy it out.
    ///
    /// `copy` may see torn data; what it returns counts only if the slot was intact afterwards. It is
    /// called again for another message if it was not. If it refuses an intact message, that message is
    /// not consumed.
    #[inline(always)]
    pub(super) fn copy<R>(
        &self,
        timeout_ms: u64,
        mut copy: impl FnMut(&Found<'_>, &Message<'_>) -> std::result::Result<R, NotCopied>,
    ) -> Result<Option<R>> {
        self.receive(timeout_ms, |_, found, message| Taken::Copied(copy(found, message)))
    }

    /// Waits for the next message, leases it and has `then` say what becomes of it.
    #[inline(always)]
    pub(super) fn hold<R>(
        &self,
        timeout_ms: u64,
        mut then: impl FnMut(Lease) -> Taken<R>,
    ) -> Result<Option<R>> {
        self.check_can_lease()?;
        self.receive(timeout_ms, |inner, found, message| {
            inner.source().lease(found, message, &mut then)
        })
    }

    /// Waits for the next message and has `take` take it.
    #[inline(always)]
    fn receive<R>(
        &self,
        timeout_ms: u64,
        mut take: impl FnMut(&Inner, &Found<'_>, &Message<'_>) -> Taken<R>,
    ) -> Result<Option<R>> {
        check_fork(self.made_in)?;
        let inner = &mut *self.inner.borrow_mut();
        if let Gate::Lost { lost } = inner.gate {
            return Err(QADataSwapError::Evicted { lost });
        }
        let mut wait = None;
        let mut retries = 0;
        let mut left_at = None;
        loop {
            match inner.cursor.look(&*inner.data) {
                Look::Message(found) => {
                    let taken = found.message().map(|message| take(inner, &found, &message));
                    match taken {
                        Ok(Taken::Held(value)) => {
                            let missing = inner.cursor.advance(&found);
                            inner.count_consumed(missing);
                            return Ok(Some(value));
                        }
                        Ok(Taken::Refused(error)) => return Err(*error),
                        Ok(Taken::Copied(copied)) if found.is_intact() => {
                            crash::point("consume: copied");
                            let value = copied?;
                            let missing = inner.cursor.advance(&found);
                            inner.count_consumed(missing);
                            return Ok(Some(value));
                        }
                        Err((field, value)) if found.is_intact() => {
                            let missing = inner.cursor.advance(&found);
                            return Err(inner.count_corrupt(missing, field, value));
                        }
                        // Overwritten meanwhile; the next look says by how much.
                        _ => retries += 1,
                    }
                }
                Look::Lapped if inner.gate == Gate::Held => return Err(inner.count_evicted()),
                Look::Lapped => {
                    retries += 1;
                    if let Some(lost) = inner.cursor.resume(&*inner.data)
                        && let Some(error) = inner.count_overrun(lost)
                    {
                        return Err(error);
                    }
                }
                Look::Nothing => {
                    let new = || Wait::new(inner.options.wait, timeout_ms);
                    if !inner.wait(wait.get_or_insert_with(new))? {
                        inner.count_timeout();
                        return Ok(None);
                    }
                    continue;
                }
            }
            if retries > FREE_RETRIES {
                retries = 0;
                // What is there now stays; but it may be nothing that this read can have.
                if inner.leave_ended()? {
                    let position = inner.cursor.position();
                    if left_at.replace(position) != Some(position) {
                        continue;
                    }
                }
                inner.check_lapping()?;
                let new = || Wait::new(inner.options.wait, timeout_ms);
                if wait.get_or_insert_with(new).step(false) == Step::Expired {
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
