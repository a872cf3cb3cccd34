//! Memory for large copies, used again: getting it from the system costs more than the copy that goes into it.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arrow_buffer::{Buffer, MutableBuffer};

/// Smaller copies get their memory from the allocator, which keeps such for itself.
pub(super) const LARGE_BYTES: usize = 1 << 20;
/// Memory of more than so many times what is asked for is given back to the system.
const MOST_WASTE: usize = 4;

/// Where the memory of one large copy is kept from the drop of its last reference to the next copy.
#[derive(Debug, Default)]
pub(super) struct Spare(Arc<Mutex<MutableBuffer>>);

/// Memory that goes back to where it is from.
struct Borrowed {
    memory: MutableBuffer,
    home: Weak<Mutex<MutableBuffer>>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // The reader may be gone: then nobody needs it.
        if let Some(home) = self.home.upgrade() {
            // What was there, if any, is freed after the lock.
            std::mem::swap(&mut *lock(&home), &mut self.memory);
        }
    }
}

impl Spare {
    /// A buffer of `length` bytes, aligned as [`MutableBuffer`]s are, which `fill` stores.
    ///
    /// # Safety
    /// `fill` initialises all of the bytes it is given.
    pub(super) unsafe fn buffer(
        &self,
        length: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]),
    ) -> Buffer {
        let mut memory = std::mem::take(&mut *lock(&self.0));
        if !(length..=MOST_WASTE * length).contains(&memory.capacity()) {
            memory = MutableBuffer::with_capacity(length);
            advise_huge_pages(&mut memory, length);
        }
        // SAFETY: as this function's.
        unsafe { fill_all(&mut memory, length, fill) };
        let start = NonNull::from(memory.as_slice_mut()).cast::<u8>();
        let owner = Arc::new(Borrowed { memory, home: Arc::downgrade(&self.0) });
        // SAFETY: these bytes are initialised, and `owner` neither changes nor moves them before it is dropped.
        unsafe { Buffer::from_custom_allocation(start, length, owner) }
    }
}

/// Asks for large pages where `length` bytes of `memory` fill such as a whole: the system gives 512 times fewer of them
/// several times as fast.
fn advise_huge_pages(memory: &mut MutableBuffer, length: usize) {
    /// Bytes of a large page on most systems. Where they are larger, advice for a part of one is without effect.
    const HUGE_BYTES: usize = 2 << 20;
    let start = memory.as_mut_ptr();
    let before = start.align_offset(HUGE_BYTES);
    let Some(pages) = length.checked_sub(before).map(|rest| rest / HUGE_BYTES) else { return };
    // A kernel without large pages answers EINVAL, and nothing is lost.
    // SAFETY: the range is within the buffer's memory; the advice changes no contents.
    unsafe {
        libc::madvise(start.wrapping_add(before).cast(), pages * HUGE_BYTES, libc::MADV_HUGEPAGE)
    };
}

/// Replaces what is in `memory` by `length` bytes, for which it has room.
///
/// # Safety
/// `fill` initialises all of the bytes it is given.
pub(super) unsafe fn fill_all(
    memory: &mut MutableBuffer,
    length: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]),
) {
    assert!(length <= memory.capacity(), "room for {length} bytes");
    let start = memory.as_mut_ptr().cast::<MaybeUninit<u8>>();
    // SAFETY: the buffer has room for that many bytes, which need not be initialised.
    fill(unsafe { std::slice::from_raw_parts_mut(start, length) });
    // SAFETY: `fill` initialised them all.
    unsafe { memory.set_len(length) };
}

fn lock(memory: &Mutex<MutableBuffer>) -> MutexGuard<'_, MutableBuffer> {
    // Nothing is done under the lock that could leave a buffer half changed.
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(spare: &Spare, length: usize, value: u8) -> Buffer {
        let fill = |bytes: &mut [MaybeUninit<u8>]| {
            bytes.fill(MaybeUninit::new(value));
        };
        // SAFETY: all bytes are filled.
        let buffer = unsafe { spare.buffer(length, fill) };
        assert!(buffer.len() == length && buffer.iter().all(|byte| *byte == value));
        buffer
    }

    #[test]
    fn memory_is_used_again_when_nobody_refers_to_it() {
        let spare = Spare::default();
        let first = buffer(&spare, 2 * LARGE_BYTES, 1);
        let start = first.as_ptr();
        let second = buffer(&spare, 2 * LARGE_BYTES + 5, 2);
        assert_ne!(second.as_ptr(), start);
        let part = first.slice(100);
        drop(first);
        assert_ne!(buffer(&spare, LARGE_BYTES, 3).as_ptr(), start, "part of it is in use");
        drop(part);
        assert_eq!(buffer(&spare, LARGE_BYTES, 4).as_ptr(), start);
        assert!(second.iter().all(|byte| *byte == 2));
    }

    #[test]
    fn what_is_much_too_large_is_given_back() {
        let spare = Spare::default();
        drop(buffer(&spare, 9 * LARGE_BYTES, 1));
        drop(buffer(&spare, LARGE_BYTES, 2));
        assert!(lock(&spare.0).capacity() < 2 * LARGE_BYTES);
    }

    #[test]
    fn memory_outlives_the_reader() {
        let spare = Spare::default();
        let kept = buffer(&spare, LARGE_BYTES, 1);
        drop(spare);
        assert!(kept.iter().all(|byte| *byte == 1));
    }
}
