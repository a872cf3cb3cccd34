//! Looking at rings without taking part in them: for tools and operators.
//!
//! An [`Observer`] opens a ring's shared memory read-only. It takes no entry and no lock and stores nothing, so
//! that neither the writer nor a reader can be disturbed by it, and it looks at no slot that has no memory yet. What
//! it says was true when it was read: a live ring moves on meanwhile, also between two words of one answer.
//!
//! A ring that moves to larger slots leaves an observer behind on the old segment, which then is
//! [`Superseded`](Phase::Superseded): open another. Opening costs some system calls, about as much as attaching.
//!
//! ```
//! use qadataswap::observe::{Observer, Phase};
//! use qadataswap::{create_reader, create_writer};
//!
//! # let name = format!("doc-observe-{}", std::process::id());
//! # let name = name.as_str();
//! let writer = create_writer(name, 4)?;
//! let reader = create_reader(name)?;
//! writer.write(b"one")?;
//! writer.write(b"two")?;
//! reader.read(0)?;
//!
//! let seen = Observer::open(name)?.look()?;
//! let header = seen.header.expect("a sound ring has a header");
//! assert_eq!((header.slot_count, header.published, header.phase), (4, 2, Phase::Open));
//! assert!(seen.writer.alive);
//! assert_eq!(seen.writer.process.pid, std::process::id());
//! assert_eq!((seen.readers[0].consumed, seen.readers[0].lag), (1, 1));
//! assert_eq!(seen.faults, []);
//! # writer.unlink()?;
//! # Ok::<(), qadataswap::QADataSwapError>(())
//! ```

mod check;
mod message;
mod view;

pub use message::{Message, MessageKind};
pub use view::{
    Control, Header, Inconsistency, Observation, Phase, Place, ProcessId, ReaderKind, ReaderView,
    SlotState, SlotView, WriterView,
};

use super::check_fork;
use crate::error::{HoldsReason, Result};
use crate::layout::{ControlSegment, DataSegment, HeaderFault, SlotTable};
use crate::name::RingName;
use crate::shm::{self, Access, Segment, SysError};

/// A ring's shared memory, opened for looking only.
#[derive(Debug)]
pub struct Observer {
    name: RingName,
    held: Held,
    control: std::result::Result<ControlSegment, HoldsReason>,
    /// The fork generation it was made in.
    made_in: u64,
}

/// A data segment, sound or not.
#[derive(Debug)]
enum Held {
    Sound(DataSegment),
    Refused(Segment, HeaderFault),
}

impl Observer {
    /// Opens the ring `name`, whatever state it is in: also one that readers refuse because its header is
    /// damaged. Does not wait.
    ///
    /// # Errors
    /// [`InvalidName`](crate::QADataSwapError::InvalidName), [`NotFound`](crate::QADataSwapError::NotFound),
    /// [`PermissionDenied`](crate::QADataSwapError::PermissionDenied) and other failures of system calls.
    ///
    /// ```
    /// use qadataswap::QADataSwapError;
    /// use qadataswap::observe::Observer;
    ///
    /// let missing = Observer::open("no-such-ring");
    /// assert!(matches!(missing, Err(QADataSwapError::NotFound { .. })));
    /// ```
    pub fn open(name: &str) -> Result<Self> {
        let name = RingName::new(name)?;
        let on_ring = |error: SysError| error.on_ring(name.as_str());
        let segment = Segment::open(&name.data_object(), Access::Read).map_err(on_ring)?;
        let held = DataSegment::attach(segment, Access::Read, Default::default());
        let held = match held.map_err(on_ring)? {
            Ok(data) => Held::Sound(data),
            Err((fault, segment)) => Held::Refused(segment, fault),
        };
        let control = match &held {
            Held::Sound(data) => open_control(&name, data.identity().ring_id),
            Held::Refused(..) => Err(HoldsReason::NoControlSegment),
        };
        Ok(Self { name, held, control, made_in: shm::fork_generation() })
    }

    /// The ring's name.
    ///
    /// ```
    /// # let name = format!("doc-observe-name-{}", std::process::id());
    /// # let writer = qadataswap::create_writer(&name, 4)?;
    /// assert_eq!(qadataswap::observe::Observer::open(&name)?.name(), name);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What the ring's header, its control segment and the kernel say now.
    ///
    /// # Errors
    /// [`SystemCall`](crate::QADataSwapError::SystemCall), [`Forked`](crate::QADataSwapError::Forked). What is
    /// wrong with the ring itself is no error, but among the [`faults`](Observation::faults).
    pub fn look(&self) -> Result<Observation> {
        check_fork(self.made_in)?;
        self.observation().map_err(|error| error.on_ring(self.name.as_str()))
    }

    /// The slots that have memory, in the order of their indices. (Others were never used.)
    ///
    /// # Errors
    /// As [`look`](Self::look). A ring whose header is refused has no slots.
    ///
    /// ```
    /// use qadataswap::observe::{Observer, SlotState};
    ///
    /// # let name = format!("doc-observe-slots-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// writer.write(b"one")?;
    /// let slots = Observer::open(&name)?.slots()?;
    /// assert_eq!((slots[0].state, slots[0].length), (SlotState::Published, 3));
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn slots(&self) -> Result<Vec<SlotView>> {
        check_fork(self.made_in)?;
        let Held::Sound(data) = &self.held else { return Ok(Vec::new()) };
        let mut slots = Vec::new();
        let mut next = 0;
        while let Some(index) =
            data.next_slot_with_memory(next).map_err(|error| error.on_ring(self.name.as_str()))?
        {
            slots.push(SlotView::load(index, data.slot(index)));
            next = index + 1;
        }
        Ok(slots)
    }

    /// Everything in the ring that cannot be, or that somebody has left behind.
    ///
    /// Of a ring that is at work some may be seen by mistake, because it moves on between two words: what is
    /// still there at a second look is real.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    ///
    /// ```
    /// # let name = format!("doc-observe-check-{}", std::process::id());
    /// let writer = qadataswap::create_writer(&name, 4)?;
    /// let observer = qadataswap::observe::Observer::open(&name)?;
    /// assert_eq!(observer.check()?, []);
    /// # writer.unlink()?;
    /// # Ok::<(), qadataswap::QADataSwapError>(())
    /// ```
    pub fn check(&self) -> Result<Vec<Inconsistency>> {
        check::all(self)
    }

    fn data(&self) -> Option<&DataSegment> {
        match &self.held {
            Held::Sound(data) => Some(data),
            Held::Refused(..) => None,
        }
    }
}

/// The ring's control segment, read-only.
fn open_control(name: &RingName, ring_id: u64) -> std::result::Result<ControlSegment, HoldsReason> {
    let segment = match Segment::open(&name.control_object(), Access::Read) {
        Err(error) if error.errno == libc::ENOENT => return Err(HoldsReason::NoControlSegment),
        result => result?,
    };
    ControlSegment::attach(segment, ring_id, Access::Read)?.ok_or(HoldsReason::NoControlSegment)
}
