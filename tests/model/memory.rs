//! The memory of a ring on the heap: slots, header lines and entries, and who has which.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock};

use crate::layout::{Entry, HoldTable, Holds, LEASES_PER_ENTRY, Live, Slot, SlotHead, SlotTable};
use crate::ring::{Position, hold, words};
use crate::sync::{AtomicU64, Ordering};

const ENTRIES: usize = 64;

/// A segment's slots.
pub struct Table {
    pub live: Live,
    pub slots: Vec<(SlotHead, Vec<AtomicU64>)>,
    pub capacity: usize,
    pub origin: (u64, u64),
    pub number: u64,
    /// What came after it.
    pub next: OnceLock<Arc<Table>>,
}

impl Table {
    pub fn new(slots: u64, capacity: usize, origin: (u64, u64), number: u64) -> Self {
        let payload = || (0..capacity.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        let slots = (0..slots).map(|_| (SlotHead::default(), payload())).collect();
        Self { live: Live::default(), slots, capacity, origin, number, next: OnceLock::new() }
    }
}

impl SlotTable for Table {
    fn slot_count(&self) -> u64 {
        self.slots.len() as u64
    }

    fn payload_bytes(&self) -> usize {
        self.capacity
    }

    fn slot(&self, index: u64) -> Slot<'_> {
        let (head, payload) = &self.slots[index as usize];
        Slot { head, payload }
    }

    fn live(&self) -> &Live {
        &self.live
    }

    fn origin(&self) -> (u64, u64) {
        self.origin
    }

    fn segment_number(&self) -> u64 {
        self.number
    }
}

/// What readers say back, and whose entry is whose.
pub struct Control {
    pub holds: Holds,
    pub entries: Vec<Entry>,
    pub taken: Vec<AtomicBool>,
    pub attempts: AtomicU64,
    pub closed: AtomicBool,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            holds: Holds::default(),
            entries: (0..ENTRIES).map(|_| Entry::default()).collect(),
            taken: (0..ENTRIES).map(|_| AtomicBool::new(false)).collect(),
            attempts: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }
}

impl HoldTable for Control {
    fn holds(&self) -> &Holds {
        &self.holds
    }

    fn entry_count(&self) -> usize {
        ENTRIES
    }

    fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }
}

/// An entry, as long as somebody has it: its reader or a lease.
pub struct Taken {
    pub control: Arc<Control>,
    pub index: usize,
    pub leases: AtomicU32,
    positions: [AtomicU64; LEASES_PER_ENTRY],
}

impl Taken {
    pub fn new(control: &Arc<Control>) -> Arc<Self> {
        let index = control.taken.iter().position(|taken| !taken.swap(true, Ordering::Acquire));
        let index = index.expect("a free entry");
        Arc::new(Self {
            control: control.clone(),
            index,
            leases: AtomicU32::new(0),
            positions: Default::default(),
        })
    }

    /// The number of a lease for the message at `position`, taken as the library's `Registration` does it.
    pub fn take_lease(&self, position: Position) -> Option<usize> {
        // Acquire: pairs with the end of a lease, which whoever sees this lease_from must have seen too (H3).
        let held = self.leases.load(Ordering::Acquire);
        let number = (!held).trailing_zeros() as usize;
        if number >= LEASES_PER_ENTRY {
            return None;
        }
        self.positions[number].store(position.get(), Ordering::Relaxed);
        self.leases.fetch_or(1 << number, Ordering::Relaxed);
        let of = |number: usize| Position::new(self.positions[number].load(Ordering::Relaxed));
        let others = (0..LEASES_PER_ENTRY).filter(|number| held & 1 << number != 0);
        hold::lease_from(self.entry(), others.map(of).fold(position, Position::min));
        Some(number)
    }

    pub fn entry(&self) -> &Entry {
        self.control.entry(self.index)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.control.clear_holds(self.index);
        self.control.taken[self.index].store(false, Ordering::Release);
    }
}

pub struct Held {
    pub table: Arc<Table>,
    pub taken: Arc<Taken>,
    pub number: usize,
    pub slot: u64,
    pub len: usize,
}

impl Held {
    /// What is leased, in place.
    pub fn bytes(&self) -> &[u8] {
        let words = self.table.slot(self.slot).payload;
        assert!(self.len <= size_of_val(words));
        // SAFETY: as in the library's `Lease`: the range was checked, and nobody stores to it while the lease
        // holds. (Whether that is so is what is tested.)
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), self.len) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Of a segment that is superseded: the word may be another's by now.
        if self.taken.entry().segment_number.load(Ordering::Relaxed) == self.table.number {
            hold::release(self.taken.entry(), self.number);
        }
        self.taken.leases.fetch_and(!(1 << self.number), Ordering::Release);
    }
}

pub fn load(words: &[AtomicU64], len: usize) -> Vec<u8> {
    let mut out = vec![MaybeUninit::new(0); len];
    words::load(words, &mut out);
    // SAFETY: initialised above, and by `load`.
    out.into_iter().map(|byte| unsafe { byte.assume_init() }).collect()
}
