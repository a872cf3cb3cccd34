//! Messages of bytes and of fixed-size types: every length, every way of writing and of reading.

mod support;

use std::io::Write as _;

use qadataswap::zerocopy::{FromBytes, Immutable, IntoBytes};
use qadataswap::{QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions};
use support::RingName;
use support::raw::{self, Random, Raw};

fn ring(what: &str, capacity: usize) -> (RingName, Writer, Reader) {
    let ring = RingName::new(what);
    let options = WriterOptions::new(4).slot_capacity(capacity).rollover(false);
    let writer = options.create(ring.name()).unwrap();
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    (ring, writer, reader)
}

/// Lengths around each point where the copying changes: words, cache line, string instruction, past the caches.
fn lengths(capacity: usize) -> impl Iterator<Item = usize> {
    (0..=300).chain(500..=520).chain(4060..=4130).chain(8150..=8200).filter(move |l| *l <= capacity)
}

#[test]
fn every_length_comes_back_equal_by_every_way_of_writing_and_reading() {
    for capacity in [1, 7, 8, 39, 40, 41, 63, 64, 65, 127, 128, 200, 255, 256, 257, 4096, 8200] {
        let (_ring, mut writer, reader) = ring("lengths", capacity);
        let mut random = Random(capacity as u64);
        let mut buffer = vec![0; capacity];
        let mut reused = Vec::new();
        let mut count = 0;
        for len in lengths(capacity) {
            let message = random.bytes(len);
            let what = format!("{len} of {capacity} bytes");
            writer.write(&message).unwrap();
            assert_eq!(reader.read(0).unwrap().as_ref(), Some(&message), "{what}");
            writer.write(&message).unwrap();
            buffer.fill(0xee);
            assert_eq!(reader.read_into(&mut buffer, 0).unwrap(), Some(len), "{what}");
            assert_eq!(buffer[..len], message, "{what}");
            assert!(buffer[len..].iter().all(|byte| *byte == 0xee), "{what}: wrote too much");
            let mut slot = writer.reserve(len).unwrap();
            slot.write_all(&message).unwrap();
            slot.publish().unwrap();
            assert!(reader.read_to(&mut reused, 0).unwrap());
            assert_eq!(reused, message, "{what}");
            writer.write_ipc_stream(&message).unwrap();
            assert_eq!(reader.read(0).unwrap().as_ref(), Some(&message), "{what}");
            count += 4;
        }
        let stats = reader.stats();
        assert_eq!((stats.consumed, stats.lost), (count, 0));
        assert_eq!(writer.stats().published, count);
    }
}

#[test]
fn reading_into_a_buffer_that_starts_anywhere_in_memory_is_the_same() {
    let (_ring, writer, reader) = ring("unaligned", 600);
    let mut random = Random(1);
    for offset in 0..16 {
        for len in [1, 7, 8, 9, 255, 256, 257, 511] {
            let bytes = random.bytes(offset + len);
            writer.write(&bytes[offset..]).unwrap();
            let mut buffer = vec![0; offset + len];
            assert_eq!(reader.read_into(&mut buffer[offset..], 0).unwrap(), Some(len));
            assert_eq!(buffer[offset..], bytes[offset..], "{len} bytes at {offset}");
            assert!(buffer[..offset].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_message_of_up_to_40_bytes_lies_in_the_cache_line_of_its_generation() {
    assert_eq!(qadataswap::INLINE_BYTES, 40);
    let (ring, writer, _reader) = ring("inline", 64);
    let raw = Raw::data(&ring);
    for number in 0..8u8 {
        let message: Vec<u8> = (0..40).map(|at| 100 + number * 3 + at).collect();
        writer.write(&message).unwrap();
        let slot = raw.slot(u64::from(number) % 4, 0);
        assert_eq!(slot % 128, 0, "slots start at cache lines");
        assert_eq!(raw.u64(slot + raw::GENERATION), raw::generation(number.into(), 2));
        assert_eq!(raw.u64(slot + raw::SEQUENCE), number.into());
        assert_eq!((raw.u32(slot + raw::LENGTH), raw.u32(slot + raw::KIND)), (40, 24 << 16));
        assert_eq!(raw.bytes(slot + 24, 40), message, "bytes 24 to 63 of the slot");
        assert!(
            raw.bytes(slot + 64, 64).iter().all(|byte| *byte == 0),
            "the next line is untouched"
        );
    }
}

#[test]
fn what_follows_a_message_in_its_last_word_is_zero() {
    let (ring, writer, _reader) = ring("tail", 8192);
    let raw = Raw::data(&ring);
    for len in [1, 39, 63, 65, 255, 300, 4097, 8187] {
        for message in [vec![0xff; 8192], vec![0xff; len]] {
            let index = writer.stats().position % 4;
            writer.write(&message).unwrap();
            let tail = message.len().next_multiple_of(8) - message.len();
            let end = raw.slot(index, 24 + message.len() as u64);
            assert_eq!(raw.bytes(end, tail), vec![0; tail], "{len} bytes");
        }
        // Once more round the ring, so that the shorter one has come to where a longer one was.
        (0..3).for_each(|_| writer.write(&[0xff; 8192]).unwrap());
    }
}

#[test]
fn an_arrow_stream_starts_at_a_cache_line_of_its_own() {
    let (ring, writer, _reader) = ring("stream-offset", 64);
    let raw = Raw::data(&ring);
    writer.write_ipc_stream(&[0xab; 64]).unwrap();
    let slot = raw.slot(0, 0);
    assert_eq!((raw.u32(slot + raw::LENGTH), raw.u32(slot + raw::KIND)), (64, 64 << 16 | 1));
    assert_eq!(raw.bytes(slot + 64, 64), [0xab; 64]);
}

/// What a write that does not fit says.
#[track_caller]
fn assert_too_large<T: std::fmt::Debug>(
    result: Result<T, QADataSwapError>,
    needed: usize,
    available: usize,
) {
    match result {
        Err(ref error @ QADataSwapError::MessageTooLarge { needed_bytes, available_bytes }) => {
            assert_eq!((needed_bytes, available_bytes), (needed, available));
            let text = error.to_string();
            assert!(text.contains(&needed.to_string()) && text.contains(&available.to_string()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_may_fill_the_slot_exactly_and_not_by_one_byte_more() {
    for capacity in [1, 8, 40, 63, 64, 65, 104, 105, 127, 128, 4000, 4096, 65_536] {
        let (_ring, mut writer, reader) = ring("exact", capacity);
        let full = Random(2).bytes(capacity + 1);
        for _ in 0..5 {
            writer.write(&full[..capacity]).unwrap();
            writer.write_ipc_stream(&full[..capacity]).unwrap();
            let mut slot = writer.reserve(capacity).unwrap();
            slot.write_all(&full[..capacity]).unwrap();
            slot.publish().unwrap();
            let before = writer.stats();
            assert_too_large(writer.write(&full), capacity + 1, capacity);
            assert_too_large(writer.write_ipc_stream(&full), capacity + 1, capacity);
            assert_too_large(writer.reserve(capacity + 1), capacity + 1, capacity);
            for huge in [1 << 32, usize::MAX / 2, usize::MAX - 64, usize::MAX] {
                assert_too_large(writer.reserve(huge), huge, capacity);
            }
            assert_eq!(writer.stats(), before);
            for _ in 0..3 {
                assert_eq!(reader.read(0).unwrap().as_deref(), Some(&full[..capacity]));
            }
            assert_eq!(reader.read(0).unwrap(), None);
        }
    }
}

#[test]
fn with_rollover_larger_messages_are_taken_up_to_the_largest_there_can_be() {
    let ring = RingName::new("grows");
    let mut writer = WriterOptions::new(2).slot_capacity(10).create(ring.name()).unwrap();
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    for len in [10, 11, 22, 23, 100, 1000, 100_000] {
        let message = Random(len as u64).bytes(len);
        writer.write(&message).unwrap();
        assert!(writer.slot_capacity() >= len);
        assert!(reader.read(0).unwrap() == Some(message), "{len} bytes");
    }
    assert!(writer.stats().rollovers >= 3);
    assert_eq!(reader.stats().lost, 0);
    let before = (writer.stats(), writer.slot_capacity());
    for huge in [u32::MAX as usize, 1 << 32, usize::MAX - 64, usize::MAX] {
        assert!(matches!(
            writer.reserve(huge),
            Err(QADataSwapError::MessageTooLarge { needed_bytes, .. }) if needed_bytes == huge
        ));
    }
    assert_eq!((writer.stats(), writer.slot_capacity()), before);
}

#[test]
fn a_message_whose_slots_would_make_the_ring_too_large_is_too_large() {
    // 2^20 slots of 2 MiB would take 2 TiB of address space.
    let ring = RingName::new("grows-too-far");
    let mut writer = WriterOptions::new(1 << 20).slot_capacity(8).create(ring.name()).unwrap();
    writer.write(b"before").unwrap();
    let refused = writer.reserve(2 << 20).map(drop);
    assert!(matches!(refused, Err(QADataSwapError::MessageTooLarge { .. })), "{refused:?}");
    writer.write(b"after").unwrap();
    assert_eq!((writer.stats().published, writer.stats().rollovers), (2, 0));
}

#[test]
fn a_buffer_too_small_is_told_the_size_and_consumes_nothing() {
    let (_ring, writer, reader) = ring("small-buffer", 600);
    for len in [1, 8, 40, 41, 300, 600] {
        let message = Random(len as u64).bytes(len);
        writer.write(&message).unwrap();
        let before = reader.stats();
        for size in [0, 1, len / 2, len - 1] {
            let size = size.min(len - 1);
            let mut buffer = vec![0xee; size];
            match reader.read_into(&mut buffer, 0) {
                Err(QADataSwapError::BufferTooSmall { needed_bytes, available_bytes }) => {
                    assert_eq!((needed_bytes, available_bytes), (len, size));
                }
                other => panic!("{other:?}"),
            }
            assert!(buffer.iter().all(|byte| *byte == 0xee), "the buffer was written to");
            assert_eq!(reader.stats(), before);
        }
        let mut buffer = vec![0; len];
        assert_eq!(reader.read_into(&mut buffer, 0).unwrap(), Some(len));
        assert_eq!(buffer, message);
    }
}

#[test]
fn read_to_replaces_what_was_there_and_reuses_its_memory() {
    let (_ring, writer, reader) = ring("read-to", 600);
    let mut out = Vec::with_capacity(600);
    out.extend_from_slice(b"left over");
    let memory = (out.as_ptr(), out.capacity());
    for len in [600, 1, 0, 256, 599, 3] {
        let message = Random(len as u64).bytes(len);
        writer.write(&message).unwrap();
        assert!(reader.read_to(&mut out, 0).unwrap());
        assert_eq!(out, message);
        assert_eq!((out.as_ptr(), out.capacity()), memory, "{len} bytes took other memory");
    }
    // Nothing there: empty, and still the same memory.
    assert!(!reader.read_to(&mut out, 0).unwrap());
    assert_eq!((out.len(), out.as_ptr(), out.capacity()), (0, memory.0, memory.1));
    // Too little memory: it grows.
    let mut out = vec![1, 2, 3];
    writer.write(&[9; 500]).unwrap();
    assert!(reader.read_to(&mut out, 0).unwrap());
    assert_eq!(out, [9; 500]);
}

#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Quote {
    bid: f64,
    ask: f64,
    sizes: [u32; 2],
    instrument: u64,
    sequence: u64,
}

#[test]
fn values_of_fixed_size_come_back_equal() {
    assert_eq!(size_of::<Quote>(), qadataswap::INLINE_BYTES);
    let (_ring, writer, reader) = ring("typed", 600);
    for sequence in 0..20 {
        let bid = sequence as f64 + 0.25;
        let quote = Quote { bid, ask: bid + 0.25, sizes: [1, 2], instrument: 7, sequence };
        writer.write_value(&quote).unwrap();
        assert_eq!(reader.read_value::<Quote>(0).unwrap(), Some(quote));
        writer.write_value(&quote).unwrap();
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(quote.as_bytes()));
        writer.write(quote.as_bytes()).unwrap();
        assert_eq!(reader.read_value::<Quote>(0).unwrap(), Some(quote));
    }
    writer.write_value(&[(); 0]).unwrap();
    assert_eq!(reader.read_value::<[u8; 0]>(0).unwrap(), Some([]));
    let large: [u64; 75] = std::array::from_fn(|at| at as u64 * 3);
    writer.write_value(&large).unwrap();
    assert_eq!(reader.read_value::<[u64; 75]>(0).unwrap(), Some(large));
    // Slices are written as their elements are.
    writer.write_value(&large[..10]).unwrap();
    assert_eq!(reader.read_value::<[u64; 10]>(0).unwrap().as_ref(), large.first_chunk::<10>());
    assert_eq!(reader.read_value::<Quote>(0).unwrap(), None);
}

#[test]
fn a_message_of_another_size_than_the_type_is_not_consumed() {
    let (_ring, writer, reader) = ring("size-mismatch", 600);
    for len in [0, 1, 39, 41, 80, 600] {
        let message = Random(len as u64).bytes(len);
        writer.write(&message).unwrap();
        let before = reader.stats();
        for _ in 0..2 {
            match reader.read_value::<Quote>(0) {
                Err(QADataSwapError::SizeMismatch { found_bytes, expected_bytes }) => {
                    assert_eq!((found_bytes, expected_bytes), (len, 40));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(reader.stats(), before);
        }
        assert_eq!(reader.read(0).unwrap(), Some(message));
    }
}

#[test]
fn a_refused_message_is_lost_like_any_other_when_the_writer_laps() {
    let (_ring, writer, reader) = ring("refused-lapped", 600);
    writer.write(&[1; 100]).unwrap();
    assert!(matches!(
        reader.read_into(&mut [0; 10], 0),
        Err(QADataSwapError::BufferTooSmall { needed_bytes: 100, available_bytes: 10 })
    ));
    for _ in 0..4 {
        writer.write(&[2; 10]).unwrap();
    }
    let mut buffer = [0; 10];
    assert_eq!(reader.read_into(&mut buffer, 0).unwrap(), Some(10));
    let stats = reader.stats();
    assert_eq!((buffer, stats.overruns), ([2; 10], 1));
    assert_eq!(stats.consumed + stats.lost + stats.lag, 5);
}

#[test]
fn skipping_passes_over_one_message_of_any_kind() {
    let (_ring, writer, reader) = ring("skip", 600);
    assert!(!reader.skip().unwrap());
    writer.write(&[1; 600]).unwrap();
    writer.write_ipc_stream(b"no stream").unwrap();
    writer.write(&[]).unwrap();
    writer.write(b"kept").unwrap();
    for _ in 0..3 {
        assert!(reader.skip().unwrap());
    }
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"kept"[..]));
    assert!(!reader.skip().unwrap());
    let stats = reader.stats();
    assert_eq!((stats.consumed, stats.lost, stats.timeouts), (4, 0, 2));
}
