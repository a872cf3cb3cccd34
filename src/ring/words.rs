//! Payload bytes as 64-bit relaxed atomics, in both directions.
//!
//! Every access that another process could race with goes through here. In the language's terms each
//! function is a loop of relaxed 8-byte atomic accesses at aligned addresses. Longer runs are done on
//! x86-64 in inline assembly, by registers of 16 bytes, by `rep movsb`, or past the caches: to the abstract machine
//! it *is* that loop (aligned words are never torn by any of these on any x86-64, and the fences around the copy order
//! it like the loop; see `copy_past_caches` for stores that need more than those).

use std::mem::MaybeUninit;

use crate::sync::{AtomicU64, Ordering};

const WORD: usize = 8;
/// Bytes of a cache line.
#[cfg(any(feature = "arrow", all(target_arch = "x86_64", not(qads_loom))))]
const LINE: usize = 64;

/// From this many words on runs are copied in inline assembly.
#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
const LONG_WORDS: usize = 8;
/// Runs of fewer bytes do not go past the caches: the fences around them would cost more.
#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
const LEAST_PAST_CACHES: usize = 1024;
/// Runs of up to so many bytes through the caches have their lines asked for before they are stored to. The lines of
/// longer ones do not all stay in the nearest cache until then.
#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
const MOST_PREPARED_BYTES: usize = 16 << 10;
/// From this many bytes on loads from shared memory are by the string instruction, which takes a while to begin.
#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
const STRING_BYTES: usize = 4096;
/// From this many bytes on what was loaded goes past the caches too, in which so much does not stay anyway.
#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
const PAST_CACHES_LOADED: usize = 4 << 20;

/// Which way runs of stores take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the caches of this core: each line comes from whoever had it last.
    Cached,
    /// Long runs go past the caches. A line that is stored to as a whole need not come from the core that read it last;
    /// readers then get it from memory.
    PastCaches,
}

#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
impl Way {
    /// From how many bytes on a run goes past the caches.
    #[inline(always)]
    fn past_caches(self) -> usize {
        if self == Self::PastCaches { LEAST_PAST_CACHES } else { usize::MAX }
    }
}

/// Asks for the lines of `words` to be this core's, so that it can store to them soon: from the last to the first, in
/// which order they come up to a fifth faster from the core that read them. (Measured. Presumably the processor, which
/// foresees ascending addresses, would else ask for some of them by itself, to load.)
#[cfg(any(feature = "arrow", all(target_arch = "x86_64", not(qads_loom))))]
#[inline(always)]
pub fn prepare(words: &[AtomicU64]) {
    let range = words.as_ptr_range();
    let first_line = range.start.addr() & !(LINE - 1);
    for line in (first_line..range.end.addr()).step_by(LINE).rev() {
        #[cfg(all(target_arch = "x86_64", not(qads_loom)))]
        // SAFETY: the instruction accesses nothing, it is a hint. (Processors without it take it for none.)
        unsafe {
            std::arch::asm!("prefetchw [{0}]", in(reg) line, options(nostack, preserves_flags));
        }
        let _ = line;
    }
}

/// Stores `bytes` from the start of `words`. The rest of the last word becomes zero.
///
/// # Panics
/// If `bytes` does not fit; callers have checked that it does.
#[cfg(any(feature = "arrow", qads_loom))]
#[inline(always)]
pub fn store(words: &[AtomicU64], bytes: &[u8]) {
    store_by(Way::Cached, words, bytes);
}

/// [`store`], this way.
///
/// # Panics
/// As [`store`].
#[inline(always)]
pub fn store_by(way: Way, words: &[AtomicU64], bytes: &[u8]) {
    assert!(bytes.len() <= words.len() * WORD, "message exceeds the slot");
    // A copy has no named step, so that a test which wants a writer to die in the middle of one gets two.
    #[cfg(qads_crash)]
    let (words, bytes) = {
        let half = bytes.len() / WORD / 2;
        let (first, second) = bytes.split_at(half * WORD);
        store_run(words, first, way);
        crate::crash::point("payload: half stored");
        (&words[half..], second)
    };
    store_run(words, bytes, way);
}

/// [`store`], where there is room.
#[inline(always)]
fn store_run(words: &[AtomicU64], bytes: &[u8], way: Way) {
    let _ = way;
    let (chunks, tail) = bytes.as_chunks::<WORD>();
    if !tail.is_empty() {
        // Relaxed: W1 and W2 order payload stores as a whole.
        words[chunks.len()].store(partial(tail), Ordering::Relaxed);
    }
    #[cfg(all(target_arch = "x86_64", not(qads_loom)))]
    if chunks.len() >= LONG_WORDS {
        // SAFETY: there are as many chunks as words.
        return unsafe { store_long(chunks.as_ptr().cast(), &words[..chunks.len()], way) };
    }
    for (word, chunk) in words.iter().zip(chunks) {
        // Relaxed, as above.
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
}

/// Copies `from`, memory of this process's own, to the start of `words`, this way.
///
/// # Panics
/// As [`store`].
#[cfg(feature = "arrow")]
pub fn copy_by(way: Way, words: &[AtomicU64], from: &[AtomicU64]) {
    let words = &words[..from.len()];
    let _ = way;
    #[cfg(all(target_arch = "x86_64", not(qads_loom)))]
    if from.len() >= LONG_WORDS {
        // SAFETY: there are as many as words.
        return unsafe { store_long(from.as_ptr().cast(), &words[..from.len()], way) };
    }
    for (word, from) in words.iter().zip(from) {
        // Relaxed, like all payload.
        word.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Stores `bytes` from byte `offset` of `words` on, and leaves the bytes around them as they are.
///
/// Only the writer may call this: it loads the words at the edges, stores them back merged, and no
/// other process stores to them in between.
///
/// # Panics
/// If the range does not fit; callers have checked that it does.
#[inline]
pub fn store_at(words: &[AtomicU64], offset: usize, bytes: &[u8], way: Way) {
    assert!(
        offset <= words.len() * WORD && bytes.len() <= words.len() * WORD - offset,
        "message exceeds the slot"
    );
    let (first, lead) = (offset / WORD, offset % WORD);
    let (head, rest) = bytes.split_at(bytes.len().min((WORD - lead) % WORD));
    if !head.is_empty() {
        merge(&words[first], lead, head);
    }
    let whole = rest.len() / WORD * WORD;
    let start = first + usize::from(lead != 0);
    if whole != 0 {
        store_by(way, &words[start..], &rest[..whole]);
    }
    if whole != rest.len() {
        merge(&words[start + whole / WORD], 0, &rest[whole..]);
    }
}

/// Stores `values` from the start of `words`.
///
/// # Panics
/// If they do not fit; callers have checked that they do.
#[cfg(feature = "arrow")]
pub fn store_all(words: &[AtomicU64], values: &[u64]) {
    store_each(&words[..values.len()], values.iter().copied());
}

/// Stores the values that are not there yet, so that lines which stay as they are need not be transferred.
///
/// Only the writer may call this: no other process stores to the words in between.
///
/// # Panics
/// As [`store_all`].
#[cfg(feature = "arrow")]
pub fn store_changed(words: &[AtomicU64], values: &[u64]) {
    for (word, value) in words[..values.len()].iter().zip(values) {
        // Relaxed, like all payload; the writer's own stores are always seen by it.
        if word.load(Ordering::Relaxed) != *value {
            word.store(*value, Ordering::Relaxed);
        }
    }
}

/// Stores the values from the start of `words`, as many as there are words.
#[cfg(feature = "arrow")]
pub fn store_each(words: &[AtomicU64], values: impl Iterator<Item = u64>) {
    for (word, value) in words.iter().zip(values) {
        // Relaxed: W1 and W2 order payload stores as a whole.
        word.store(value, Ordering::Relaxed);
    }
}

/// Fills `out` with the words at the start of `words`; what is read may be torn, as in [`load`].
///
/// # Panics
/// If there are not as many; callers have checked that there are.
#[cfg(feature = "arrow")]
pub fn load_all(words: &[AtomicU64], out: &mut [u64]) {
    let words = &words[..out.len()];
    #[cfg(all(target_arch = "x86_64", not(qads_loom)))]
    if out.len() >= LONG_WORDS {
        // SAFETY: `words` covers as many as `out` has, which is ours to write.
        return unsafe {
            copy_long(words.as_ptr().cast(), out.as_mut_ptr().cast(), out.len(), usize::MAX)
        };
    }
    for (out, word) in out.iter_mut().zip(words) {
        // Relaxed: R1 and R2 order payload loads as a whole.
        *out = word.load(Ordering::Relaxed);
    }
}

/// Fills `out` from the start of `words`; all of `out` is initialised afterwards.
///
/// What is read may be torn: it means nothing before the generation was looked at again (R2).
///
/// # Panics
/// If `out` is longer than `words`; callers have checked that it is not.
#[inline(always)]
pub fn load(words: &[AtomicU64], out: &mut [MaybeUninit<u8>]) {
    assert!(out.len() <= words.len() * WORD, "message exceeds the slot");
    let (chunks, tail) = out.as_chunks_mut::<WORD>();
    if !tail.is_empty() {
        // Relaxed: R1 and R2 order payload loads as a whole.
        fill(tail, words[chunks.len()].load(Ordering::Relaxed));
    }
    #[cfg(all(target_arch = "x86_64", not(qads_loom)))]
    if chunks.len() >= LONG_WORDS {
        // SAFETY: `words` covers as many as there are chunks, and `out` is ours to write.
        return unsafe {
            copy_long(
                words.as_ptr().cast(),
                chunks.as_mut_ptr().cast(),
                chunks.len(),
                PAST_CACHES_LOADED,
            )
        };
    }
    for (word, chunk) in words.iter().zip(chunks) {
        // Relaxed, as above.
        *chunk = word.load(Ordering::Relaxed).to_ne_bytes().map(MaybeUninit::new);
    }
}

/// A word whose first bytes are `bytes` (fewer than eight, but not none) and whose others are zero.
#[inline(always)]
fn partial(bytes: &[u8]) -> u64 {
    // No copy of a length that is not known, which would be a call.
    let value = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // What is in both is the same.
        let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - 4));
        u64::from(u32::from_le_bytes(*first)) | last
    } else {
        bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    value.to_le()
}

fn merge(word: &AtomicU64, at: usize, bytes: &[u8]) {
    let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
    value[at..at + bytes.len()].copy_from_slice(bytes);
    word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
}

#[inline(always)]
fn fill(out: &mut [MaybeUninit<u8>], word: u64) {
    for (out, byte) in out.iter_mut().zip(word.to_ne_bytes()) {
        out.write(byte);
    }
}

/// [`copy_long`] of memory of this process's own to all of `words`, this way.
///
/// # Safety
/// `from` is readable for as many bytes.
#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
#[inline(always)]
unsafe fn store_long(from: *const u8, words: &[AtomicU64], way: Way) {
    let (bytes, past_caches) = (size_of_val(words), way.past_caches());
    if bytes < past_caches && bytes <= MOST_PREPARED_BYTES {
        prepare(words);
    }
    // SAFETY: the caller vouches for `from`; `words` are atomics, which may be stored to through a shared reference.
    unsafe { copy_long(from, words.as_ptr().cast_mut().cast(), words.len(), past_caches) };
}

/// Copies `count` words as a run of relaxed atomic accesses (see the module's comment), from `past_caches` bytes on past
/// the caches.
///
/// # Safety
/// `from` is readable and `to` writable for that many words; neither is a Rust reference's exclusive
/// memory seen by the other side. Where they are in shared memory they are aligned to words. `past_caches` is 128 at
/// least.
#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
#[inline(never)]
unsafe fn copy_long(from: *const u8, to: *mut u8, count: usize, past_caches: usize) {
    let bytes = count * WORD;
    if bytes >= past_caches && to.cast::<u64>().is_aligned() {
        // SAFETY: as this function's; `to` is aligned to words, and there is more than a line.
        return unsafe { copy_past_caches(from, to, bytes) };
    }
    if bytes >= STRING_BYTES {
        // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI, and the
        // instruction touches no other memory and no flags.
        unsafe {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") bytes => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags)
            );
        }
        return;
    }
    // SAFETY: the caller vouches for both ranges, of which `offset` counts up to the end: in steps of 64 bytes, then
    // of 8, nothing beyond is touched. An access of 16 bytes is one of two aligned words each.
    unsafe {
        std::arch::asm!(
            "2:",
            "lea {next}, [{offset} + 64]",
            "cmp {next}, {bytes}",
            "ja 3f",
            "movups {a}, [{from} + {offset}]",
            "movups {b}, [{from} + {offset} + 16]",
            "movups {c}, [{from} + {offset} + 32]",
            "movups {d}, [{from} + {offset} + 48]",
            "movups [{to} + {offset}], {a}",
            "movups [{to} + {offset} + 16], {b}",
            "movups [{to} + {offset} + 32], {c}",
            "movups [{to} + {offset} + 48], {d}",
            "mov {offset}, {next}",
            "jmp 2b",
            "3:",
            "cmp {offset}, {bytes}",
            "jae 4f",
            "mov {next}, [{from} + {offset}]",
            "mov [{to} + {offset}], {next}",
            "add {offset}, 8",
            "jmp 3b",
            "4:",
            from = in(reg) from,
            to = in(reg) to,
            bytes = in(reg) bytes,
            offset = inout(reg) 0_usize => _,
            next = out(reg) _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack)
        );
    }
}

/// [`copy_long`] by non-temporal stores of whole cache lines.
///
/// Nothing that the compiler makes of an atomic access, or of a fence weaker than SeqCst, orders such stores with other
/// stores. Hence an `sfence` before them: none is seen before what was stored earlier (WRITING, which W1 puts before
/// the payload); and one after them: all are seen before what is stored later (PUBLISHED, by W2; or, of memory that was
/// copied to, whatever hands it to another thread). Between the two they are stores to different words in any order, as
/// those of a loop of relaxed atomic stores are. Loads are ordinary ones, so that R1 and R2 hold as they do for the loop.
///
/// # Safety
/// As [`copy_long`]; `to` is aligned to words, and `bytes` are whole words, 128 at least.
#[cfg(all(target_arch = "x86_64", not(qads_loom)))]
#[inline(never)]
unsafe fn copy_past_caches(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the caller vouches for both ranges. First as many words as there are up to a line's start, less than a
    // line; then lines while there is one; then the words that are left: nothing beyond is touched.
    unsafe {
        std::arch::asm!(
            "sfence",
            "2:",
            "test {to}, 63",
            "jz 3f",
            "mov {word}, [{from}]",
            "mov [{to}], {word}",
            "add {from}, 8",
            "add {to}, 8",
            "sub {bytes}, 8",
            "jmp 2b",
            "3:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movntps [{to}], {a}",
            "movntps [{to} + 16], {b}",
            "movntps [{to} + 32], {c}",
            "movntps [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "sub {bytes}, 64",
            "cmp {bytes}, 64",
            "jae 3b",
            "4:",
            "test {bytes}, {bytes}",
            "jz 5f",
            "mov {word}, [{from}]",
            "mov [{to}], {word}",
            "add {from}, 8",
            "add {to}, 8",
            "sub {bytes}, 8",
            "jmp 4b",
            "5:",
            "sfence",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            bytes = inout(reg) bytes => _,
            word = out(reg) _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack)
        );
    }
}

#[cfg(all(test, target_arch = "x86_64", not(qads_loom)))]
mod tests {
    use super::*;

    const GUARD: u8 = 0xee;
    /// Lengths around a threshold: words, lines, and bytes beside them.
    const AROUND: [isize; 13] = [-65, -64, -63, -9, -8, -7, -1, 0, 1, 7, 8, 63, 64];

    /// Bytes of which no two words near each other are the same.
    fn pattern(length: usize) -> Vec<u8> {
        (0..length as u64)
            .flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .take(length)
            .collect()
    }

    fn lengths(thresholds: &[usize]) -> impl Iterator<Item = usize> {
        thresholds.iter().flat_map(|threshold| {
            AROUND.iter().map(|distance| threshold.saturating_add_signed(*distance))
        })
    }

    /// All bytes of some words.
    fn bytes_of(words: &[AtomicU64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect()
    }

    /// Stores so many bytes, which begin at `from` in memory, `start` words from a line's start or so.
    fn check_store(way: Way, from: usize, start: usize, length: usize) {
        let source = pattern(from + length);
        let guard = u64::from_ne_bytes([GUARD; WORD]);
        let count = length.div_ceil(WORD);
        let words: Vec<_> = (0..start + count + 9).map(|_| AtomicU64::new(guard)).collect();
        store_by(way, &words[start..], &source[from..]);
        let stored = bytes_of(&words);
        let (before, stored) = stored.split_at(start * WORD);
        let (stored, after) = stored.split_at(count * WORD);
        let what = format!("{length} bytes from {from} on to word {start}");
        assert!(stored[..length] == source[from..], "{what}");
        assert!(stored[length..].iter().all(|byte| *byte == 0), "{what}: the last word's rest");
        assert!(before.iter().chain(after).all(|byte| *byte == GUARD), "{what}: stored beside it");
    }

    /// Stores so many bytes from byte `offset` on, between bytes that are to stay.
    fn check_store_at(way: Way, offset: usize, length: usize) {
        let source = pattern(length);
        let guard = u64::from_ne_bytes([GUARD; WORD]);
        let count = (offset + length).div_ceil(WORD) + 1;
        let words: Vec<_> = (0..count).map(|_| AtomicU64::new(guard)).collect();
        store_at(&words, offset, &source, way);
        let stored = bytes_of(&words);
        let what = format!("{length} bytes to byte {offset}");
        assert!(stored[offset..offset + length] == source, "{what}");
        let beside = stored[..offset].iter().chain(&stored[offset + length..]);
        assert!(beside.into_iter().all(|byte| *byte == GUARD), "{what}: stored beside it");
    }

    /// Loads so many bytes from word `start` on to memory that begins `to` bytes from a line's start or so.
    fn check_load(start: usize, to: usize, length: usize) {
        let source = pattern((start + length.div_ceil(WORD)) * WORD);
        let words: Vec<_> = source
            .as_chunks()
            .0
            .iter()
            .map(|chunk| AtomicU64::new(u64::from_ne_bytes(*chunk)))
            .collect();
        let mut out = vec![MaybeUninit::new(GUARD); to + length + 70];
        load(&words[start..], &mut out[to..to + length]);
        // SAFETY: all of it was initialised when it was made.
        let out: Vec<u8> = out.into_iter().map(|byte| unsafe { byte.assume_init() }).collect();
        let what = format!("{length} bytes from word {start} on to {to}");
        assert!(out[to..to + length] == source[start * WORD..][..length], "{what}");
        let beside = out[..to].iter().chain(&out[to + length..]);
        assert!(beside.into_iter().all(|byte| *byte == GUARD), "{what}: stored beside it");
    }

    #[test]
    fn every_way_of_copying_stores_all_of_the_bytes_and_no_others() {
        let around = [LONG_WORDS * WORD, LEAST_PAST_CACHES, LEAST_PAST_CACHES + 64, STRING_BYTES];
        for length in lengths(&around).filter(|length| *length > 0).chain(1..=300) {
            for start in 0..=9 {
                for way in [Way::Cached, Way::PastCaches] {
                    check_store(way, start * 3, start, length);
                }
                check_load(start, start, length);
            }
        }
    }

    #[test]
    fn a_part_of_a_message_leaves_the_bytes_around_it_as_they_are() {
        let around = [LONG_WORDS * WORD, LEAST_PAST_CACHES, LEAST_PAST_CACHES + 64];
        for length in lengths(&around).chain(0..=30) {
            for offset in 0..=17 {
                for way in [Way::Cached, Way::PastCaches] {
                    check_store_at(way, offset, length);
                }
            }
        }
    }

    #[test]
    fn long_copies_store_all_of_the_bytes_and_no_others() {
        for length in [PAST_CACHES_LOADED - 1, PAST_CACHES_LOADED, PAST_CACHES_LOADED + 73] {
            for to in [0, 1, 56] {
                check_load(1, to, length);
            }
            check_store(Way::PastCaches, 3, 5, length);
        }
    }
}
