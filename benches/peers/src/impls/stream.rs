//! Messages on descriptors that carry bytes: a length before each, one writing end for each reader.
//!
//! Where every process has a core, the reader polls, which is faster than to sleep in the kernel. Else it blocks.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use arrow_array::RecordBatch;
use rustix::io::{Errno, ioctl_fionbio, read, writev};

use crate::Result;
use crate::batches::{BatchSender, encode};
use crate::channel::{Channel, Receiver, Sender};
use crate::spec::Mode;

const LENGTH: usize = 8;

/// Writes every message to every reader's end.
pub struct StreamSender {
    ends: Vec<OwnedFd>,
    /// Where batches are encoded, before the system takes them.
    buffer: Vec<u8>,
}

/// Reads as much as there is, and takes messages from that in place.
pub struct StreamReceiver {
    end: OwnedFd,
    buffer: Vec<u8>,
    filled: std::ops::Range<usize>,
}

impl StreamSender {
    pub fn new(ends: Vec<OwnedFd>) -> Self {
        Self { ends, buffer: Vec::new() }
    }
}

impl Sender for StreamSender {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.ends.iter().try_for_each(|end| write_to(end, message))
    }
}

impl BatchSender for StreamSender {
    fn send_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        self.buffer.clear();
        encode(batch, &mut self.buffer)?;
        self.ends.iter().try_for_each(|end| write_to(end, &self.buffer))
    }
}

/// Writes a message with its length before it.
#[inline(always)]
fn write_to(end: &OwnedFd, message: &[u8]) -> Result<()> {
    let length = message.len().to_ne_bytes();
    let (mut head, mut rest) = (&length[..], message);
    while !rest.is_empty() {
        let written = match writev(end, &[IoSlice::new(head), IoSlice::new(rest)]) {
            Err(Errno::INTR) => continue,
            written => written?,
        };
        let of_head = written.min(head.len());
        head = &head[of_head..];
        rest = &rest[written - of_head..];
    }
    Ok(())
}

impl StreamReceiver {
    pub fn new(channel: &Channel, end: OwnedFd) -> Result<Self> {
        let polls = channel.spec.mode != Mode::Wake && !channel.spec.crowded;
        ioctl_fionbio(&end, polls)?;
        let bytes = (channel.spec.capacity + LENGTH).max(64 << 10);
        Ok(Self { end, buffer: vec![0; bytes], filled: 0..0 })
    }

    /// Has `wanted` bytes in a row, from where messages begin on.
    #[inline(always)]
    fn fill(&mut self, wanted: usize) -> Result<()> {
        if wanted > self.buffer.len() {
            return Err(format!("a message of {wanted} bytes arrived").into());
        }
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.filled.start + wanted > self.buffer.len() {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        while self.filled.len() < wanted {
            match read(&self.end, &mut self.buffer[self.filled.end..]) {
                Ok(0) => return Err("the writing end was closed".into()),
                Ok(got) => self.filled.end += got,
                Err(Errno::AGAIN | Errno::INTR) => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Receiver for StreamReceiver {
    #[inline(always)]
    fn receive<R>(&mut self, mut receive: impl FnMut(&[u8]) -> R) -> Result<R> {
        self.fill(LENGTH)?;
        let start = self.filled.start;
        let length = self.buffer[start..start + LENGTH].try_into().expect("eight bytes");
        let length = usize::from_ne_bytes(length);
        self.fill(length.checked_add(LENGTH).ok_or("a length that cannot be")?)?;
        let start = self.filled.start + LENGTH;
        let result = receive(&self.buffer[start..start + length]);
        self.filled.start = start + length;
        Ok(result)
    }
}
