//! The structures that can grow: options and statistics. Their first field says how large the caller's is.

use std::ffi::c_int;
use std::time::Duration;

use ring::{OnOverrun, OnSlowReader, ReaderOptions, Start, WaitStrategy, WriterOptions};

use crate::status::{self, Failure, Outcome};

/// on_slow_reader: a write waits for a lossless reader for up to slow_reader_ms, then gives QADS_TIMEOUT.
pub const QADS_SLOW_WAIT: u32 = 0;
/// on_slow_reader: a write that would overwrite what a lossless reader has not consumed gives QADS_TIMEOUT at
/// once.
pub const QADS_SLOW_REFUSE: u32 = 1;
/// on_slow_reader: a lossless reader that keeps a write waiting for slow_reader_ms is given up.
pub const QADS_SLOW_EVICT: u32 = 2;

/// start: the oldest message still in the ring.
pub const QADS_START_OLDEST: u32 = 0;
/// start: the newest message in the ring; the next one if there is none.
pub const QADS_START_NEWEST: u32 = 1;
/// start: the next message published.
pub const QADS_START_NEXT: u32 = 2;

/// wait: poll for spin_us, then sleep.
pub const QADS_WAIT_SPIN_THEN_SLEEP: u32 = 0;
/// wait: poll until the message comes. Lowest latency; takes a whole core.
pub const QADS_WAIT_SPIN: u32 = 1;
/// wait: sleep at once. A wake-up costs some microseconds.
pub const QADS_WAIT_SLEEP: u32 = 2;
/// wait: poll, and offer the core to whoever else is ready after each look. For processes that share cores.
pub const QADS_WAIT_YIELD: u32 = 3;

/// What a writer can be told when it is made. Fill it with qads_writer_options_init() first, then change what
/// you want: fields that a later version adds then have their usual values.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct qads_writer_options {
    /// sizeof(qads_writer_options).
    pub struct_size: usize,
    /// Number of slots, 1 to 16777216. Usually 16.
    pub slot_count: u64,
    /// Largest message in bytes that a slot takes, up to 4294963200; 0 (as usual) for large, sparse slots
    /// (16 MiB each, less if there are more than 1024).
    pub slot_capacity: u64,
    /// How long a write waits for a lossless reader, in milliseconds; see on_slow_reader. Usually 5000.
    pub slow_reader_ms: u64,
    /// One of QADS_SLOW_...; usually QADS_SLOW_WAIT.
    pub on_slow_reader: u32,
    /// Permissions of the shared memory: 0600 as usual; 0644 admits readers of other users.
    pub mode: u32,
    /// Permissions of the control segment: 0 (as usual) for the same as mode; 0666 lets readers of other users
    /// be woken, hold leases and be lossless.
    pub control_mode: u32,
    /// 1 (as usual): the ring moves to larger slots when a message needs it. 0: such a message is refused
    /// with QADS_MEMORY.
    pub rollover: u8,
    /// 1 (as usual): readers may lease messages and be lossless.
    pub holds: u8,
    /// 1: all memory is there from the start, so that no write takes page faults. Usually 0.
    pub prefault: u8,
    /// 1: the memory is locked (mlock). Usually 0.
    pub lock_memory: u8,
    /// 1: transparent huge pages are asked for. Usually 0.
    pub huge_pages: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// What a reader can be told when it attaches. Fill it with qads_reader_options_init() first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct qads_reader_options {
    /// sizeof(qads_reader_options).
    pub struct_size: usize,
    /// How long to wait for a ring that is not there yet, in milliseconds. Usually 5000.
    pub attach_timeout_ms: u64,
    /// For QADS_WAIT_SPIN_THEN_SLEEP: how long to poll, in microseconds. Usually 50.
    pub spin_us: u64,
    /// Where to begin: one of QADS_START_...; usually QADS_START_OLDEST.
    pub start: u32,
    /// How to wait: one of QADS_WAIT_...; usually QADS_WAIT_SPIN_THEN_SLEEP.
    pub wait: u32,
    /// Leases that may be held at a time, 0 to 8. Usually 4.
    pub max_leases: u32,
    /// 1: the writer waits for this reader rather than overwrite what it has not consumed. Usually 0.
    pub lossless: u8,
    /// 1: a read that finds messages lost gives QADS_OVERRUN once. 0 (as usual): they are counted.
    pub overrun_is_error: u8,
    /// 1 (as usual): take an entry in the control segment, to be woken from sleep, listed, and able to lease.
    pub register_reader: u8,
    /// 1: the ring is mapped with all its pages. Usually 0.
    pub prefault: u8,
    /// 1: the mapping is locked (mlock). Usually 0.
    pub lock_memory: u8,
    /// 1: transparent huge pages are asked for. Usually 0.
    pub huge_pages: u8,
    /// 1: the ring is mapped writable, which some processors read faster; it takes the right to write. Usually 0.
    pub writable_mapping: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// What a writer has done. Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct qads_writer_stats {
    /// sizeof(qads_writer_stats).
    pub struct_size: usize,
    /// Messages published through this handle.
    pub published: u64,
    /// Payload bytes published through this handle.
    pub published_bytes: u64,
    /// Messages published since the ring was created, by all its writers.
    pub message_count: u64,
    /// Position of the next message (positions also count slots that were passed over).
    pub position: u64,
    /// Wake-up calls made for sleeping readers.
    pub wakes: u64,
    /// Moves to a segment with other slots.
    pub rollovers: u64,
    /// How many writers the ring has had, this one included.
    pub epoch: u64,
    /// Positions passed over because a reader had leased the slot.
    pub lease_skips: u64,
    /// Writes that waited for a lossless reader.
    pub stalls: u64,
    /// Times that a lossless reader was given up.
    pub evictions: u64,
    /// Dead readers whose leases and gates were in the way and were taken away.
    pub reclaimed: u64,
    /// Number of slots.
    pub slot_count: u64,
    /// Largest message, in bytes, that fits without a rollover.
    pub slot_capacity: u64,
}

/// What a reader has seen. Set struct_size before the call. After any read, consumed + lost = messages published
/// between the attach and the reader's position.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct qads_reader_stats {
    /// sizeof(qads_reader_stats).
    pub struct_size: usize,
    /// Messages read, or passed over with qads_reader_skip().
    pub consumed: u64,
    /// Messages overwritten before they could be read, and damaged ones.
    pub lost: u64,
    /// Times the reader was lapped and lost messages by it.
    pub overruns: u64,
    /// Reads that ended without a message.
    pub timeouts: u64,
    /// Position of the next message to consume.
    pub position: u64,
    /// How many messages were published before the next one to consume, since the ring began.
    pub sequence: u64,
    /// Positions published and not yet consumed.
    pub lag: u64,
    /// Leases made by this reader and still held, those of zero-copy Arrow data included.
    pub leases: u64,
    /// Times that the writer gave this lossless reader up.
    pub evictions: u64,
    /// 1 if the reader has an entry in the control segment (is listed, and is woken from sleep), else 0.
    pub registered: u64,
}

/// A structure that begins with its size and may have grown since the caller was compiled.
///
/// # Safety
/// `repr(C)`, a `usize` first that is the size, and all of it integers without padding: any bytes are a value.
unsafe trait Growing: Copy {
    const WHAT: &'static str;
}

macro_rules! growing {
    ($($name:ident),*) => {$(
        // SAFETY: `repr(C)`, `struct_size` first, integers; the sizes below show that there is no padding.
        unsafe impl Growing for $name {
            const WHAT: &'static str = stringify!($name);
        }
    )*};
}
growing!(qads_writer_options, qads_reader_options, qads_writer_stats, qads_reader_stats);
const _: () = assert!(size_of::<qads_writer_options>() == 4 * 8 + 3 * 4 + 5 + 7);
const _: () = assert!(size_of::<qads_reader_options>() == 3 * 8 + 3 * 4 + 6 + 6);
const _: () = assert!(size_of::<qads_writer_stats>() == 14 * 8);
const _: () = assert!(size_of::<qads_reader_stats>() == 11 * 8);

/// The size that the caller's structure has, as its first field says.
fn given_size<T: Growing>(given: *const T) -> Outcome<usize> {
    status::check_out(given, T::WHAT)?;
    // SAFETY: not NULL and aligned; the interface asks for a structure that begins with its size.
    check_size::<T>(unsafe { given.cast::<usize>().read() })
}

fn check_size<T: Growing>(size: usize) -> Outcome<usize> {
    // Larger than any that can be meant: an uninitialised field.
    const LIMIT: usize = 4096;
    if (size_of::<usize>()..=LIMIT).contains(&size) && size.is_multiple_of(align_of::<T>()) {
        return Ok(size);
    }
    let what = T::WHAT;
    Err(Failure::invalid(format!("{what}.struct_size is {size}; it must be sizeof({what})")))
}

/// The caller's structure: `usual` with as many of its bytes as the caller has.
fn read<T: Growing>(given: *const T, usual: T) -> Outcome<T> {
    let size = given_size(given)?;
    let known = size.min(size_of::<T>());
    let mut value = usual;
    // SAFETY: `known` bytes are readable there and fit here, and any bytes are a value of the type.
    unsafe { std::ptr::copy_nonoverlapping(given.cast::<u8>(), (&raw mut value).cast(), known) };
    for at in known..size {
        let byte = given.cast::<u8>().wrapping_add(at);
        // SAFETY: below the size that the caller's structure has.
        if unsafe { byte.read() } != 0 {
            let what = T::WHAT;
            return Err(Failure::invalid(format!(
                "{what} has {size} bytes and an option set that this version of the library does not know"
            )));
        }
    }
    Ok(value)
}

/// Stores `value` in the caller's structure of `size` bytes, as much as fits, and zeros after it.
fn write<T: Growing>(out: *mut T, size: usize, value: &T) {
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's structure has `size` bytes, at least `known`; so has `value`.
    unsafe { std::ptr::copy_nonoverlapping((&raw const *value).cast::<u8>(), out.cast(), known) };
    // SAFETY: `known <= size`, within the structure.
    let rest = unsafe { out.cast::<u8>().add(known) };
    // SAFETY: the rest of the structure.
    unsafe { std::ptr::write_bytes(rest, 0, size - known) };
    // SAFETY: the size comes first.
    unsafe { out.cast::<usize>().write(size) };
}

/// Stores statistics in the caller's structure, whose size its first field says.
fn write_stats<T: Growing>(out: *mut T, value: &T) -> Outcome {
    let size = given_size(out)?;
    write(out, size, value);
    Ok(())
}

const USUAL_WRITER: qads_writer_options = qads_writer_options {
    struct_size: size_of::<qads_writer_options>(),
    slot_count: 16,
    slot_capacity: 0,
    slow_reader_ms: 5_000,
    on_slow_reader: QADS_SLOW_WAIT,
    mode: 0o600,
    control_mode: 0,
    rollover: 1,
    holds: 1,
    prefault: 0,
    lock_memory: 0,
    huge_pages: 0,
    reserved: [0; 7],
};

const USUAL_READER: qads_reader_options = qads_reader_options {
    struct_size: size_of::<qads_reader_options>(),
    attach_timeout_ms: 5_000,
    spin_us: 50,
    start: QADS_START_OLDEST,
    wait: QADS_WAIT_SPIN_THEN_SLEEP,
    max_leases: 4,
    lossless: 0,
    overrun_is_error: 0,
    register_reader: 1,
    prefault: 0,
    lock_memory: 0,
    huge_pages: 0,
    writable_mapping: 0,
    reserved: [0; 5],
};

/// Fills options with their usual values. Pass sizeof(qads_writer_options) for the size.
///
/// # Safety
/// The options must have that many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_writer_options_init(
    options: *mut qads_writer_options,
    struct_size: usize,
) -> c_int {
    status::call(|| init(options, struct_size, &USUAL_WRITER))
}

/// Fills options with their usual values. Pass sizeof(qads_reader_options) for the size.
///
/// # Safety
/// The options must have that many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_reader_options_init(
    options: *mut qads_reader_options,
    struct_size: usize,
) -> c_int {
    status::call(|| init(options, struct_size, &USUAL_READER))
}

fn init<T: Growing>(options: *mut T, struct_size: usize, usual: &T) -> Outcome {
    status::check_out(options, T::WHAT)?;
    write(options, check_size::<T>(struct_size)?, usual);
    Ok(())
}

fn flag(value: u8, option: &str) -> Outcome<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::invalid(format!("option {option} = {value}: 0 or 1"))),
    }
}

fn unknown(option: &str, value: u32, last: u32) -> Failure {
    Failure::invalid(format!("option {option} = {value}: there are 0 to {last}"))
}

/// The options of a writer; `given` may be NULL for the usual ones.
pub fn writer_options(given: *const qads_writer_options) -> Outcome<WriterOptions> {
    let given = if given.is_null() { USUAL_WRITER } else { read(given, USUAL_WRITER)? };
    let wait_ms = given.slow_reader_ms;
    let on_slow_reader = match given.on_slow_reader {
        QADS_SLOW_WAIT => OnSlowReader::Wait { limit_ms: wait_ms },
        QADS_SLOW_REFUSE => OnSlowReader::Refuse,
        QADS_SLOW_EVICT => OnSlowReader::Evict { grace_ms: wait_ms },
        other => return Err(unknown("on_slow_reader", other, QADS_SLOW_EVICT)),
    };
    let mut options = WriterOptions::new(given.slot_count as usize)
        .rollover(flag(given.rollover, "rollover")?)
        .mode(given.mode)
        .on_slow_reader(on_slow_reader)
        .holds(flag(given.holds, "holds")?)
        .prefault(flag(given.prefault, "prefault")?)
        .lock_memory(flag(given.lock_memory, "lock_memory")?)
        .huge_pages(flag(given.huge_pages, "huge_pages")?);
    if given.slot_capacity != 0 {
        options = options.slot_capacity(given.slot_capacity as usize);
    }
    if given.control_mode != 0 {
        options = options.control_mode(given.control_mode);
    }
    Ok(options)
}

/// The options of a reader; `given` may be NULL for the usual ones.
pub fn reader_options(given: *const qads_reader_options) -> Outcome<ReaderOptions> {
    let given = if given.is_null() { USUAL_READER } else { read(given, USUAL_READER)? };
    let start = match given.start {
        QADS_START_OLDEST => Start::Oldest,
        QADS_START_NEWEST => Start::Newest,
        QADS_START_NEXT => Start::Next,
        other => return Err(unknown("start", other, QADS_START_NEXT)),
    };
    let wait = match given.wait {
        QADS_WAIT_SPIN_THEN_SLEEP => {
            WaitStrategy::SpinThenSleep(Duration::from_micros(given.spin_us))
        }
        QADS_WAIT_SPIN => WaitStrategy::Spin,
        QADS_WAIT_SLEEP => WaitStrategy::Sleep,
        QADS_WAIT_YIELD => WaitStrategy::Yield,
        other => return Err(unknown("wait", other, QADS_WAIT_YIELD)),
    };
    let on_overrun = match flag(given.overrun_is_error, "overrun_is_error")? {
        true => OnOverrun::Error,
        false => OnOverrun::Resume,
    };
    Ok(ReaderOptions::new()
        .attach_timeout_ms(given.attach_timeout_ms)
        .start(start)
        .wait(wait)
        .on_overrun(on_overrun)
        .max_leases(given.max_leases as usize)
        .lossless(flag(given.lossless, "lossless")?)
        .register(flag(given.register_reader, "register_reader")?)
        .prefault(flag(given.prefault, "prefault")?)
        .lock_memory(flag(given.lock_memory, "lock_memory")?)
        .huge_pages(flag(given.huge_pages, "huge_pages")?)
        .writable_mapping(flag(given.writable_mapping, "writable_mapping")?))
}

/// Gives a writer's statistics.
pub fn writer_stats(writer: &ring::Writer, out: *mut qads_writer_stats) -> Outcome {
    let stats = writer.stats();
    let value = qads_writer_stats {
        struct_size: size_of::<qads_writer_stats>(),
        published: stats.published,
        published_bytes: stats.published_bytes,
        message_count: stats.message_count,
        position: stats.position,
        wakes: stats.wakes,
        rollovers: stats.rollovers,
        epoch: stats.epoch,
        lease_skips: stats.lease_skips,
        stalls: stats.stalls,
        evictions: stats.evictions,
        reclaimed: stats.reclaimed,
        slot_count: writer.slot_count() as u64,
        slot_capacity: writer.slot_capacity() as u64,
    };
    write_stats(out, &value)
}

/// Gives a reader's statistics.
pub fn reader_stats(reader: &ring::Reader, out: *mut qads_reader_stats) -> Outcome {
    let stats = reader.stats();
    let value = qads_reader_stats {
        struct_size: size_of::<qads_reader_stats>(),
        consumed: stats.consumed,
        lost: stats.lost,
        overruns: stats.overruns,
        timeouts: stats.timeouts,
        position: stats.position,
        sequence: stats.sequence,
        lag: stats.lag,
        leases: stats.leases,
        evictions: stats.evictions,
        registered: stats.registered.into(),
    };
    write_stats(out, &value)
}
