//! What an implementation gets to make its two ends of, and what the ends can do.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::Result;
use crate::spec::Spec;

/// One direction between processes, as a worker sees it.
pub struct Channel<'a> {
    pub spec: &'a Spec,
    /// 0 is there, 1 is back.
    pub number: usize,
}

impl Channel<'_> {
    /// A name that no other channel has.
    pub fn name(&self) -> String {
        format!("{}-{}", self.spec.prefix, self.number)
    }

    /// The shared memory that comes with it.
    pub fn memory(&self) -> Result<File> {
        let fd =
            self.spec.channels[self.number].memory.ok_or("no memory was made for this channel")?;
        Ok(File::from(own(fd)?))
    }

    /// Where the writer writes, for each reader.
    pub fn writing_ends(&self) -> Result<Vec<OwnedFd>> {
        self.spec.channels[self.number].ends.iter().map(|ends| own(ends.0)).collect()
    }

    /// Where that reader reads.
    pub fn reading_end(&self, reader: usize) -> Result<OwnedFd> {
        own(self.spec.channels[self.number].ends[reader].1)
    }
}

/// A descriptor of one's own for one that was inherited.
fn own(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: the parent made it before this process began, and nobody here closes it.
    let inherited = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(inherited.try_clone()?)
}

/// An implementation.
pub trait Link {
    type Sender: Sender;
    type Receiver: Receiver;
    /// Whether the bytes of messages arrive (or only that there was one).
    const CARRIES: bool = true;

    /// Made first.
    fn sender(channel: &Channel) -> Result<Self::Sender>;
    /// Made when all senders are.
    fn receiver(channel: &Channel, reader: usize) -> Result<Self::Receiver>;
}

/// The writing end.
pub trait Sender {
    /// Writes all of the message where readers find it, waiting for room if need be.
    fn send(&mut self, message: &[u8]) -> Result<()>;
}

/// The reading end.
pub trait Receiver {
    /// Waits for the next message and has `read` read all of it, in the reader's own copy or in place.
    fn receive<R>(&mut self, read: impl FnMut(&[u8]) -> R) -> Result<R>;

    /// Messages lost so far.
    fn lost(&self) -> u64 {
        0
    }
}

/// Looks again and again until `look` finds something.
#[inline(always)]
pub fn poll<T>(crowded: bool, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let mut looks = 0u32;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::hint::spin_loop();
        looks = looks.wrapping_add(1);
        if crowded && looks.is_multiple_of(64) {
            rustix::thread::sched_yield();
        }
    }
}
