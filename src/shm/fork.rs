//! What happens to open segments when the process forks.
//!
//! A child inherits both the mapping and the descriptor of every handle. Two things must then hold:
//!
//! * A handle used in the child is refused. Each handle keeps the [`generation`] it was made in; the
//!   child's handler moves the process-wide number on.
//! * The child must not keep the parent's locks alive. An open-file-description lock lives as long
//!   as anything refers to that description, so a child that outlives a killed writer would keep it
//!   looking alive. The child's handler therefore closes every descriptor listed here, and mappings,
//!   which a child inherits too, are made from a description of their own (`Segment::map`).
//!
//! The list is guarded by a lock that `fork` takes first (the prepare handler), so a fork never sees
//! a descriptor that is open and not yet listed. Children made by `vfork` or `posix_spawn` execute
//! another program at once, and `O_CLOEXEC` covers those. A raw `clone` system call runs no handlers
//! and is not supported.

use std::cell::UnsafeCell;
use std::os::fd::RawFd;
use std::sync::Once;

use super::SysError;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Moves on in every forked child.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// 0 free, 1 taken: a lock that may be taken by one function and released by another, as the
/// handlers of `pthread_atfork` need it.
static LIST_LOCK: AtomicU32 = AtomicU32::new(0);
static LIST: List = List(UnsafeCell::new(Vec::new()));
static HANDLERS: Once = Once::new();

struct List(UnsafeCell<Vec<RawFd>>);

// SAFETY: the vector is only reached with LIST_LOCK taken (`with_list` and the child's handler, which
// runs after `lock_list` was called by the prepare handler of the same fork).
unsafe impl Sync for List {}

/// Which side of how many forks this process is on; equal for all handles that may be used here.
#[inline]
pub fn generation() -> u64 {
    // Relaxed: the only store is made in a forked child, which has a single thread.
    GENERATION.load(Ordering::Relaxed)
}

/// A descriptor that a forked child closes by itself.
#[derive(Debug)]
pub struct TrackedFd {
    fd: RawFd,
    generation: u64,
}

impl TrackedFd {
    /// Opens a descriptor with `open` (which returns -1 and sets `errno` on failure) and lists it.
    pub fn open(call: &'static str, open: impl FnOnce() -> RawFd) -> Result<Self, SysError> {
        HANDLERS.call_once(|| {
            // SAFETY: the three handlers are plain functions of this crate that touch only the
            // statics above and make only async-signal-safe calls.
            unsafe { libc::pthread_atfork(Some(lock_list), Some(unlock_list), Some(in_child)) };
        });
        with_list(|list| {
            let fd = open();
            if fd < 0 {
                return Err(SysError::last(call));
            }
            list.push(fd);
            Ok(Self { fd, generation: generation() })
        })
    }

    /// The descriptor's number.
    pub fn raw(&self) -> RawFd {
        self.fd
    }
}

impl Drop for TrackedFd {
    fn drop(&mut self) {
        // In a forked child the descriptor is closed already and its number may mean another file.
        if self.generation != generation() {
            return;
        }
        // A child that another thread has forked and that has not executed its program yet still has the
        // descriptor: the lock is given back in so many words, not by closing.
        // SAFETY: all zeroes is a value of this plain C struct.
        let mut all: libc::flock = unsafe { std::mem::zeroed() };
        all.l_type = libc::F_UNLCK as libc::c_short;
        // SAFETY: the descriptor is open and `all` outlives the call.
        unsafe { libc::fcntl(self.fd, libc::F_OFD_SETLK, &mut all) };
        with_list(|list| {
            list.retain(|fd| *fd != self.fd);
            // SAFETY: this handle owns the descriptor, which is open: only `in_child` closes it
            // otherwise, and that was ruled out above.
            unsafe { libc::close(self.fd) };
        });
    }
}

fn with_list<R>(act: impl FnOnce(&mut Vec<RawFd>) -> R) -> R {
    lock_list();
    // SAFETY: LIST_LOCK is taken, so this is the only reference; `act` does not come back here.
    let list = unsafe { &mut *LIST.0.get() };
    let result = act(list);
    unlock_list();
    result
}

extern "C" fn lock_list() {
    // Acquire pairs with the Release in `unlock_list`: the list is seen as its last holder left it.
    while LIST_LOCK.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        // Held for the length of an open or a close.
        std::thread::yield_now();
    }
}

extern "C" fn unlock_list() {
    LIST_LOCK.store(0, Ordering::Release);
}

extern "C" fn in_child() {
    // SAFETY: the prepare handler took LIST_LOCK in the thread that forked, which is the child's only
    // thread, so nobody else holds a reference.
    let list = unsafe { &mut *LIST.0.get() };
    for fd in list.iter() {
        // SAFETY: closing a descriptor that this process inherited; handles do not close it again
        // because their generation is over.
        unsafe { libc::close(*fd) };
    }
    // Keeps the allocation: freeing memory is not safe between fork and exec.
    list.clear();
    GENERATION.store(generation() + 1, Ordering::Relaxed);
    unlock_list();
}
