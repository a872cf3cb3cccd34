//! Each side of a large batch alone: writing it, reading a copy, reading in place, beside memcpy of the same bytes.
//!
//! The writer's memcpy goes to shared memory, like its write. The reader's goes from shared memory, once to memory
//! that is reused, once to memory that is new to the process (as that of a batch is, which belongs to the caller).
//! Only one side works at a time. Times do not include waiting for the message, nor the check of its contents.

use std::hint::black_box;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use memmap2::{Advice, MmapOptions, MmapRaw};
use qadataswap::{Reader, ReaderOptions, WaitStrategy, WriterOptions};

use crate::Result;
use crate::batches::{Batches, encode};
use crate::channel::Channel;
use crate::clock;
use crate::impls::FEW_SLOTS;
use crate::process::{step, tell};
use crate::spec::{Load, Outcome, Spec};

const MILLISECONDS: u64 = 60_000;

/// Names of figures.
pub const WRITE: &str = "write";
pub const READ: &str = "read";
pub const READ_IN_PLACE: &str = "read in place";
pub const READ_UNCHECKED: &str = "read in place, unchecked";
const MEMCPY_TO_SHARED: &str = "memcpy to shared";
const MEMCPY: &str = "memcpy";
const MEMCPY_TO_NEW: &str = "memcpy to new memory";
/// What no reader that looks at strings can be faster than.
pub const LOAD_STRINGS: &str = "load of its strings in place, once";

/// The memcpy that a figure is compared with: of the same bytes, to memory that was used before.
pub fn memcpy_of(name: &str) -> &'static str {
    if matches!(name, WRITE | MEMCPY_TO_SHARED) { MEMCPY_TO_SHARED } else { MEMCPY }
}

/// The writer (role 0) or the reader.
pub fn run(spec: &Spec) -> Result<()> {
    let Load::Rows(rows) = spec.load else { return Err("not a load of batches".into()) };
    let batches = Batches::new(rows);
    let mut stream = Vec::new();
    encode(batches.batch(0), &mut stream)?;
    if spec.role == 0 { writer(spec, &batches, &stream) } else { reader(spec, &batches, &stream) }
}

/// Nanoseconds that `act` takes, and what it makes.
fn timed<T>(spec: &Spec, act: impl FnOnce() -> T) -> (f64, T) {
    let from = clock::now();
    let made = black_box(act());
    ((clock::now() - from) as f64 * spec.ns_per_tick, made)
}

/// The rings' names: one for each way back and forth.
fn names(spec: &Spec) -> (String, String) {
    let name = Channel { spec, number: 0 }.name();
    (format!("{name}-there"), format!("{name}-back"))
}

fn shared(spec: &Spec, length: usize) -> Result<MmapRaw> {
    let memory = Channel { spec, number: 0 }.memory()?;
    if memory.metadata()?.len() < length as u64 {
        memory.set_len(length as u64)?;
    }
    Ok(MmapOptions::new().len(length).populate().map_raw(&memory)?)
}

fn named(name: &str, figures: Vec<f64>) -> (String, f64) {
    (name.to_owned(), qadataswap_bench::median(&mut { figures }))
}

fn writer(spec: &Spec, batches: &Batches, stream: &[u8]) -> Result<()> {
    let (there, back) = names(spec);
    let writer =
        WriterOptions::new(FEW_SLOTS).slot_capacity(spec.capacity).prefault(true).create(&there)?;
    let target = shared(spec, FEW_SLOTS * stream.len())?;
    step("writing end is there")?;
    let done = ReaderOptions::new().attach(&back)?;
    step("reading ends are there")?;
    let (mut writes, mut copies) = (Vec::new(), Vec::new());
    for number in 0..spec.total() {
        let (wrote, written) = timed(spec, || writer.write_arrow(batches.batch(0)));
        written?;
        wait(&done)?;
        let offset = number as usize % FEW_SLOTS * stream.len();
        let (copied, ()) = timed(spec, || {
            // SAFETY: the mapping has room for so many streams, and the reader is waiting for the next message.
            let to = unsafe { target.as_mut_ptr().add(offset) };
            // SAFETY: likewise.
            unsafe { to.copy_from_nonoverlapping(stream.as_ptr(), stream.len()) }
        });
        if number >= spec.warm_up as u64 {
            writes.push(wrote);
            copies.push(copied);
        }
    }
    let named = vec![named(WRITE, writes), named(MEMCPY_TO_SHARED, copies)];
    tell(&Outcome { named, ..Outcome::default() })?;
    Ok(writer.unlink()?)
}

fn wait(reader: &Reader) -> Result<()> {
    reader.read(MILLISECONDS)?.map(|_| ()).ok_or_else(|| "the other side does not go on".into())
}

/// Loads the offsets and bytes of all strings of a batch, and nothing else.
fn load_strings(batch: &RecordBatch) -> u8 {
    let load = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte);
    let strings = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>());
    let buffers = strings.flat_map(|texts| [texts.offsets().inner().inner(), texts.values()]);
    buffers.fold(0, |all, buffer| all | load(buffer))
}

fn reader(spec: &Spec, batches: &Batches, stream: &[u8]) -> Result<()> {
    let (there, back) = names(spec);
    let done = WriterOptions::new(FEW_SLOTS).slot_capacity(64).create(&back)?;
    step("writing end is there")?;
    let options = ReaderOptions::new().wait(WaitStrategy::Spin).prefault(true);
    let (copying, placing, trusting) =
        (options.attach(&there)?, options.attach(&there)?, options.attach(&there)?);
    let source = shared(spec, FEW_SLOTS * stream.len())?;
    // In large pages, which a reader asks for too for a copy as long as this.
    let mut reused = MmapOptions::new().len(stream.len()).map_anon()?;
    let _ = reused.advise(Advice::HugePage);
    step("reading ends are there")?;
    let mut figures: [Vec<f64>; 6] = Default::default();
    for number in 0..spec.total() {
        let mut round = [0.0; 6];
        let none = || "no batch for a long time";
        for reader in [&copying, &placing, &trusting] {
            if !reader.wait(MILLISECONDS)? {
                return Err(none().into());
            }
        }
        let (time, batch) = timed(spec, || copying.read_arrow(0));
        batches.check(&batch?.ok_or_else(none)?, 0)?;
        round[0] = time;
        let (time, batch) = timed(spec, || placing.read_arrow_zero_copy(0));
        batches.check(&batch?.ok_or_else(none)?, 0)?;
        round[1] = time;
        let (time, batch) = timed(spec, || {
            // SAFETY: the only writer is this benchmark's, whose batches are valid.
            unsafe { trusting.read_arrow_zero_copy_unchecked(0) }
        });
        let batch = batch?.ok_or_else(none)?;
        round[2] = time;
        round[5] = timed(spec, || load_strings(&batch)).0;
        batches.check(&batch, 0)?;
        // SAFETY: the mapping is that long.
        let from = unsafe { source.as_ptr().add(number as usize % FEW_SLOTS * stream.len()) };
        let copy = |to: *mut u8| {
            // SAFETY: both are that long, and nobody writes there now.
            unsafe { to.copy_from_nonoverlapping(from, stream.len()) }
        };
        round[3] = timed(spec, || copy(reused.as_mut_ptr())).0;
        round[4] = timed(spec, || {
            let mut fresh = Vec::<u8>::with_capacity(stream.len());
            copy(fresh.as_mut_ptr());
            fresh
        })
        .0;
        if number >= spec.warm_up as u64 {
            for (all, one) in figures.iter_mut().zip(round) {
                all.push(one);
            }
        }
        done.write(b"next")?;
    }
    let names = [READ, READ_IN_PLACE, READ_UNCHECKED, MEMCPY, MEMCPY_TO_NEW, LOAD_STRINGS];
    let named = names.iter().zip(figures).map(|(name, figures)| named(name, figures)).collect();
    tell(&Outcome { named, ..Outcome::default() })?;
    Ok(done.unlink()?)
}
