//! The memory of a ring on the heap: slots, header lines and entries, and who has which.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::rc::Rc;

use crate::layout::{Entry, HoldTable, Holds, Live, Slot, SlotHead, SlotTable};
use crate::ring::{hold, words};
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
    pub next: RefCell<Option<Rc<Table>>>,
}

impl Table {
    pub fn new(slots: u64, capacity: usize, origin: (u64, u64), number: u64) -> Self {
        let payload = || (0..capacity.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        let slots = (0..slots).map(|_| (SlotHead::default(), payload())).collect();
        Self { live: Live::default(), slots, capacity, origin, number, next: RefCell::new(None) }
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
    pub taken: Vec<Cell<bool>>,
    pub attempts: Cell<u64>,
    pub closed: Cell<bool>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            holds: Holds::default(),
            entries: (0..ENTRIES).map(|_| Entry::default()).collect(),
            taken: (0..ENTRIES).map(|_| Cell::new(false)).collect(),
            attempts: Cell::new(0),
            closed: Cell::new(false),
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
    pub control: Rc<Control>,
    pub index: usize,
    pub leases: Cell<u32>,
}

impl Taken {
    pub fn new(control: &Rc<Control>) -> Rc<Self> {
        let index = control.taken.iter().position(|taken| !taken.replace(true));
        let index = index.expect("a free entry");
        Rc::new(Self { control: control.clone(), index, leases: Cell::new(0) })
    }

    pub fn entry(&self) -> &Entry {
        self.control.entry(self.index)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.control.holds.leasing.fetch_and(!(1 << self.index), Ordering::Relaxed);
        self.control.taken[self.index].set(false);
    }
}

pub struct Held {
    pub table: Rc<Table>,
    pub taken: Rc<Taken>,
    pub number: usize,
    pub slot: u64,
    pub len: usize,
}

impl Held {
    pub fn bytes(&self) -> Vec<u8> {
        load(&self.table.slot(self.slot).payload[..self.len.div_ceil(8)], self.len)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Of a segment that is superseded: the word may be another's by now.
        if self.taken.entry().segment_number.load(Ordering::Relaxed) == self.table.number {
            hold::release(self.taken.entry(), self.number);
        }
        self.taken.leases.set(self.taken.leases.get() & !(1 << self.number));
    }
}

pub fn load(words: &[AtomicU64], len: usize) -> Vec<u8> {
    let mut out = vec![MaybeUninit::new(0); len];
    words::load(words, &mut out);
    // SAFETY: initialised above, and by `load`.
    out.into_iter().map(|byte| unsafe { byte.assume_init() }).collect()
}
