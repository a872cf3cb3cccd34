//! [`Lease`]: a message read in place.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::registration::Registration;
use crate::crash;
use crate::layout::{DataSegment, SlotTable};
#[cfg(feature = "arrow")]
use crate::ring::Note;
use crate::ring::Position;
use crate::ring::consume::{Found, Message};
use crate::ring::hold;
use crate::shm::fork_generation;

/// One message, in place in shared memory; made by [`Reader::lease`](crate::Reader::lease).
///
/// It derefs to the bytes of the message, which do not change as long as it lives: the writer passes over
/// the slot, without waiting. Dropping it, on whatever thread, lets the writer have the slot again. It may
/// outlive its reader.
///
/// In a forked child it can be read as long as the parent holds it; dropping it there releases nothing.
///
/// ```
/// let name = format!("doc-lease-{}", std::process::id());
/// let writer = qadataswap::create_writer(&name, 4)?;
/// let reader = qadataswap::create_reader(&name)?;
/// writer.write(b"first")?;
/// let lease = reader.lease(0)?.expect("just published");
/// for _ in 0..100 {
///     writer.write(b"more")?; // goes round the ring, and round the lease
/// }
/// drop(reader);
/// assert_eq!(&*lease, b"first");
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
pub struct Lease {
    held: Held,
    slot_index: u64,
    /// Where in the slot's payload words the message begins.
    first_word: usize,
    /// Length in bytes.
    length: usize,
    /// Whether there is a note before it.
    #[cfg(feature = "arrow")]
    noted: bool,
    position: Position,
}

/// What all leases of a reader from a segment have in common, in one object because there is a cost to each that is
/// counted.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) data: Arc<DataSegment>,
    pub(super) registration: Arc<Registration>,
}

/// The claim on the slot, which is given up before the memory is let go of.
struct Held {
    origin: Arc<Origin>,
    number: usize,
    /// The fork generation it was made in.
    made_in: u64,
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the lease is still the parent's.
        if self.made_in == fork_generation() {
            self.origin.registration.return_lease(self.number);
        }
    }
}

impl Lease {
    /// Leases the message that was found; `None` if it has been overwritten meanwhile. `number` was taken
    /// from the registration, and goes back to it.
    #[inline(always)]
    pub(super) fn new(
        origin: &Arc<Origin>,
        number: usize,
        found: &Found<'_>,
        message: &Message<'_>,
    ) -> Option<Self> {
        let held = Held { origin: origin.clone(), number, made_in: fork_generation() };
        let leased = hold::lease(origin.registration.entry(), number, found);
        crash::point("lease: confirmed");
        leased.then(|| Self {
            held,
            slot_index: found.slot_index(),
            first_word: message.first_word,
            length: message.length,
            #[cfg(feature = "arrow")]
            noted: found.is_noted(),
            position: found.position(),
        })
    }

    /// The note that comes with an Arrow stream, if one does.
    #[cfg(feature = "arrow")]
    pub(super) fn note(&self) -> Option<Note> {
        self.noted.then(|| Note::load(self.held.origin.data.slot(self.slot_index)))?
    }

    /// Position of the message in the ring.
    ///
    /// ```
    /// # let name = format!("doc-lease-position-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// # let reader = qadataswap::create_reader(&name)?;
    /// writer.write(b"first")?;
    /// assert_eq!(reader.lease(0)?.expect("just published").position(), 0);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn position(&self) -> u64 {
        self.position.get()
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let words = &self.held.origin.data.slot(self.slot_index).payload[self.first_word..];
        assert!(self.length <= size_of_val(words), "checked when it was leased");
        // SAFETY: the range was just checked to lie in the slot, whose mapping lives as long as
        // `Held::origin`; every byte of it is initialised memory. Nobody stores to it while the lease holds:
        // the writer saw the lease or had not begun when it was made (L1/L2 in `ring::hold`), the earlier
        // stores happened before (W2/R1), and no process but the writer may store to the data segment.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), self.length) }
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("position", &self.position.get())
            .field("length", &self.length)
            .field("number", &self.held.number)
            .finish_non_exhaustive()
    }
}
