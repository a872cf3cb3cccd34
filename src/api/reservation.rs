//! [`Reservation`]: a slot that is being written in place.

use std::io;

use super::check_fork;
use super::writer::Inner;
use crate::error::{QADataSwapError, Result};
use crate::ring::Descriptor;
use crate::ring::words::{self, Way};
use crate::shm::fork_generation;

/// The next slot, open for writing; made by [`Writer::reserve`](crate::Writer::reserve).
///
/// It only takes bytes and gives none back: a reader that was lapped may still be loading the same
/// memory, so no `&mut [u8]` to it can exist. Append through [`std::io::Write`], store anywhere with
/// [`write_at`](Self::write_at), or through a pointer ([`as_mut_ptr`](Self::as_mut_ptr)).
/// [`publish`](Self::publish) makes the message visible; dropping the reservation publishes nothing.
///
/// ```
/// let name = format!("doc-reservation-{}", std::process::id());
/// let mut writer = qadataswap::create_writer(&name, 4)?;
/// let mut slot = writer.reserve(16)?;
/// slot.write_at(8, &2u64.to_le_bytes())?;
/// slot.write_at(0, &1u64.to_le_bytes())?;
/// slot.publish()?;
/// drop(writer.reserve(16)?); // publishes nothing
/// assert_eq!(writer.stats().published, 1);
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Debug)]
pub struct Reservation<'w> {
    writer: &'w mut Inner,
    capacity: usize,
    /// End of what has been stored: the message's length if it were published now.
    end: usize,
    /// The fork generation the handle was made in.
    made_in: u64,
}

impl<'w> Reservation<'w> {
    #[inline(always)]
    pub(super) fn new(writer: &'w mut Inner, capacity: usize) -> Self {
        Self { writer, capacity, end: 0, made_in: fork_generation() }
    }

    /// Bytes that were reserved.
    ///
    /// ```
    /// # let name = format!("doc-reservation-capacity-{}", std::process::id());
    /// let mut writer = qadataswap::create_writer(&name, 4)?;
    /// assert_eq!(writer.reserve(100)?.capacity(), 100);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Length the message has so far: the end of the furthest byte stored.
    ///
    /// ```
    /// # let name = format!("doc-reservation-len-{}", std::process::id());
    /// let mut writer = qadataswap::create_writer(&name, 4)?;
    /// let mut slot = writer.reserve(100)?;
    /// slot.write_at(10, b"abc")?;
    /// assert_eq!(slot.len(), 13);
    /// # drop(slot);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn len(&self) -> usize {
        self.end
    }

    /// Whether nothing has been stored yet.
    ///
    /// ```
    /// # let name = format!("doc-reservation-empty-{}", std::process::id());
    /// let mut writer = qadataswap::create_writer(&name, 4)?;
    /// assert!(writer.reserve(100)?.is_empty());
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Stores `bytes` from byte `offset` of the message on. Bytes between the end so far and `offset`
    /// become zero.
    ///
    /// # Errors
    /// [`MessageTooLarge`](QADataSwapError::MessageTooLarge) if it goes past what was reserved; nothing
    /// was stored then. [`Forked`](QADataSwapError::Forked).
    ///
    /// ```
    /// # let name = format!("doc-reservation-write-at-{}", std::process::id());
    /// let mut writer = qadataswap::create_writer(&name, 4)?;
    /// let mut slot = writer.reserve(4)?;
    /// slot.write_at(2, b"cd")?;
    /// assert!(slot.write_at(3, b"too long").is_err());
    /// slot.publish()?;
    /// # let reader = qadataswap::create_reader(&name)?;
    /// assert_eq!(reader.read(0)?.as_deref(), Some(&b"\0\0cd"[..]));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[inline]
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        check_fork(self.made_in)?;
        let end = offset.saturating_add(bytes.len());
        if end > self.capacity {
            return Err(QADataSwapError::MessageTooLarge {
                needed_bytes: end,
                available_bytes: self.capacity,
            });
        }
        let (slot, pace) = self.writer.claimed_and_pace(Descriptor::BYTES);
        // The slot holds an older message; none of it may show through a gap.
        const ZEROES: [u8; 256] = [0; 256];
        while self.end < offset {
            let gap = (offset - self.end).min(ZEROES.len());
            words::store_at(slot, self.end, &ZEROES[..gap], Way::Cached);
            self.end += gap;
        }
        pace.store(bytes.len(), |way| words::store_at(slot, offset, bytes, way));
        self.end = self.end.max(end);
        Ok(())
    }

    /// Where the message lies in the slot, for code that stores it by itself: another language's, say.
    ///
    /// The pointer is good for [`capacity`](Self::capacity) bytes while the reservation lives, and aligned to
    /// 8. Store through it and do not load: the slot holds whatever an older message left. Say how much was
    /// stored with [`set_len`](Self::set_len).
    ///
    /// ```
    /// # let name = format!("doc-reservation-pointer-{}", std::process::id());
    /// let mut writer = qadataswap::create_writer(&name, 4)?;
    /// let mut slot = writer.reserve(4)?;
    /// // SAFETY: four bytes were reserved.
    /// unsafe { slot.as_mut_ptr().copy_from_nonoverlapping(b"abcd".as_ptr(), 4) };
    /// slot.set_len(4)?;
    /// slot.publish()?;
    /// # let reader = qadataswap::create_reader(&name)?;
    /// assert_eq!(reader.read(0)?.as_deref(), Some(&b"abcd"[..]));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        // The words are atomics, so that storing through a shared reference to them is allowed.
        self.writer.claimed(Descriptor::BYTES).as_ptr().cast_mut().cast()
    }

    /// Says that the message has `len` bytes, all of them stored (through [`as_mut_ptr`](Self::as_mut_ptr)).
    ///
    /// # Errors
    /// [`MessageTooLarge`](QADataSwapError::MessageTooLarge) if that is more than was reserved.
    ///
    /// ```
    /// # let name = format!("doc-reservation-set-len-{}", std::process::id());
    /// let mut writer = qadataswap::create_writer(&name, 4)?;
    /// let mut slot = writer.reserve(4)?;
    /// assert!(slot.set_len(5).is_err());
    /// slot.write_at(0, b"abcd")?;
    /// slot.set_len(2)?; // a shorter message after all
    /// slot.publish()?;
    /// # let reader = qadataswap::create_reader(&name)?;
    /// assert_eq!(reader.read(0)?.as_deref(), Some(&b"ab"[..]));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn set_len(&mut self, len: usize) -> Result<()> {
        if len > self.capacity {
            return Err(QADataSwapError::MessageTooLarge {
                needed_bytes: len,
                available_bytes: self.capacity,
            });
        }
        self.end = len;
        Ok(())
    }

    /// Publishes the message: the bytes from 0 to [`len`](Self::len).
    ///
    /// # Errors
    /// [`Forked`](QADataSwapError::Forked).
    ///
    /// ```
    /// # let name = format!("doc-reservation-publish-{}", std::process::id());
    /// let mut writer = qadataswap::create_writer(&name, 4)?;
    /// let mut slot = writer.reserve(8)?;
    /// slot.write_at(0, b"12345678")?;
    /// slot.publish()?;
    /// assert_eq!(writer.stats().published_bytes, 8);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    #[inline]
    pub fn publish(self) -> Result<()> {
        check_fork(self.made_in)?;
        self.writer.publish(Descriptor::BYTES, self.end);
        Ok(())
    }
}

/// Appends to the message. Writing more than was reserved stores what fits and then gives
/// [`io::ErrorKind::WriteZero`] by way of `write_all`.
impl io::Write for Reservation<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.capacity - self.end);
        self.write_at(self.end, &bytes[..fits]).map_err(io::Error::other)?;
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
