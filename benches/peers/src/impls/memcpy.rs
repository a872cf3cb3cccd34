//! qadataswap's protocol with the payload copied by memcpy: what the copy costs that is sound.
//!
//! Slots, header and every ordered step of a publish and a read are those of `docs/protocol.md`, for plain messages
//! on a ring where holds are possible and none is taken. Only the copies differ. They are NOT sound: a reader copies
//! while the writer may be storing, and what is thrown away afterwards was a data race all the same, which the
//! language does not define; a compiler may split, repeat or reorder such a copy. It works here because memcpy is a
//! call that the compiler does not look into, on a processor that does not mind. Nothing that is to be relied on may
//! do so.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::slots;
use crate::Result;
use crate::channel::{Channel, Link, Receiver, Sender, poll};

const HEADER_BYTES: usize = 4096;
/// Offset of a plain message in its slot.
const INLINE: usize = 24;
const WRITING: u64 = 1;
const PUBLISHED: u64 = 2;

/// The ring, copied by memcpy.
pub struct Memcpy;

/// Header lines that a publish touches, 128 bytes apart as in the ring.
#[repr(C)]
struct Live {
    published: AtomicU64,
    message_count: AtomicU64,
    wake_sequence: AtomicU32,
    claimed: AtomicU64,
    _pad: [u64; 12],
    waiters: AtomicU32,
    _pad_control: [u64; 15],
    joins: AtomicU64,
    gating: AtomicU64,
    leasing: AtomicU64,
}

#[repr(C)]
struct Head {
    generation: AtomicU64,
    sequence: AtomicU64,
    length: AtomicU32,
    kind: AtomicU32,
}

struct Ring {
    map: MmapRaw,
    slots: usize,
    stride: usize,
    capacity: usize,
}

impl Ring {
    fn new(channel: &Channel) -> Result<Self> {
        let capacity = channel.spec.capacity;
        let mut stride = (64 + capacity).next_multiple_of(128);
        if stride.is_multiple_of(4096) {
            stride += 128;
        }
        let slots = slots(channel.spec);
        let len = HEADER_BYTES + slots * stride;
        let file = channel.memory()?;
        if file.metadata()?.len() < len as u64 {
            file.set_len(len as u64)?;
        }
        let map = MmapOptions::new().len(len).populate().map_raw(&file)?;
        Ok(Self { map, slots, stride, capacity })
    }

    #[inline(always)]
    fn live(&self) -> &Live {
        // SAFETY: the mapping is page-aligned, zeroed when made, longer than the header, and used by atomics only.
        unsafe { &*self.map.as_ptr().cast() }
    }

    #[inline(always)]
    fn slot(&self, index: usize) -> *mut u8 {
        debug_assert!(index < self.slots);
        // SAFETY: the mapping has so many slots of this stride after its header.
        unsafe { self.map.as_mut_ptr().add(HEADER_BYTES + index * self.stride) }
    }

    #[inline(always)]
    fn head(&self, index: usize) -> &Head {
        // SAFETY: a slot begins with its head, aligned to 128 bytes, which is used by atomics only.
        unsafe { &*self.slot(index).cast() }
    }
}

pub struct MemcpySender {
    ring: Ring,
    position: u64,
    index: usize,
    joins: u64,
}

pub struct MemcpyReceiver {
    ring: Ring,
    position: u64,
    index: usize,
    buffer: Vec<u8>,
    crowded: bool,
}

impl Link for Memcpy {
    type Sender = MemcpySender;
    type Receiver = MemcpyReceiver;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        Ok(MemcpySender { ring: Ring::new(channel)?, position: 0, index: 0, joins: 0 })
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Self::Receiver> {
        let ring = Ring::new(channel)?;
        let buffer = vec![0; ring.capacity];
        Ok(MemcpyReceiver { ring, position: 0, index: 0, buffer, crowded: channel.spec.crowded })
    }
}

impl Sender for MemcpySender {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        if message.len() > self.ring.capacity {
            return Err("the message exceeds the slot".into());
        }
        let (live, head) = (self.ring.live(), self.ring.head(self.index));
        live.claimed.store(self.position + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // H1
        if live.joins.load(Ordering::Relaxed) != self.joins
            || live.leasing.load(Ordering::Relaxed) != 0
        {
            return Err("there are no holds here".into());
        }
        head.generation.store(self.position << 2 | WRITING, Ordering::Relaxed);
        fence(Ordering::Release); // W1
        // SAFETY: the slot has room for the message. A reader that copies at the same time races, see above.
        let payload = unsafe { self.ring.slot(self.index).add(INLINE) };
        // SAFETY: likewise.
        unsafe { payload.copy_from_nonoverlapping(message.as_ptr(), message.len()) };
        head.sequence.store(self.position, Ordering::Relaxed);
        head.length.store(message.len() as u32, Ordering::Relaxed);
        head.kind.store((INLINE as u32) << 16, Ordering::Relaxed);
        head.generation.store(self.position << 2 | PUBLISHED, Ordering::Release); // W2
        self.position += 1;
        self.index = if self.index + 1 == self.ring.slots { 0 } else { self.index + 1 };
        live.message_count.store(self.position, Ordering::Relaxed);
        live.published.store(self.position, Ordering::Release); // W3
        fence(Ordering::SeqCst); // W4
        if live.waiters.load(Ordering::Relaxed) != 0 {
            return Err("nobody sleeps here".into());
        }
        Ok(())
    }
}

impl Receiver for MemcpyReceiver {
    #[inline(always)]
    fn receive<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Result<R> {
        let head = self.ring.head(self.index);
        let wanted = self.position << 2 | PUBLISHED;
        poll(self.crowded, || {
            let generation = head.generation.load(Ordering::Acquire); // R1
            match generation >> 2 > self.position {
                true => Err("a message was overrun".into()),
                false => Ok((generation == wanted).then_some(())),
            }
        })?;
        let (length, kind) =
            (head.length.load(Ordering::Relaxed), head.kind.load(Ordering::Relaxed));
        let length = (length as usize).min(self.buffer.len());
        if kind != (INLINE as u32) << 16 {
            return Err("another kind of message".into());
        }
        // SAFETY: the slot and the buffer have room for so many bytes. It races with a writer that laps, see above.
        let payload = unsafe { self.ring.slot(self.index).add(INLINE) };
        // SAFETY: likewise.
        unsafe { self.buffer.as_mut_ptr().copy_from_nonoverlapping(payload, length) };
        fence(Ordering::Acquire); // R2
        if head.generation.load(Ordering::Relaxed) != wanted {
            return Err("a message was overrun".into());
        }
        self.position += 1;
        self.index = if self.index + 1 == self.ring.slots { 0 } else { self.index + 1 };
        Ok(read(&self.buffer[..length]))
    }
}
