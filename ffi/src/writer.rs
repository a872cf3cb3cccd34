//! `qads_writer`: the publishing handle with all it can do.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;

use ring::{Reservation, Writer};

use crate::handle::{Entered, Handle, Kind};
use crate::options::{self, qads_writer_options, qads_writer_stats};
use crate::status::{self, Failure, Outcome, QADS_BUSY, QADS_CLOSED};

/// The writer of a ring. Use it from one thread at a time.
pub struct qads_writer(
    #[expect(dead_code, reason = "seen through pointers only")] Handle<WriterState>,
);

/// A writer, and the reservation that is open in it.
pub struct WriterState {
    /// Borrows `*writer`, which is not touched while there is one.
    reservation: Option<Reservation<'static>>,
    /// From `Box::into_raw`; `None` once the ring has been ended.
    writer: Option<NonNull<Writer>>,
}

// SAFETY: it owns the writer and the one reference to it; both may move to another thread.
unsafe impl Send for WriterState {}

impl Kind for WriterState {
    const MAGIC: u64 = 0x7161_6473_7772_6974;
    const WHAT: &'static str = "writer";
}

impl Drop for WriterState {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl WriterState {
    fn new(writer: Writer) -> Self {
        let writer = NonNull::from(Box::leak(Box::new(writer)));
        Self { reservation: None, writer: Some(writer) }
    }

    /// The writer, unless it is reserved from or has ended its ring.
    #[inline(always)]
    pub fn writer(&mut self) -> Outcome<&mut Writer> {
        if self.reservation.is_some() {
            return Err(reserved());
        }
        match &mut self.writer {
            // SAFETY: a live box that is only reached through this pointer, and no reservation borrows it.
            Some(writer) => Ok(unsafe { writer.as_mut() }),
            None => Err(ended()),
        }
    }

    fn take(&mut self) -> Option<Box<Writer>> {
        self.reservation = None;
        // SAFETY: made from a box in `new`, and nothing borrows it any more.
        self.writer.take().map(|writer| unsafe { Box::from_raw(writer.as_ptr()) })
    }

    fn reserve(&mut self, size: usize) -> Outcome<*mut u8> {
        self.writer()?;
        let Some(mut writer) = self.writer else { return Err(ended()) };
        // SAFETY: as in `writer`. The reservation is dropped before the box, and all else refuses to touch the
        // writer while it is there, so that the borrow may have any lifetime.
        let writer: &'static mut Writer = unsafe { writer.as_mut() };
        let mut reservation = writer.reserve(size)?;
        let start = reservation.as_mut_ptr();
        self.reservation = Some(reservation);
        Ok(start)
    }
}

#[cold]
fn reserved() -> Failure {
    let text = "a reservation is open: qads_writer_publish or qads_writer_abandon first";
    Failure::new(QADS_BUSY, text)
}

#[cold]
fn ended() -> Failure {
    Failure::new(QADS_CLOSED, "this writer has ended its ring")
}

#[cold]
fn not_reserved() -> Failure {
    Failure::invalid("no reservation is open: qads_writer_reserve first")
}

/// The state behind a handle, for the length of a call.
#[inline(always)]
pub fn enter<'a>(writer: *const qads_writer) -> Outcome<Entered<'a, WriterState>> {
    Handle::enter(writer.cast())
}

/// Creates the ring `name`, or takes it over if its writer is gone, and stores a handle in `*writer`. NULL for
/// `options` means the usual ones.
///
/// # Safety
/// `name` must be a null-terminated string and `writer` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_create(
    name: *const c_char,
    options: *const qads_writer_options,
    writer: *mut *mut qads_writer,
) -> c_int {
    status::call(|| {
        status::check_out(writer, "writer")?;
        let made = options::writer_options(options)?.create(status::name(name)?)?;
        status::store(writer, Handle::make(WriterState::new(made)).cast(), "writer")
    })
}

/// Ends the handle; the ring stays, and another writer may go on with it. NULL is ignored. A handle that another
/// thread is in a call on is left as it is.
///
/// # Safety
/// `writer` must be NULL or from qads_writer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_destroy(writer: *mut qads_writer) {
    if writer.is_null() {
        return;
    }
    status::call(|| Handle::<WriterState>::destroy(writer.cast()).map(drop));
}

/// Publishes a message of `size` bytes.
///
/// # Safety
/// `writer` must be from qads_writer_create, and `data` have `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_write(
    writer: *mut qads_writer,
    data: *const c_void,
    size: usize,
) -> c_int {
    status::call(|| Ok(enter(writer)?.writer()?.write(status::bytes(data, size)?)?))
}

/// Publishes bytes that already are one Arrow IPC stream, made by any Arrow implementation. They are not looked
/// at: readers check what they decode.
///
/// # Safety
/// As qads_writer_write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_write_ipc(
    writer: *mut qads_writer,
    stream: *const c_void,
    size: usize,
) -> c_int {
    status::call(|| Ok(enter(writer)?.writer()?.write_ipc_stream(status::bytes(stream, size)?)?))
}

/// Opens the next slot for a message of up to `size` bytes and stores in `*data` where to put it. Write there and
/// do not read: the slot holds whatever an older message left. The pointer is aligned to 8 and good until
/// qads_writer_publish or qads_writer_abandon; every other call on the writer gives QADS_BUSY until then.
///
/// # Safety
/// `writer` must be from qads_writer_create and `data` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_reserve(
    writer: *mut qads_writer,
    size: usize,
    data: *mut *mut c_void,
) -> c_int {
    status::call(|| {
        status::check_out(data, "data")?;
        let start = enter(writer)?.reserve(size)?;
        status::store(data, start.cast(), "data")
    })
}

/// Publishes the first `size` bytes of the slot that was reserved. If that is more than was reserved, the result is
/// QADS_MEMORY and the reservation stays open.
///
/// # Safety
/// `writer` must be from qads_writer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_publish(writer: *mut qads_writer, size: usize) -> c_int {
    status::call(|| {
        let mut state = enter(writer)?;
        state.reservation.as_mut().ok_or_else(not_reserved)?.set_len(size)?;
        let reservation = state.reservation.take().ok_or_else(not_reserved)?;
        Ok(reservation.publish()?)
    })
}

/// Closes the reservation and publishes nothing.
///
/// # Safety
/// `writer` must be from qads_writer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_abandon(writer: *mut qads_writer) -> c_int {
    status::call(|| {
        enter(writer)?.reservation.take().ok_or_else(not_reserved)?;
        Ok(())
    })
}

/// Stores the writer's statistics in `*stats`, whose struct_size must be set.
///
/// # Safety
/// `writer` must be from qads_writer_create, and `stats` have as many bytes as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_get_stats(
    writer: *mut qads_writer,
    stats: *mut qads_writer_stats,
) -> c_int {
    status::call(|| options::writer_stats(enter(writer)?.writer()?, stats))
}

/// Ends the ring: readers consume what is in it and are then told QADS_CLOSED. The memory stays, for readers that
/// come later. The handle can then only be destroyed.
///
/// # Safety
/// `writer` must be from qads_writer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_close(writer: *mut qads_writer) -> c_int {
    status::call(|| Ok(enter(writer)?.take().ok_or_else(ended)?.close()?))
}

/// Ends the ring and removes its shared memory. Readers that are attached still consume what is in it. The
/// handle can then only be destroyed.
///
/// # Safety
/// `writer` must be from qads_writer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_unlink(writer: *mut qads_writer) -> c_int {
    status::call(|| Ok(enter(writer)?.take().ok_or_else(ended)?.unlink()?))
}
