//! Counters that all processes of a storm share: what one has counted stays when it is killed.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use memmap2::MmapOptions;

/// One writer, and readers.
pub const SEATS: usize = 9;

/// What the processes tell each other.
#[repr(C)]
pub struct Board {
    /// What everybody is to do.
    phase: AtomicU64,
    /// Messages of the ring that its writers know to be published.
    pub published: AtomicU64,
    /// Position after them.
    pub position: AtomicU64,
    seats: [Seat; SEATS],
}

/// What the processes that have one place, one after the other, have counted.
#[repr(C)]
pub struct Seat([AtomicU64; Count::ALL]);

/// What there is to count.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    /// Turns of a process's loop, whatever came of them.
    Turns,
    /// Messages published, or read and checked.
    Messages,
    /// Messages that were not what was published.
    Torn,
    /// Messages read twice, or with a number that cannot be.
    OutOfOrder,
    /// Times that a reader's counts were wrong.
    Uncounted,
    /// Errors that should not have been.
    Errors,
    /// Messages that readers say were lost.
    Lost,
    /// Held messages looked at once more.
    HeldChecked,
    /// Times that a lossless reader was told that it had been given up.
    Evicted,
    /// Writes that were refused.
    Refused,
    Takeovers,
    Rollovers,
    LeaseSkips,
    Stalls,
    Reclaimed,
}

impl Count {
    const ALL: usize = Self::Reclaimed as usize + 1;
    /// Those that have to stay 0.
    pub const BAD: [Self; 4] = [Self::Torn, Self::OutOfOrder, Self::Uncounted, Self::Errors];
}

/// What everybody is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Work, and be killed.
    Storm,
    /// Work, so that everybody can be seen to.
    Calm,
    /// The writer closes the ring; readers read to its end.
    Close,
}

impl Board {
    /// Memory that goes with the last process that has it, and the board in it.
    pub fn create() -> io::Result<(File, &'static Self)> {
        let file = File::from(rustix::fs::memfd_create("storm", rustix::fs::MemfdFlags::CLOEXEC)?);
        file.set_len(size_of::<Self>() as u64)?;
        let board = Self::map(&file)?;
        Ok((file, board))
    }

    /// The board that the parent has made.
    pub fn open(path: &str) -> io::Result<&'static Self> {
        Self::map(&File::options().read(true).write(true).open(path)?)
    }

    fn map(file: &File) -> io::Result<&'static Self> {
        let mapping = MmapOptions::new().len(size_of::<Self>()).map_raw(file)?;
        let start = mapping.as_mut_ptr().cast::<Self>();
        // For as long as the process lives.
        std::mem::forget(mapping);
        // SAFETY: page-aligned, of this size, in a file of this size that nobody cuts, and never unmapped; it
        // holds atomics only, for which all bits are values.
        Ok(unsafe { &*start })
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Storm,
            1 => Phase::Calm,
            _ => Phase::Close,
        }
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u64, SeqCst);
    }

    pub fn seat(&self, index: usize) -> &Seat {
        &self.seats[index]
    }

    /// All seats together.
    pub fn sum(&self, count: Count) -> u64 {
        self.seats.iter().map(|seat| seat.get(count)).sum()
    }
}

impl Seat {
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(SeqCst)
    }

    pub fn add(&self, count: Count, more: u64) {
        self.0[count as usize].fetch_add(more, SeqCst);
    }
}
