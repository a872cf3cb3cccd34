//! `qads_reader` and `qads_lease`: the consuming handle with all it can do, and messages held in place.

use std::ffi::{c_char, c_int, c_void};

use ring::{Lease, Reader};

use crate::arena;
use crate::handle::{Entered, Handle, Kind};
use crate::options::{self, qads_reader_options, qads_reader_stats};
use crate::status::{self, Failure, Outcome};

/// A reader of a ring. Use it from one thread at a time; give each thread its own.
pub struct qads_reader(#[expect(dead_code, reason = "seen through pointers only")] Handle<Reader>);

/// A message held in place. It may outlive its reader, and be released on any thread.
pub struct qads_lease(#[expect(dead_code, reason = "seen through pointers only")] Handle<Lease>);

impl Kind for Reader {
    const MAGIC: u64 = 0x7161_6473_7265_6164;
    const WHAT: &'static str = "reader";
}

impl Kind for Lease {
    const MAGIC: u64 = 0x7161_6473_6c65_6173;
    const WHAT: &'static str = "lease";
}

/// The reader behind a handle, for the length of a call.
#[inline(always)]
pub fn enter<'a>(reader: *const qads_reader) -> Outcome<Entered<'a, Reader>> {
    Handle::enter(reader.cast())
}

/// Attaches a reader to the ring `name` and stores a handle in `*reader`. NULL for `options` means the usual
/// ones: at the oldest message, waiting up to five seconds for a ring that is not there yet.
///
/// # Safety
/// `name` must be a null-terminated string and `reader` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_attach(
    name: *const c_char,
    options: *const qads_reader_options,
    reader: *mut *mut qads_reader,
) -> c_int {
    status::call(|| {
        status::check_out(reader, "reader")?;
        let made = options::reader_options(options)?.attach(status::name(name)?)?;
        status::store(reader, Handle::make(made).cast(), "reader")
    })
}

/// Detaches the reader. Its leases, and Arrow data that was read in place, stay as they are until they are
/// released. NULL is ignored. A handle that another thread is in a call on is left as it is.
///
/// # Safety
/// `reader` must be NULL or from qads_reader_attach.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_destroy(reader: *mut qads_reader) {
    if reader.is_null() {
        return;
    }
    status::call(|| Handle::<Reader>::destroy(reader.cast()).map(drop));
}

/// Reads the next message into `buffer` and stores its length in `*read_size`, waiting for it for up to
/// `timeout_ms` milliseconds (0 does not wait, UINT64_MAX waits for ever). QADS_TIMEOUT if none came; QADS_MEMORY if
/// the buffer is too small: `*read_size` is then the size needed, and the message is not consumed.
///
/// # Safety
/// `reader` must be from qads_reader_attach, `buffer` have `buffer_size` bytes and `read_size` be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_read(
    reader: *mut qads_reader,
    buffer: *mut c_void,
    buffer_size: usize,
    read_size: *mut usize,
    timeout_ms: u64,
) -> c_int {
    status::call(|| arena::read(&*enter(reader)?, buffer, buffer_size, read_size, timeout_ms))
}

/// Reads the next message into `buffer` if it has exactly `size` bytes; else QADS_SIZE_MISMATCH, and the message
/// is not consumed.
///
/// # Safety
/// `reader` must be from qads_reader_attach, and `buffer` have `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_read_exact(
    reader: *mut qads_reader,
    buffer: *mut c_void,
    size: usize,
    timeout_ms: u64,
) -> c_int {
    status::call(|| {
        let reader = enter(reader)?;
        match reader.read_exact(status::buffer(buffer, size)?, timeout_ms)? {
            true => Ok(()),
            false => Err(Failure::nothing()),
        }
    })
}

/// Passes over the next message without reading it; it counts as consumed. QADS_TIMEOUT if there is none.
///
/// # Safety
/// `reader` must be from qads_reader_attach.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_skip(reader: *mut qads_reader) -> c_int {
    status::call(|| match enter(reader)?.skip()? {
        true => Ok(()),
        false => Err(Failure::nothing()),
    })
}

/// Reads the next message in place: stores a lease in `*lease`, and in `*data` and `*size` where the message lies
/// in shared memory. The pointer is aligned to 8; do not write there. The bytes do not change until
/// qads_lease_release. The writer does not wait for that: it goes round the slot, so release it soon.
///
/// # Safety
/// `reader` must be from qads_reader_attach, and `lease`, `data` and `size` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_lease(
    reader: *mut qads_reader,
    timeout_ms: u64,
    lease: *mut *mut qads_lease,
    data: *mut *const c_void,
    size: *mut usize,
) -> c_int {
    status::call(|| {
        status::check_out(lease, "lease")?;
        status::check_out(data, "data")?;
        status::check_out(size, "size")?;
        let leased = enter(reader)?.lease(timeout_ms)?.ok_or_else(Failure::nothing)?;
        status::store(data, leased.as_ptr().cast(), "data")?;
        status::store(size, leased.len(), "size")?;
        status::store(lease, Handle::make(leased).cast(), "lease")
    })
}

/// Stores the position of the leased message in `*position`.
///
/// # Safety
/// `lease` must be from qads_reader_lease, and `position` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_lease_position(
    lease: *const qads_lease,
    position: *mut u64,
) -> c_int {
    status::call(|| {
        let lease = Handle::<Lease>::enter(lease.cast())?;
        status::store(position, lease.position(), "position")
    })
}

/// Lets the writer have the slot again, on whatever thread; the data must not be read any more. NULL is ignored.
///
/// # Safety
/// `lease` must be NULL or from qads_reader_lease.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_lease_release(lease: *mut qads_lease) {
    if lease.is_null() {
        return;
    }
    status::call(|| Handle::<Lease>::destroy(lease.cast()).map(drop));
}

/// Makes a lossless reader that the writer gave up (QADS_EVICTED) lossless again, at the oldest message from its
/// place on that is still there. Stores in `*lost` how many messages it lost besides; NULL if that is not wanted.
///
/// # Safety
/// `reader` must be from qads_reader_attach, and `lost` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_rejoin(reader: *mut qads_reader, lost: *mut u64) -> c_int {
    status::call(|| {
        let reader = enter(reader)?;
        if !lost.is_null() {
            status::check_out(lost, "lost")?;
        }
        let more = reader.rejoin()?;
        if lost.is_null() { Ok(()) } else { status::store(lost, more, "lost") }
    })
}

/// Stores the reader's statistics in `*stats`, whose struct_size must be set.
///
/// # Safety
/// `reader` must be from qads_reader_attach, and `stats` have as many bytes as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_get_stats(
    reader: *mut qads_reader,
    stats: *mut qads_reader_stats,
) -> c_int {
    status::call(|| options::reader_stats(&*enter(reader)?, stats))
}
