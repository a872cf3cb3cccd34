//! What a reader does with a message that it has found, and what leases are made from.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use super::lease::Origin;
use super::registration::Registration;
use super::{Lease, attach};
use crate::error::{HoldsReason, QADataSwapError, Result};
use crate::layout::DataSegment;
use crate::name::RingName;
use crate::ring::Position;
use crate::ring::consume::{Found, Message};

/// Why a message was not copied. (The error that it becomes is larger than many a message.)
#[derive(Clone, Copy, Debug)]
pub(super) enum NotCopied {
    BufferTooSmall { needed_bytes: usize, available_bytes: usize },
    SizeMismatch { found_bytes: usize, expected_bytes: usize },
}

impl From<NotCopied> for QADataSwapError {
    #[cold]
    fn from(reason: NotCopied) -> Self {
        match reason {
            NotCopied::BufferTooSmall { needed_bytes, available_bytes } => {
                Self::BufferTooSmall { needed_bytes, available_bytes }
            }
            NotCopied::SizeMismatch { found_bytes, expected_bytes } => {
                Self::SizeMismatch { found_bytes, expected_bytes }
            }
        }
    }
}

/// What became of a message that was found.
pub(super) enum Taken<R> {
    /// It was copied, or refused, by what may have been torn: counts if the slot is intact afterwards.
    Copied(std::result::Result<R, NotCopied>),
    /// It is leased, so that it counts whatever has become of the slot.
    Held(R),
    /// It is leased or was not looked at, and stays unconsumed.
    Refused(Box<QADataSwapError>),
    /// It was overwritten meanwhile, or cannot be leased yet.
    Again,
}

/// What is known once a reader has leased from a segment.
#[derive(Debug, Default)]
pub(super) struct Leasing {
    /// First position that may be leased, once the writer knows that this reader leases.
    floor: Cell<Option<Position>>,
    /// What every lease keeps.
    origin: OnceCell<Arc<Origin>>,
}

impl Leasing {
    /// Whether the reader has leased yet.
    pub(super) fn has_begun(&self) -> bool {
        self.floor.get().is_some()
    }
}

/// What leases are made from.
pub(super) struct Source<'a> {
    pub(super) name: &'a RingName,
    pub(super) data: &'a Arc<DataSegment>,
    pub(super) registration: &'a std::result::Result<Arc<Registration>, HoldsReason>,
    /// Whether writers of `data` look at the registration.
    pub(super) is_looked_at: bool,
    pub(super) leasing: &'a Leasing,
    pub(super) max_leases: usize,
}

impl Source<'_> {
    /// Whether a lease could be had if there was a message.
    pub(super) fn check_can_lease(&self) -> Result<()> {
        let registration = self.registration()?;
        if !registration.has_free_lease(self.max_leases) {
            return Err(QADataSwapError::TooManyLeases { limit: self.max_leases });
        }
        Ok(())
    }

    #[inline(always)]
    fn registration(&self) -> Result<&Arc<Registration>> {
        if !self.data.identity().holds {
            return Err(HoldsReason::Disabled.on_ring(self.name));
        }
        match self.registration {
            Ok(registration) if self.is_looked_at => Ok(registration),
            Ok(_) => Err(HoldsReason::NoControlSegment.on_ring(self.name)),
            Err(reason) => Err(reason.on_ring(self.name)),
        }
    }

    /// Leases the message that was found.
    #[inline(always)]
    pub(super) fn lease<R>(
        &self,
        found: &Found<'_>,
        message: &Message<'_>,
        then: impl FnOnce(Lease) -> Taken<R>,
    ) -> Taken<R> {
        let registration = match self.registration() {
            Ok(registration) => registration,
            Err(error) => return Taken::Refused(Box::new(error)),
        };
        match self.may_lease(registration, found.position()) {
            Ok(true) => {}
            Ok(false) => return Taken::Again,
            Err(error) => return Taken::Refused(Box::new(error)),
        }
        let Some(number) = registration.take_lease(self.max_leases, found.position()) else {
            let error = QADataSwapError::TooManyLeases { limit: self.max_leases };
            return Taken::Refused(Box::new(error));
        };
        let origin = self.leasing.origin.get_or_init(|| {
            Arc::new(Origin { data: self.data.clone(), registration: registration.clone() })
        });
        Lease::new(origin, number, found, message).map_or(Taken::Again, then)
    }

    /// Whether the claim that could overwrite `position` knows that this reader leases.
    #[inline(always)]
    fn may_lease(&self, registration: &Registration, position: Position) -> Result<bool> {
        match self.leasing.floor.get() {
            Some(floor) if position >= floor => Ok(true),
            _ => self.may_lease_now(registration, position),
        }
    }

    #[cold]
    fn may_lease_now(&self, registration: &Registration, position: Position) -> Result<bool> {
        let floor = match self.leasing.floor.get() {
            Some(floor) => floor,
            None => registration.begin_leasing(self.data),
        };
        self.leasing.floor.set(Some(floor));
        if position >= floor {
            return Ok(true);
        }
        // A claim was under way. It may be over, or have been that of a writer that is dead.
        attach::check_claimed(self.name, self.data)?;
        let mut floor = registration.leasing_floor(self.data);
        if !self.data.has_live_writer().unwrap_or(true) {
            floor = Position::new(0);
        }
        self.leasing.floor.set(Some(floor));
        Ok(position >= floor)
    }
}
