//! Bytes that differ from message to message, and the check that all of them arrived.
//!
//! A message is one of a few prepared contents, of which the first word is the message's number. Whoever reads one
//! adds up all its words and compares the sum with what was prepared.

use crate::Result;

/// Prepared contents.
const VARIANTS: usize = 8;
/// So many messages ahead the number is put in.
const AHEAD: u64 = VARIANTS as u64 / 2;
/// Bytes of the number.
const HEAD: usize = 8;

/// Messages of one size.
pub struct Payload {
    /// One content after another, so that a message is found by adding up, not by asking memory.
    contents: Vec<u8>,
    size: usize,
    sums: Vec<u64>,
}

impl Payload {
    /// Prepares messages of `size` bytes, a multiple of eight.
    pub fn new(size: usize) -> Self {
        assert!(size >= HEAD && size.is_multiple_of(8));
        let contents: Vec<u8> = (0..VARIANTS).flat_map(|variant| contents(variant, size)).collect();
        let sums = contents.chunks(size).map(|variant| sum(&variant[HEAD..])).collect();
        let mut payload = Self { contents, size, sums };
        (0..VARIANTS as u64).for_each(|number| payload.stamp(number));
        payload
    }

    /// Message `number`, the one after the last or the first.
    #[inline(always)]
    pub fn message(&mut self, number: u64) -> &[u8] {
        // Ahead of time: a number that was stored just before would be in nobody's message yet, but in the store
        // buffer, and whoever copies by registers wider than that would be measured waiting for it.
        self.stamp(number + AHEAD);
        let at = self.start(number);
        &self.contents[at..at + self.size]
    }

    #[inline(always)]
    fn stamp(&mut self, number: u64) {
        let at = self.start(number);
        self.contents[at..at + HEAD].copy_from_slice(&number.to_ne_bytes());
    }

    /// Where message `number` begins.
    #[inline(always)]
    fn start(&self, number: u64) -> usize {
        number as usize % VARIANTS * self.size
    }

    /// Reads a message: its number.
    #[inline(always)]
    pub fn check(&self, message: &[u8]) -> Result<u64> {
        if message.len() != self.size {
            return Err(format!("a message of {} bytes arrived", message.len()).into());
        }
        let number = u64::from_ne_bytes(message[..HEAD].try_into()?);
        if sum(&message[HEAD..]) != self.sums[number as usize % VARIANTS] {
            return Err(format!("message {number} did not arrive as it was sent").into());
        }
        Ok(number)
    }
}

fn contents(variant: usize, size: usize) -> Vec<u8> {
    // A multiplicative sequence: no two words alike, no two variants alike.
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(variant as u64 + 1);
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state ^ state >> 29).to_ne_bytes()
    };
    (0..size / 8).flat_map(|_| next()).collect()
}

/// The sum of all words.
#[inline(always)]
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .fold(0, |sum, chunk| sum.wrapping_add(u64::from_ne_bytes(*chunk)))
}
