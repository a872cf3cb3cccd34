//! Handles: what they are checked for before anything behind them is touched.
//!
//! A handle is a small block of memory with a magic number for its kind. Destroyed ones are kept for a while,
//! marked dead, so that using one again is an error rather than a use of freed memory.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use crate::status::{Failure, Outcome, QADS_BUSY};

/// Destroyed handles that are kept, 24 bytes each.
const KEPT: usize = 4096;
/// What a destroyed handle has for its magic number.
const DEAD: u64 = 0x6465_6164_2073_6461;

/// A kind of handle.
pub trait Kind: Send + 'static {
    const MAGIC: u64;
    /// What it is, for messages.
    const WHAT: &'static str;
}

/// What a handle points to.
#[repr(C)]
pub struct Handle<T> {
    header: Header,
    /// `None` once it is destroyed. A box, so that dead handles are small.
    value: UnsafeCell<Option<Box<T>>>,
}

#[repr(C)]
struct Header {
    magic: AtomicU64,
    /// Whether a thread is in a call on it.
    busy: AtomicBool,
}

/// The memory of destroyed handles, whose type no longer matters; each makes room for the one [`KEPT`] after it.
/// Without a lock: one that a thread has while another forks is never given back in the child.
static DEAD_HANDLES: [AtomicPtr<Handle<()>>; KEPT] =
    [const { AtomicPtr::new(ptr::null_mut()) }; KEPT];
/// How many handles have been destroyed.
static DESTROYED: AtomicUsize = AtomicUsize::new(0);

/// A handle in use by this call, and by no other.
pub struct Entered<'a, T> {
    handle: &'a Handle<T>,
    value: &'a mut T,
}

impl<T> Drop for Entered<'_, T> {
    fn drop(&mut self) {
        // Release: the next thread that enters sees what this one did.
        self.handle.header.busy.store(false, Ordering::Release);
    }
}

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> DerefMut for Entered<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value
    }
}

impl<T: Kind> Handle<T> {
    /// Makes a handle.
    pub fn make(value: T) -> *mut Self {
        Box::into_raw(Box::new(Self {
            header: Header { magic: AtomicU64::new(T::MAGIC), busy: AtomicBool::new(false) },
            value: UnsafeCell::new(Some(Box::new(value))),
        }))
    }

    /// Checks that a pointer from the caller is a live handle of this kind.
    fn check<'a>(handle: *const Self) -> Outcome<&'a Self> {
        if handle.is_null() {
            return Err(Failure::null(T::WHAT));
        }
        let nonsense = || Failure::invalid(format!("this is not a {}", T::WHAT));
        if !handle.is_aligned() {
            return Err(nonsense());
        }
        // SAFETY: the interface asks for a pointer that it gave, and memory of destroyed handles is kept; of
        // others only what is not readable at all goes wrong here. The magic number comes first (`repr(C)`).
        let magic = unsafe { AtomicU64::from_ptr(handle.cast_mut().cast()) };
        // Relaxed: `busy` orders what matters.
        let magic = magic.load(Ordering::Relaxed);
        if magic == DEAD {
            return Err(Failure::invalid(format!("this {} was destroyed", T::WHAT)));
        }
        if magic != T::MAGIC {
            return Err(nonsense());
        }
        // SAFETY: it has the magic number of this kind, so it was made here.
        Ok(unsafe { &*handle })
    }

    /// Takes a handle for the length of a call.
    #[inline(always)]
    pub fn enter<'a>(handle: *const Self) -> Outcome<Entered<'a, T>> {
        let handle = Self::check(handle)?;
        // Acquire pairs with the Release in `Entered::drop`.
        if handle.header.busy.swap(true, Ordering::Acquire) {
            return Err(busy::<T>());
        }
        // SAFETY: `busy` was not set and is now, so that no other thread has a reference.
        match unsafe { &mut *handle.value.get() } {
            Some(value) => Ok(Entered { handle, value }),
            // Destroyed since the magic number was read; stays busy for ever.
            None => Err(Failure::invalid(format!("this {} was destroyed", T::WHAT))),
        }
    }

    /// Ends a handle and gives what it held.
    pub fn destroy(handle: *mut Self) -> Outcome<Box<T>> {
        let checked = Self::check(handle)?;
        if checked.header.busy.swap(true, Ordering::Acquire) {
            return Err(busy::<T>());
        }
        // SAFETY: as in `enter`.
        let value = unsafe { &mut *checked.value.get() };
        let value = value.take().ok_or_else(|| Failure::invalid("it was destroyed"))?;
        checked.header.magic.store(DEAD, Ordering::Relaxed);
        // Relaxed: only a number.
        let place = DESTROYED.fetch_add(1, Ordering::Relaxed) % KEPT;
        // Acquire and Release: who frees a handle does it after all that was done to it.
        let oldest = DEAD_HANDLES[place].swap(handle.cast(), Ordering::AcqRel);
        if !oldest.is_null() {
            // SAFETY: made by `make` and put there by the one destroy that found its value, so that it is taken out
            // once. `Handle<()>` has the same layout (a header and a pointer), and its value is `None`.
            drop(unsafe { Box::from_raw(oldest) });
        }
        Ok(value)
    }
}

#[cold]
fn busy<T: Kind>() -> Failure {
    let what = T::WHAT;
    Failure::new(
        QADS_BUSY,
        format!(
            "another thread is in a call on this {what}; use a {what} from one thread at a time"
        ),
    )
}
