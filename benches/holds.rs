//! What holds cost: a publish in a ring where none are possible, where none are taken, beside a gate and
//! beside four leases; a read of a 64 MiB batch copied and in place.
//!
//! One process; each figure is the median of some rounds, and the things compared take turns within a round,
//! because shared machines drift. `make bench`, or `cargo bench -p qadataswap-bench --bench holds`; with
//! `-- --once` a single round, to see that it runs.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use qadataswap::{Lease, Reader, ReaderOptions, Writer, WriterOptions};
use qadataswap_bench::{machine, median, nanoseconds_each};

const SLOTS: usize = 64;
const BATCH_BYTES: usize = 64 << 20;

/// A ring, and who is there beside its writer.
struct Ring {
    what: &'static str,
    writer: Writer,
    gate: Option<Reader>,
    _leases: Vec<Lease>,
    nanoseconds: Vec<f64>,
}

impl Ring {
    fn new(what: &'static str, holds: bool, gate: bool, leases: usize) -> Self {
        let name = format!("bench-holds-{}-{}", what.replace(' ', "-"), std::process::id());
        let writer = WriterOptions::new(SLOTS)
            .slot_capacity(40)
            .prefault(true)
            .holds(holds)
            .create(&name)
            .expect("ring is created");
        let gate = gate.then(|| ReaderOptions::new().lossless(true).attach(&name).expect("joins"));
        let reader = ReaderOptions::new().attach(&name).expect("attaches");
        let lease = |_| {
            writer.write(&[0; 40]).expect("written");
            reader.lease(0).expect("leased").expect("just written")
        };
        let leases = (0..leases).map(lease).collect();
        Self { what, writer, gate, _leases: leases, nanoseconds: Vec::new() }
    }

    /// Times publishes, half a ring's worth at a time; the lossless reader then catches up.
    fn round(&mut self, laps: usize) {
        let message = [1u8; 40];
        let mut total = 0.0;
        for _ in 0..laps {
            total += nanoseconds_each(SLOTS / 2, || {
                self.writer.write(black_box(&message)).expect("written");
            });
            if let Some(reader) = &self.gate {
                while reader.skip().expect("read") {}
            }
        }
        self.nanoseconds.push(total / laps as f64);
    }
}

fn publish(rounds: usize) {
    let mut rings = [
        Ring::new("no holds possible", false, false, 0),
        Ring::new("none taken", true, false, 0),
        Ring::new("one gate", true, true, 0),
        Ring::new("four leases", true, false, 4),
    ];
    for round in 0..=rounds {
        rings.iter_mut().for_each(|ring| ring.round(if round == 0 { 1 } else { 2_000 }));
    }
    println!("publish, 40 B, {SLOTS} slots");
    let mut base = 0.0;
    for mut ring in rings {
        let nanoseconds = median(&mut ring.nanoseconds[1..]);
        if base == 0.0 {
            base = nanoseconds;
        }
        println!("  {:<24} {nanoseconds:>10.1} ns {:>8.2}", ring.what, nanoseconds / base);
        ring.writer.unlink().expect("removed");
    }
}

/// About 64 MiB: numbers, and strings if `texts`.
fn large_batch(texts: bool) -> RecordBatch {
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    if texts {
        let rows = BATCH_BYTES / (4 + 12);
        let text = (0..rows).map(|row| format!("ES{row:010}"));
        columns.push(("symbol", Arc::new(StringArray::from_iter_values(text))));
    } else {
        let rows = BATCH_BYTES / 16;
        columns.push(("id", Arc::new(Int64Array::from_iter_values(0..rows as i64))));
        let prices = (0..rows).map(|row| row as f64);
        columns.push(("price", Arc::new(Float64Array::from_iter_values(prices))));
    }
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

/// Times one read each way, of a message published just before.
fn read(what: &str, batch: &RecordBatch, rounds: usize) {
    let name = format!("bench-holds-read-{}", std::process::id());
    let writer = WriterOptions::new(4)
        .slot_capacity(BATCH_BYTES + (1 << 20))
        .prefault(true)
        .create(&name)
        .expect("ring is created");
    let reader = ReaderOptions::new().prefault(true).attach(&name).expect("attaches");
    type Read<'a> = (&'a str, &'a dyn Fn() -> RecordBatch);
    let ways: [Read; 3] = [
        ("copied", &|| reader.read_arrow(0).expect("read").expect("there")),
        ("in place", &|| reader.read_arrow_zero_copy(0).expect("read").expect("there")),
        ("in place, unchecked", &|| {
            // SAFETY: this program has just written the batch.
            unsafe { reader.read_arrow_zero_copy_unchecked(0) }.expect("read").expect("there")
        }),
    ];
    let mut figures = vec![Vec::new(); ways.len()];
    for round in 0..=rounds {
        for ((_, way), figures) in ways.iter().zip(&mut figures) {
            writer.write_arrow(batch).expect("written");
            let mut got = None;
            let nanoseconds = nanoseconds_each(1, || got = Some(way()));
            assert_eq!(got.expect("read").num_rows(), batch.num_rows());
            if round > 0 {
                figures.push(nanoseconds);
            }
        }
    }
    println!("read, {what}, 64 MiB; beside memcpy of as many bytes to memory in use");
    let (source, mut target) = (vec![1u8; BATCH_BYTES], vec![0u8; BATCH_BYTES]);
    let copy = || nanoseconds_each(1, || target.copy_from_slice(black_box(&source)));
    let mut copied: Vec<f64> = std::iter::repeat_with(copy).take(rounds.max(1)).collect();
    println!("  {:<24} {:>10.1} us", "memcpy", median(&mut copied) / 1e3);
    for ((way, _), mut figures) in ways.iter().zip(figures) {
        println!("  {way:<24} {:>10.1} us", median(&mut figures) / 1e3);
    }
    writer.unlink().expect("removed");
}

fn main() {
    let once = std::env::args().any(|argument| argument == "--once");
    println!("{}\n", machine());
    publish(if once { 1 } else { 21 });
    read("int64 and float64", &large_batch(false), if once { 1 } else { 9 });
    read("utf8", &large_batch(true), if once { 1 } else { 9 });
}
