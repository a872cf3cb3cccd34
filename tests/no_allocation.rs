//! On the bytes path, once everything is warm, neither side allocates: not for a message, not for a
//! wait, not for an overrun.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;

use qadataswap::{Reader, ReaderOptions, WaitStrategy, Writer, WriterOptions};
use support::RingName;

/// The system's allocator, which counts for each thread how often it was asked for memory.
struct Counting;

thread_local! {
    // Needs no memory itself, neither for its first use nor to be dropped.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

// SAFETY: every method hands its arguments on to the system's allocator and gives back what that
// gives; the counting in between touches only a thread's own number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // Freeing means that there was an allocation.
        count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: usize = 100;
const CYCLES: usize = 10_000;

/// How often this thread asked for memory or gave some back during `CYCLES` calls of `act`, after some
/// to warm up.
fn allocations(mut act: impl FnMut(usize)) -> u64 {
    (0..WARM_UP).for_each(&mut act);
    let before = ALLOCATIONS.get();
    (WARM_UP..WARM_UP + CYCLES).for_each(&mut act);
    ALLOCATIONS.get() - before
}

fn ring(what: &str) -> (RingName, Writer, Reader) {
    let ring = RingName::new(what);
    let writer = WriterOptions::new(16).slot_capacity(4096).create(ring.name()).unwrap();
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    (ring, writer, reader)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|at| drop(std::hint::black_box(vec![at]))), 2 * CYCLES as u64);
    assert_eq!(allocations(|at| assert!(std::hint::black_box([at]).contains(&at))), 0);
}

#[test]
fn writing_and_reading_bytes_allocates_nothing() {
    let (_ring, writer, reader) = ring("alloc-bytes");
    let message = [7; 4096];
    let mut buffer = [0; 4096];
    let count = allocations(|at| {
        let len = at * 37 % 4097;
        writer.write(&message[..len]).unwrap();
        assert_eq!(reader.read_into(&mut buffer, 0).unwrap(), Some(len));
    });
    assert_eq!(count, 0);
}

#[test]
fn writing_and_reading_values_allocates_nothing() {
    let (_ring, writer, reader) = ring("alloc-values");
    let count = allocations(|at| {
        writer.write_value(&[at; 5]).unwrap();
        assert_eq!(reader.read_value(0).unwrap(), Some([at; 5]));
    });
    assert_eq!(count, 0);
}

#[test]
fn writing_in_place_allocates_nothing() {
    let (_ring, mut writer, reader) = ring("alloc-reserve");
    let mut buffer = [0; 4096];
    let count = allocations(|at| {
        let mut slot = writer.reserve(1000).unwrap();
        slot.write_at(at % 500, b"somewhere").unwrap();
        write!(slot, "number {at}").unwrap();
        let len = slot.len();
        // Every third is dropped.
        if at % 3 != 0 {
            slot.publish().unwrap();
            assert_eq!(reader.read_into(&mut buffer, 0).unwrap(), Some(len));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn reading_into_a_vector_that_is_large_enough_allocates_nothing() {
    let (_ring, writer, reader) = ring("alloc-read-to");
    let message = [7; 4096];
    let mut out = Vec::with_capacity(4096);
    let count = allocations(|at| {
        writer.write_ipc_stream(&message[..at % 4097]).unwrap();
        assert!(reader.read_to(&mut out, 0).unwrap());
        assert_eq!(out.len(), at % 4097);
    });
    assert_eq!(count, 0);
}

#[test]
fn skipping_overruns_and_statistics_allocate_nothing() {
    let (_ring, writer, reader) = ring("alloc-overrun");
    let mut buffer = [0; 64];
    let count = allocations(|at| {
        for _ in 0..at % 40 {
            writer.write(b"for nobody").unwrap();
        }
        reader.skip().unwrap();
        reader.read_into(&mut buffer, 0).unwrap();
        let stats = reader.stats();
        assert_eq!(stats.consumed + stats.lost + stats.lag, writer.stats().published);
    });
    assert!(reader.stats().overruns > 1000);
    assert_eq!(count, 0);
}

#[test]
fn refused_messages_allocate_nothing() {
    let (_ring, writer, reader) = ring("alloc-refused");
    writer.write(&[1; 100]).unwrap();
    let count = allocations(|_| {
        assert!(reader.read_into(&mut [0; 10], 0).is_err());
        assert!(reader.read_value::<u64>(0).is_err());
        assert!(reader.stats().lag == 1);
    });
    assert_eq!(count, 0);
}

#[test]
fn waiting_in_vain_allocates_nothing() {
    // In all ways of waiting, registered or not. Few cycles, because each really waits.
    let yielding = WaitStrategy::Yield;
    for strategy in [WaitStrategy::default(), WaitStrategy::Spin, yielding, WaitStrategy::Sleep] {
        for register in [true, false] {
            let ring = RingName::new("alloc-wait");
            let writer = WriterOptions::new(4).slot_capacity(64).create(ring.name()).unwrap();
            let options = ReaderOptions::new().wait(strategy).register(register);
            let reader = options.attach(ring.name()).unwrap();
            let mut buffer = [0; 64];
            assert_eq!(reader.read_into(&mut buffer, 1).unwrap(), None);
            let before = ALLOCATIONS.get();
            // The last one is long enough for the looks at what changes rarely.
            for timeout_ms in [0, 1, 1, 2, 120] {
                assert_eq!(reader.read_into(&mut buffer, timeout_ms).unwrap(), None);
                writer.write(b"now").unwrap();
                assert_eq!(reader.read_into(&mut buffer, u64::MAX).unwrap(), Some(3));
            }
            assert_eq!(ALLOCATIONS.get() - before, 0, "{strategy:?}, registered {register}");
        }
    }
}

/// Fails: `Inner::pass_over` gathers all leases into a vector at every slot that it passes over, although
/// `Writer::write` says that it allocates nothing.
#[test]
fn going_round_leases_allocates_nothing() {
    let (_ring, writer, reader) = ring("alloc-leases");
    writer.write(b"first").unwrap();
    let _lease = reader.lease(0).unwrap().unwrap();
    let count = allocations(|_| writer.write(b"more").unwrap());
    assert!(writer.stats().lease_skips > 600);
    assert_eq!(count, 0);
}
