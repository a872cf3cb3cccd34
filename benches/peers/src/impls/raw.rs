//! The floor: a cache line for each direction, stored to by one core and polled by the other.
//!
//! [`Lines`] only counts. [`Stamped`] carries 40 bytes beside the count, in the same line.

use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::Result;
use crate::channel::{Channel, Link, Receiver, Sender, poll};

/// Words of a line after the count.
const WORDS: usize = 7;
/// Bytes that a stamped line carries.
const CARRIED: usize = 40;

/// A line in shared memory.
pub struct Line {
    map: MmapRaw,
    count: u64,
    crowded: bool,
    copy: [u8; CARRIED],
}

#[repr(C, align(64))]
struct Words {
    count: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Line {
    fn new(channel: &Channel) -> Result<Self> {
        let map = MmapOptions::new().len(4096).map_raw(&channel.memory()?)?;
        Ok(Self { map, count: 0, crowded: channel.spec.crowded, copy: [0; CARRIED] })
    }

    #[inline(always)]
    fn words(&self) -> &Words {
        // SAFETY: the mapping is page-aligned, zeroed when made, longer than a line, and lives as long as `self`;
        // every process only uses it by these atomics.
        unsafe { &*self.map.as_ptr().cast() }
    }
}

/// Two lines that only count.
pub struct Lines;

pub struct CountSender(Line);

/// Counts; messages that were overwritten before it looked are lost.
pub struct CountReceiver {
    line: Line,
    lost: u64,
}

impl Link for Lines {
    type Sender = CountSender;
    type Receiver = CountReceiver;
    const CARRIES: bool = false;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        Line::new(channel).map(CountSender)
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Self::Receiver> {
        Ok(CountReceiver { line: Line::new(channel)?, lost: 0 })
    }
}

impl Sender for CountSender {
    #[inline(always)]
    fn send(&mut self, _message: &[u8]) -> Result<()> {
        self.0.count += 1;
        self.0.words().count.store(self.0.count, Ordering::Release);
        Ok(())
    }
}

impl Receiver for CountReceiver {
    #[inline(always)]
    fn receive<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Result<R> {
        let Self { line, lost } = self;
        let before = line.count;
        line.count = poll(line.crowded, || {
            let count = line.words().count.load(Ordering::Acquire);
            Ok((count != before).then_some(count))
        })?;
        *lost += line.count - before - 1;
        Ok(read(&[]))
    }

    fn lost(&self) -> u64 {
        self.lost
    }
}

/// Two lines that carry 40 bytes.
pub struct Stamped;

pub struct StampedSender(Line);
pub struct StampedReceiver(Line);

impl Link for Stamped {
    type Sender = StampedSender;
    type Receiver = StampedReceiver;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        Line::new(channel).map(StampedSender)
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Self::Receiver> {
        Line::new(channel).map(StampedReceiver)
    }
}

impl Sender for StampedSender {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.0.count += 1;
        let line = self.0.words();
        let (words, []) = message.as_chunks::<8>() else { return Err("not whole words".into()) };
        for (to, from) in line.words.iter().zip(words) {
            to.store(u64::from_ne_bytes(*from), Ordering::Relaxed);
        }
        line.count.store(self.0.count, Ordering::Release);
        Ok(())
    }
}

impl Receiver for StampedReceiver {
    #[inline(always)]
    fn receive<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Result<R> {
        self.0.count += 1;
        let (count, line) = (self.0.count, &self.0);
        poll(line.crowded, || {
            Ok((line.words().count.load(Ordering::Acquire) == count).then_some(()))
        })?;
        let mut copy = self.0.copy;
        for (to, from) in copy.as_chunks_mut::<8>().0.iter_mut().zip(&self.0.words().words) {
            *to = from.load(Ordering::Relaxed).to_ne_bytes();
        }
        Ok(read(&copy))
    }
}
