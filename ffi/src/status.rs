//! Status codes, the text of the last error, and the guard that no panic passes.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ring::QADataSwapError;

/// Done.
pub const QADS_OK: c_int = 0;
/// Not done, for a reason that has no code of its own; qads_last_error() says more.
pub const QADS_ERROR: c_int = -1;
/// The time was up: no message came, or a lossless reader is in the way of a write. Try again.
pub const QADS_TIMEOUT: c_int = -2;
/// Memory: the message is larger than the slot or the buffer, or there is no shared memory for it.
pub const QADS_MEMORY: c_int = -3;
/// The ring has ended and every message in it has been consumed; or this handle has ended it.
pub const QADS_CLOSED: c_int = -4;
/// An argument that cannot be: NULL, no handle of that kind, a bad name, an option out of range.
pub const QADS_INVALID: c_int = -5;
/// There is no ring of this name.
pub const QADS_NOT_FOUND: c_int = -6;
/// The ring has a live writer, and a ring has only one.
pub const QADS_WRITER_ALIVE: c_int = -7;
/// The operating system denies access to the shared memory.
pub const QADS_DENIED: c_int = -8;
/// Arrow data that is malformed, or that a message cannot carry. When reading, the message was consumed.
pub const QADS_ARROW: c_int = -9;
/// The writer lapped this reader, which asked to be told (on_overrun). The next read goes on.
pub const QADS_OVERRUN: c_int = -10;
/// The writer gave up this lossless reader, which was too slow: qads_reader_rejoin().
pub const QADS_EVICTED: c_int = -11;
/// The shared memory is not a ring, is of another version, or is damaged. A damaged message is passed over.
pub const QADS_DAMAGED: c_int = -12;
/// No lease to be had (too many, or the control segment cannot be used), or every slot is leased.
pub const QADS_HOLDS: c_int = -13;
/// The Arrow message cannot be had in place, or not as one batch. It was not consumed: read a copy.
pub const QADS_NOT_IN_PLACE: c_int = -14;
/// Another thread is in a call on this handle, or the writer has an open reservation.
pub const QADS_BUSY: c_int = -15;
/// The handle was inherited through fork; make a new one in the child.
pub const QADS_FORKED: c_int = -16;
/// A failure inside the library. Please report it.
pub const QADS_INTERNAL: c_int = -17;
/// The message has not the size asked for. It was not consumed.
pub const QADS_SIZE_MISMATCH: c_int = -18;

/// Why a call was not carried out.
pub struct Failure {
    code: c_int,
    text: Cow<'static, str>,
}

impl Failure {
    pub fn new(code: c_int, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into() }
    }

    /// An argument that cannot be.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(QADS_INVALID, text)
    }

    /// A pointer argument that is NULL.
    pub fn null(argument: &str) -> Self {
        Self::invalid(format!("{argument} is NULL"))
    }

    /// No message came in time.
    pub fn nothing() -> Self {
        Self::new(QADS_TIMEOUT, "no message came in time")
    }
}

impl From<QADataSwapError> for Failure {
    fn from(error: QADataSwapError) -> Self {
        use QADataSwapError::*;
        let code = match &error {
            InvalidName | InvalidOption { .. } => QADS_INVALID,
            ReadTimeout | WouldBlock { .. } => QADS_TIMEOUT,
            MemoryMapFailed | NoSpace { .. } | MessageTooLarge { .. } | BufferTooSmall { .. } => {
                QADS_MEMORY
            }
            Closed => QADS_CLOSED,
            NotFound { .. } => QADS_NOT_FOUND,
            WriterAlive { .. } => QADS_WRITER_ALIVE,
            PermissionDenied { .. } => QADS_DENIED,
            ArrowError(_) => QADS_ARROW,
            Overrun { .. } => QADS_OVERRUN,
            Evicted { .. } => QADS_EVICTED,
            VersionMismatch { .. } | Damaged { .. } | CorruptMessage { .. } => QADS_DAMAGED,
            AllSlotsLeased { .. } | HoldsUnavailable { .. } | TooManyLeases { .. } => QADS_HOLDS,
            NotAligned | NotOneBatch { .. } => QADS_NOT_IN_PLACE,
            Forked => QADS_FORKED,
            SizeMismatch { .. } => QADS_SIZE_MISMATCH,
            _ => QADS_ERROR,
        };
        Self::new(code, error.to_string())
    }
}

impl From<arrow_schema::ArrowError> for Failure {
    fn from(error: arrow_schema::ArrowError) -> Self {
        QADataSwapError::from(error).into()
    }
}

pub type Outcome<T = ()> = Result<T, Failure>;

/// Does what a function of the interface does, and gives its status. Every one of them goes through here:
/// a panic that left it would abort the caller's process.
#[inline(always)]
pub fn call(act: impl FnOnce() -> Outcome) -> c_int {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(())) => QADS_OK,
        Ok(Err(failure)) => failed(failure),
        Err(panic) => panicked(panic),
    }
}

/// [`call`] for the functions that know only the codes 0, -1, -2 and -3.
#[inline(always)]
pub fn reference_call(act: impl FnOnce() -> Outcome) -> c_int {
    match call(act) {
        code @ (QADS_OK | QADS_TIMEOUT | QADS_MEMORY) => code,
        _ => QADS_ERROR,
    }
}

#[cold]
fn failed(failure: Failure) -> c_int {
    remember(&failure.text);
    failure.code
}

#[cold]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> c_int {
    let what = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "of an unknown kind",
    };
    remember(&format!("internal failure: {what}"));
    // Dropping it could panic again.
    std::mem::forget(panic);
    QADS_INTERNAL
}

thread_local! {
    static LAST_ERROR: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Keeps `text` for [`qads_last_error`].
fn remember(text: &str) {
    let text = CString::new(text.replace('\0', "\\0")).ok();
    // While a thread ends there is nowhere to keep it.
    let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = text);
}

/// What went wrong in the last call of this thread that failed, in a sentence: what was asked, what happened,
/// what to do about it. Never NULL; empty if nothing failed yet. It stays until the next call of this thread
/// that fails.
#[unsafe(no_mangle)]
pub extern "C" fn qads_last_error() -> *const c_char {
    let text = catch_unwind(|| {
        LAST_ERROR.try_with(|last| last.borrow().as_ref().map(|text| text.as_ptr())).ok().flatten()
    });
    text.ok().flatten().unwrap_or(c"".as_ptr())
}

/// The text that `name` points to.
pub fn name<'a>(name: *const c_char) -> Outcome<&'a str> {
    if name.is_null() {
        return Err(Failure::null("name"));
    }
    // SAFETY: the interface asks for a null-terminated string that lives as long as the call.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().map_err(|_| QADataSwapError::InvalidName.into())
}

/// The `size` bytes that `data` points to; NULL is fine for none.
pub fn bytes<'a>(data: *const std::ffi::c_void, size: usize) -> Outcome<&'a [u8]> {
    check_memory(data, size, "data")?;
    if size == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL and of a possible length; the interface asks for as many readable bytes, which nobody
    // changes during the call.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), size) })
}

/// The `size` bytes of memory at `buffer`, to be filled; NULL is fine for none.
pub fn buffer<'a>(buffer: *mut std::ffi::c_void, size: usize) -> Outcome<&'a mut [u8]> {
    check_memory(buffer, size, "buffer")?;
    if size == 0 {
        return Ok(&mut []);
    }
    // SAFETY: not NULL and of a possible length; the interface asks for as many writable bytes, which nobody
    // else touches during the call. They may be uninitialised: they are only stored to.
    Ok(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), size) })
}

fn check_memory(start: *const std::ffi::c_void, size: usize, argument: &str) -> Outcome {
    if start.is_null() && size > 0 {
        return Err(Failure::null(argument));
    }
    if size > isize::MAX as usize {
        return Err(Failure::invalid(format!("{argument} cannot have {size} bytes")));
    }
    Ok(())
}

/// Stores an output of a call.
pub fn store<T>(out: *mut T, value: T, argument: &str) -> Outcome {
    check_out(out, argument)?;
    // SAFETY: not NULL and aligned; the interface asks for memory for a value of this type.
    unsafe { out.write(value) };
    Ok(())
}

/// Whether an output can be stored there; asked before anything is done.
pub fn check_out<T>(out: *const T, argument: &str) -> Outcome {
    if out.is_null() {
        return Err(Failure::null(argument));
    }
    if !out.is_aligned() {
        return Err(Failure::invalid(format!("{argument} is not aligned")));
    }
    Ok(())
}
