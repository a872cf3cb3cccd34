//! Any bytes at the start of a data segment: whoever opens it is told, or works.
//!
//! Input: what is done to the bytes (see below), those of the header, then those of each slot's start.
//! Where the input ends, all is as a ring left it whose writer is gone.

use std::cell::OnceCell;

use qadataswap::{OnSlowReader, QADataSwapError, Reader, ReaderOptions, Start, WriterOptions};

use super::{Got, Input, WAYS, is_of_damage, read};
use crate::support::raw::{self, Raw};
use crate::support::{RingName, damage};

const SLOTS: u64 = 4;
const CAPACITY: usize = 40;
/// Of a slot for messages of up to 40 bytes.
const STRIDE: usize = 128;
/// Bytes of the header that mean something.
const HEADER: usize = 288;
/// What the input has of each slot.
const HEAD: usize = 32;
const RING_ID: u64 = 0x1234_5678_9abc_def0;

/// Bits of the first byte.
const KEEP_HEADER: u8 = 1;
const REPAIR_CHECKSUM: u8 = 2;
/// Everything that has to fit, so that slots of another shape are come to.
const REPAIR_ALL: u8 = 4;
const WITHOUT_CONTROL: u8 = 8;
const FOREIGN_CONTROL: u8 = 16;
const OTHER_SLOTS: u8 = 32;

/// What a ring with messages leaves behind: its data segment and its control segment.
fn image() -> (Vec<u8>, Vec<u8>) {
    thread_local!(static IMAGE: OnceCell<(Vec<u8>, Vec<u8>)> = const { OnceCell::new() });
    IMAGE.with(|image| image.get_or_init(make_image).clone())
}

fn make_image() -> (Vec<u8>, Vec<u8>) {
    let ring = damage::Ring::new("fuzz-image", damage::MESSAGES);
    let data = ring.restore();
    data.set_u64(raw::RING_ID, RING_ID);
    // The same in every run.
    data.set_u64(raw::CREATED_NS, 0);
    data.set_u32(raw::PID, 1);
    data.set_u64(raw::START_TICKS, 1);
    data.fix_checksum();
    Raw::control(&ring.name).set_u64(raw::CONTROL_RING_ID, RING_ID);
    (ring.contents(), std::fs::read(ring.name.control_path()).unwrap())
}

pub fn seeds() -> Vec<Vec<u8>> {
    let (data, _) = image();
    let slots = data[4096..].chunks(STRIDE).flat_map(|slot| &slot[..HEAD]).copied();
    let slots: Vec<u8> = slots.collect();
    let mut seeds: Vec<Vec<u8>> =
        [0, KEEP_HEADER | WITHOUT_CONTROL, KEEP_HEADER | FOREIGN_CONTROL, OTHER_SLOTS]
            .map(|mode| vec![mode])
            .into();
    for mode in [0, REPAIR_CHECKSUM, REPAIR_ALL] {
        seeds.push([&[mode], &data[..HEADER], &slots].concat());
    }
    seeds.push([&[KEEP_HEADER][..], &slots].concat());
    seeds
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let ring = RingName::new("fuzz-attach");
    let (mut image, mut control) = image();
    let mut overlay = |at: usize, len: usize| {
        let bytes = input.bytes(len);
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    if mode & KEEP_HEADER == 0 {
        overlay(0, HEADER);
    }
    (0..SLOTS as usize).for_each(|slot| overlay(4096 + STRIDE * slot, HEAD));
    std::fs::write(ring.data_path(), &image).unwrap();
    let data = Raw::data(&ring);
    if mode & REPAIR_ALL != 0 {
        repair(&data);
    }
    if mode & (REPAIR_CHECKSUM | REPAIR_ALL) != 0 {
        data.fix_checksum();
    }
    if mode & FOREIGN_CONTROL != 0 {
        control[raw::CONTROL_RING_ID as usize] ^= 1;
    }
    if mode & WITHOUT_CONTROL == 0 {
        std::fs::write(ring.control_path(), &control).unwrap();
    }
    exercise(&ring, &data, if mode & OTHER_SLOTS != 0 { SLOTS + 1 } else { SLOTS });
}

/// Makes of a header one of a small segment that fits its object.
fn repair(data: &Raw) {
    data.set_bytes(raw::MAGIC, b"QADSRING");
    data.set_bytes(raw::ABI_VERSION, &image().0[raw::ABI_VERSION as usize..][..4]);
    data.set_u32(raw::HEADER_BYTES_WORD, raw::HEADER_BYTES as u32);
    let slots = data.u64(raw::SLOT_COUNT).wrapping_sub(1) % 16 + 1;
    let capacity = data.u64(raw::PAYLOAD_CAPACITY).wrapping_sub(1) % 256 + 1;
    let stride = (64 + capacity).next_multiple_of(STRIDE as u64);
    data.set_u64(raw::SLOT_COUNT, slots);
    data.set_u64(raw::PAYLOAD_CAPACITY, capacity);
    data.set_u64(raw::SLOT_STRIDE, stride);
    data.set_u64(raw::SEGMENT_BYTES, raw::HEADER_BYTES + slots * stride);
    data.set_u64(raw::FEATURES, data.u64(raw::FEATURES) & 1);
    data.set_len(raw::HEADER_BYTES + slots * stride);
}

/// Readers of every kind, then a takeover, then all of them again.
fn exercise(ring: &RingName, data: &Raw, slots: u64) {
    let options = || ReaderOptions::new().attach_timeout_ms(0);
    let mut readers: Vec<Reader> = Vec::new();
    for options in [
        options(),
        options().start(Start::Newest),
        options().start(Start::Next).register(false),
        options().lossless(true),
        options().lossless(true).start(Start::Next),
    ] {
        match options.attach(ring.name()) {
            Ok(reader) => readers.push(reader),
            Err(error) => assert!(is_of_opening(&error), "{error:?}"),
        }
    }
    // The first reads on after the takeover.
    readers.iter().skip(1).for_each(read_some);
    let before = data.bytes(0, data.len() as usize);
    let published = data.u64(raw::PUBLISHED);
    let evict = OnSlowReader::Evict { grace_ms: 0 };
    let options = WriterOptions::new(slots as usize).slot_capacity(CAPACITY).on_slow_reader(evict);
    match options.create(ring.name()) {
        Err(error) => {
            assert!(damage::is_about_the_segment(&error), "{error:?}");
            assert!(before == data.bytes(0, before.len()), "changed by a writer that was refused");
        }
        Ok(writer) => {
            let stats = writer.stats();
            // (A header without magic is one that was never finished: the ring is begun anew.)
            assert!(stats.position >= published || before[..8] == [0; 8], "{stats:?}");
            for number in 0..slots {
                writer.write(&damage::message(number)).unwrap();
            }
            assert_eq!(writer.stats().message_count, stats.message_count + slots);
            let reader = damage::reader(ring).unwrap();
            let seen: Vec<_> = std::iter::from_fn(|| reader.read(0).unwrap()).collect();
            let written: Vec<_> = (0..slots).map(damage::message).collect();
            assert!(seen.ends_with(&written), "{seen:?}");
        }
    }
    readers.iter().for_each(read_some);
}

fn read_some(reader: &Reader) {
    for way in 0..3 * WAYS {
        match read(reader, way) {
            Ok(Got::Bytes(message)) => assert!(message.len() <= 3 * STRIDE),
            Ok(Got::Message) => {}
            Ok(Got::Nothing) | Err(QADataSwapError::Closed) => return,
            Err(QADataSwapError::Evicted { .. }) => match reader.rejoin() {
                Ok(_) => {}
                Err(error) => assert!(is_of_damage(&error), "{error:?}"),
            },
            Err(error) => assert!(is_of_damage(&error), "{error:?}"),
        }
    }
}

fn is_of_opening(error: &QADataSwapError) -> bool {
    use QADataSwapError::*;
    damage::is_about_the_segment(error) || matches!(error, HoldsUnavailable { .. } | Evicted { .. })
}
