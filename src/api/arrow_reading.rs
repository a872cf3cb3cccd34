//! How a reader gets Arrow batches out of a message: whole the first time, by a template from then on.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_schema::ArrowError;

use super::source::Taken;
use super::spare::{LARGE_BYTES, Spare, fill_all};
use super::{Batches, Lease, Reader};
use crate::codec::{DecodedStream, Reading, decode_stream};
use crate::error::{QADataSwapError, Result};
use crate::ring::consume::{Found, Message};
use crate::ring::{Note, words};
use crate::sync::AtomicU64;

/// What a message holds.
pub(super) enum Arrived {
    Batch(RecordBatch),
    Stream(DecodedStream),
}

impl Arrived {
    pub(super) fn into_one_batch(self) -> Result<RecordBatch, ArrowError> {
        match self {
            Self::Batch(batch) => Ok(batch),
            Self::Stream(stream) => stream.into_one_batch(),
        }
    }

    /// The batch, if there is one or none; else their number.
    pub(super) fn only_batch(self) -> Result<RecordBatch, usize> {
        match self {
            Self::Batch(batch) => Ok(batch),
            Self::Stream(stream) => stream.only_batch(),
        }
    }
}

impl From<Arrived> for Batches {
    fn from(arrived: Arrived) -> Self {
        match arrived {
            Arrived::Batch(batch) => Self { schema: batch.schema(), batches: vec![batch] },
            Arrived::Stream(stream) => Self { schema: stream.schema, batches: stream.batches },
        }
    }
}

/// A copy of a message.
enum Copied {
    Whole(Option<Note>, Buffer),
    /// What follows the metadata, which went to the templates; so did the rest if it is not here.
    Rest(Option<Buffer>),
}

impl Reader {
    /// Reads the next message as a copy.
    #[inline(always)]
    pub(super) fn read_stream(&self, timeout_ms: u64) -> Result<Option<Arrived>> {
        let templates = &mut *self.templates.borrow_mut();
        // Not what `copy` gives back: that would be handed on in memory several times.
        let mut copied = Copied::Rest(None);
        let mut copy = |found: &Found<'_>, message: &Message<'_>| {
            // A length that is not the message's must not make a large allocation.
            if !found.is_intact() {
                copied = Copied::Rest(Some(Buffer::default()));
                return;
            }
            let note = found.note();
            if let Some(note) = &note
                && let Some(metadata) = templates.metadata_of(note)
                && let Some((from, rest)) = note.rest(message.length)
            {
                words::load_all(&message.words[from - metadata.len()..], metadata);
                let words = &message.words[from..];
                copied = Copied::Rest(match templates.room(rest) {
                    Some(room) => {
                        words::load(words, room);
                        None
                    }
                    None => Some(load_buffer(&self.spare, words, rest)),
                });
                return;
            }
            copied = Copied::Whole(note, load_buffer(&self.spare, message.words, message.length));
        };
        let read = self.copy(timeout_ms, |found, message| {
            copy(found, message);
            Ok(())
        })?;
        if read.is_none() {
            return Ok(None);
        }
        Ok(Some(match copied {
            Copied::Rest(rest) => match templates.decode_copy(rest) {
                Ok(batch) => Arrived::Batch(batch),
                // It may be a stream of another making, or say better what is wrong with it.
                Err(stream) => Arrived::Stream(decode_stream(stream, Reading::Copy)?),
            },
            Copied::Whole(note, stream) => {
                let decoded = decode_stream(stream.clone(), Reading::Copy)?;
                if let Some(note) = &note {
                    templates.learn(note, &stream, &decoded);
                }
                Arrived::Stream(decoded)
            }
        }))
    }

    /// Reads the next message in place, and makes of it what was asked for, or says how many batches it has.
    pub(super) fn read_in_place<R>(
        &self,
        timeout_ms: u64,
        reading: Reading,
        make: impl Fn(Arrived) -> Result<R, usize>,
    ) -> Result<Option<R>> {
        let templates = &mut *self.templates.borrow_mut();
        let decoded = self.hold(timeout_ms, |lease| {
            let note = lease.note();
            let stream = buffer_of(lease);
            let mut by_template = || {
                let note = note.as_ref()?;
                let metadata = templates.metadata_of(note)?;
                let (from, _) = note.rest(stream.len())?;
                let start = 8 * (from - metadata.len());
                for (word, bytes) in metadata.iter_mut().zip(stream[start..].as_chunks().0) {
                    *word = u64::from_le_bytes(*bytes);
                }
                templates.decode(&stream.slice(8 * from), &reading.skips_validation()).ok()
            };
            let arrived = match by_template() {
                Some(batch) => Ok(Arrived::Batch(batch)),
                None => decode_stream(stream.clone(), reading.clone()).map(|decoded| {
                    if let Some(note) = &note {
                        templates.learn(note, &stream, &decoded);
                    }
                    Arrived::Stream(decoded)
                }),
            };
            match arrived.map(&make) {
                Ok(Ok(made)) => Taken::Held(Ok(made)),
                Ok(Err(found)) => Taken::Refused(Box::new(QADataSwapError::NotOneBatch { found })),
                // What can be read once it is copied to where it is aligned is not malformed.
                Err(_) if decode_stream(stream, Reading::Copy).is_ok() => {
                    Taken::Refused(Box::new(QADataSwapError::NotAligned))
                }
                Err(error) => Taken::Held(Err(error)),
            }
        })?;
        Ok(decoded.transpose()?)
    }
}

/// The first `length` bytes of the words, which may be torn.
fn load_buffer(spare: &Spare, words: &[AtomicU64], length: usize) -> Buffer {
    /// Up to here the allocator's ordinary alignment is had faster than that of 64 bytes.
    const SMALL_BYTES: usize = 4096;
    /// Bytes of what is aligned as any type needs.
    const WIDE: usize = size_of::<i128>();
    let load = |bytes: &mut [MaybeUninit<u8>]| words::load(words, bytes);
    if length <= SMALL_BYTES {
        let count = length.div_ceil(WIDE);
        let mut copy = Vec::<i128>::with_capacity(count);
        if let Some(last) = copy.spare_capacity_mut()[..count].last_mut() {
            last.write(0);
        }
        let start = copy.as_mut_ptr().cast::<MaybeUninit<u8>>();
        // SAFETY: the vector has capacity for that many bytes, which need not be initialised.
        load(unsafe { std::slice::from_raw_parts_mut(start, length) });
        // SAFETY: `load` initialised all of these bytes; what is left of the last value was before.
        unsafe { copy.set_len(count) };
        return Buffer::from_vec(copy).slice_with_length(0, length);
    }
    if length >= LARGE_BYTES {
        // SAFETY: `load` initialises all bytes that it is given.
        return unsafe { spare.buffer(length, load) };
    }
    let mut copy = MutableBuffer::with_capacity(length);
    // SAFETY: `load` initialises all bytes that it is given.
    unsafe { fill_all(&mut copy, length, load) };
    Buffer::from(copy)
}

/// The bytes of a lease as a buffer that keeps it.
fn buffer_of(lease: Lease) -> Buffer {
    let lease = Arc::new(lease);
    let start = NonNull::from(&**lease).cast::<u8>();
    let length = lease.len();
    // SAFETY: the range is readable and does not change as long as the lease lives (see `Lease::deref`), and the
    // buffer keeps the lease.
    unsafe { Buffer::from_custom_allocation(start, length, lease) }
}
