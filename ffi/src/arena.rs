//! The six calls of the API reference: one handle, which becomes a writer or a reader.
//!
//! They know the codes 0, -1, -2 and -3 only, so that code written for those is complete.

use std::ffi::{c_char, c_int, c_void};

use ring::{QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions};

use crate::handle::{Handle, Kind};
use crate::status::{self, Failure, Outcome};

struct Arena {
    name: String,
    /// Bytes of all slots together, as the caller said.
    size: usize,
    slot_count: usize,
    role: Role,
}

enum Role {
    None,
    Writer(Box<Writer>),
    Reader(Box<Reader>),
}

impl Kind for Arena {
    const MAGIC: u64 = 0x7161_6473_6172_656e;
    const WHAT: &'static str = "arena";
}

/// A handle for the ring `name`, to be made its writer (qads_create_writer) or one of its readers
/// (qads_attach_reader). `size` is how many bytes the messages of all slots may take together, and `buffer_count`
/// the number of slots: each takes a message of up to size / buffer_count bytes. A reader may give 0 for
/// both; it takes them from the ring.
///
/// A name has 1 to 245 bytes of UTF-8, no '/', no control character, no leading dot, and does not end in
/// ".ctl" or ".next". NULL if it is not such a name.
///
/// # Safety
/// `name` must be a null-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_create_arena(
    name: *const c_char,
    size: usize,
    buffer_count: usize,
) -> *mut c_void {
    let mut made = std::ptr::null_mut();
    status::call(|| {
        let name = status::name(name)?;
        ring::check_name(name)?;
        let arena =
            Arena { name: name.to_owned(), size, slot_count: buffer_count, role: Role::None };
        made = Handle::make(arena).cast();
        Ok(())
    });
    made
}

/// Ends the handle. A writer's ends the ring and removes its shared memory: readers consume what is in it and
/// are then told that it is closed. A reader's only detaches. NULL is ignored.
///
/// # Safety
/// `arena` must be NULL or from qads_create_arena, and no other thread in a call on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_destroy_arena(arena: *mut c_void) {
    if arena.is_null() {
        return;
    }
    status::call(|| match Handle::<Arena>::destroy(arena.cast())?.role {
        Role::Writer(writer) => Ok(writer.unlink()?),
        Role::Reader(_) | Role::None => Ok(()),
    });
}

/// Makes the arena the writer of its ring: creates the shared memory, or takes it over if its writer is gone.
///
/// # Safety
/// `arena` must be from qads_create_arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_create_writer(arena: *mut c_void) -> c_int {
    status::reference_call(|| {
        let mut arena = Handle::<Arena>::enter(arena.cast())?;
        arena.check_undecided()?;
        let share = arena.size.checked_div(arena.slot_count).unwrap_or(0);
        if share == 0 {
            return Err(Failure::invalid(format!(
                "{} bytes for {} slots: each slot needs at least one byte",
                arena.size, arena.slot_count
            )));
        }
        let writer = WriterOptions::new(arena.slot_count)
            .slot_capacity(share)
            .rollover(false)
            .create(&arena.name)?;
        arena.role = Role::Writer(Box::new(writer));
        Ok(())
    })
}

/// Makes the arena a reader of its ring, at the oldest message in it. Waits up to five seconds for a ring that
/// is not there yet.
///
/// # Safety
/// `arena` must be from qads_create_arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_attach_reader(arena: *mut c_void) -> c_int {
    status::reference_call(|| {
        let mut arena = Handle::<Arena>::enter(arena.cast())?;
        arena.check_undecided()?;
        let reader = ReaderOptions::new().attach(&arena.name)?;
        arena.role = Role::Reader(Box::new(reader));
        Ok(())
    })
}

/// Publishes a message of `size` bytes. -3 if it is larger than a slot, or there is no shared memory for it;
/// -2 if a lossless reader keeps it waiting for five seconds. Nothing was published then.
///
/// # Safety
/// `arena` must be from qads_create_arena, and `data` have `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_write_data(
    arena: *mut c_void,
    data: *const c_void,
    size: usize,
) -> c_int {
    status::reference_call(|| {
        let arena = Handle::<Arena>::enter(arena.cast())?;
        let data = status::bytes(data, size)?;
        match &arena.role {
            Role::Writer(writer) => Ok(writer.write(data)?),
            Role::Reader(_) => {
                Err(Failure::invalid("this arena is a reader; only a writer writes"))
            }
            Role::None => Err(arena.no_role("qads_create_writer")),
        }
    })
}

/// Reads the next message into `buffer` and stores its length in `*read_size`, waiting for it for up to
/// `timeout_ms` milliseconds (0 does not wait, UINT64_MAX waits for ever). -2 if none came; -3 if the buffer is
/// too small: `*read_size` is then the size needed, and the message is not consumed. -1 when the writer has ended
/// the ring and every message is consumed, and for other errors: qads_last_error() says which.
///
/// # Safety
/// `arena` must be from qads_create_arena, `buffer` have `buffer_size` bytes and `read_size` be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_read_data(
    arena: *mut c_void,
    buffer: *mut c_void,
    buffer_size: usize,
    read_size: *mut usize,
    timeout_ms: u64,
) -> c_int {
    status::reference_call(|| {
        let arena = Handle::<Arena>::enter(arena.cast())?;
        match &arena.role {
            Role::Reader(reader) => read(reader, buffer, buffer_size, read_size, timeout_ms),
            Role::Writer(_) => Err(Failure::invalid("this arena is a writer; only a reader reads")),
            Role::None => Err(arena.no_role("qads_attach_reader")),
        }
    })
}

/// Reads the next message into the caller's buffer.
pub fn read(
    reader: &Reader,
    buffer: *mut c_void,
    buffer_size: usize,
    read_size: *mut usize,
    timeout_ms: u64,
) -> Outcome {
    let buffer = status::buffer(buffer, buffer_size)?;
    status::check_out(read_size, "read_size")?;
    match reader.read_into(buffer, timeout_ms) {
        Ok(Some(length)) => status::store(read_size, length, "read_size"),
        Ok(None) => Err(Failure::nothing()),
        Err(error) => {
            if let QADataSwapError::BufferTooSmall { needed_bytes, .. } = error {
                status::store(read_size, needed_bytes, "read_size")?;
            }
            Err(error.into())
        }
    }
}

impl Arena {
    fn check_undecided(&self) -> Outcome {
        match self.role {
            Role::None => Ok(()),
            Role::Writer(_) => Err(Failure::invalid("this arena already is a writer")),
            Role::Reader(_) => Err(Failure::invalid("this arena already is a reader")),
        }
    }

    fn no_role(&self, call: &str) -> Failure {
        Failure::invalid(format!("this arena is neither writer nor reader yet: {call} first"))
    }
}
