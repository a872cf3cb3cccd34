//! A futex word for each direction and nothing else: what waking a process costs at least.

use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::io::Errno;
use rustix::thread::futex;

use crate::Result;
use crate::channel::{Channel, Link, Receiver, Sender};

/// Two futex words.
pub struct Futex;

/// A word in shared memory, and how many messages it has counted.
pub struct Word {
    map: MmapRaw,
    count: u32,
}

impl Word {
    fn new(channel: &Channel) -> Result<Self> {
        let map = MmapOptions::new().len(4096).map_raw(&channel.memory()?)?;
        Ok(Self { map, count: 0 })
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping is page-aligned, zeroed when made, longer than a word, and lives as long as `self`;
        // every process only uses it as this atomic.
        unsafe { &*self.map.as_ptr().cast() }
    }
}

impl Link for Futex {
    type Sender = Word;
    type Receiver = Word;
    const CARRIES: bool = false;

    fn sender(channel: &Channel) -> Result<Word> {
        Word::new(channel)
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Word> {
        Word::new(channel)
    }
}

impl Sender for Word {
    fn send(&mut self, _message: &[u8]) -> Result<()> {
        self.count = self.count.wrapping_add(1);
        self.word().store(self.count, Ordering::Release);
        futex::wake(self.word(), futex::Flags::empty(), i32::MAX as u32)?;
        Ok(())
    }
}

impl Receiver for Word {
    fn receive<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Result<R> {
        let before = self.count;
        self.count = before.wrapping_add(1);
        while self.word().load(Ordering::Acquire) == before {
            match futex::wait(self.word(), futex::Flags::empty(), before, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(read(&[]))
    }
}
