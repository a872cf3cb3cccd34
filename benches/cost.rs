//! What one write and one read cost in one thread, beside memcpy of the same bytes.
//!
//! Messages go round a ring of [`SLOTS`] slots; memcpy goes round as many buffers, so that both touch
//! the same amount of memory. Each figure is the median of 21 rounds, and the things compared
//! take turns within a round, because shared machines drift.
//!
//! `make bench`, or `cargo bench -p qadataswap-bench --bench cost`; with `-- --once` a single round, to see
//! that it runs.

use std::hint::black_box;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use qadataswap::{Reader, ReaderOptions, Writer, WriterOptions};
use qadataswap_bench::{batch, machine, median, nanoseconds_each};

const SLOTS: usize = 16;

/// One line of the table: nanoseconds of each thing, round by round.
#[derive(Default)]
struct Figures {
    write: Vec<f64>,
    read: Vec<f64>,
    copy: Vec<f64>,
}

struct Bench {
    writer: Writer,
    reader: Reader,
    rounds: usize,
}

impl Bench {
    fn new(capacity: usize, rounds: usize) -> Self {
        let name = format!("bench-cost-{}", std::process::id());
        let writer = WriterOptions::new(SLOTS)
            .slot_capacity(capacity)
            .prefault(true)
            .create(&name)
            .expect("ring is created");
        let reader = ReaderOptions::new().prefault(true).attach(&name).expect("reader attaches");
        Self { writer, reader, rounds }
    }

    /// Times `write` and `read` for a ring's worth of messages at a time, and memcpy of `bytes` bytes.
    fn run(&self, bytes: usize, write: impl Fn(&Writer), mut read: impl FnMut(&Reader)) -> Figures {
        let source = vec![7u8; bytes];
        let mut targets = vec![vec![0u8; bytes]; SLOTS];
        // About a millisecond of copying a round, a lap at least.
        let laps = (1 << 20) / (bytes * SLOTS + 4096) + 1;
        let mut figures = Figures::default();
        for round in 0..=self.rounds {
            let (mut wrote, mut got) = (0.0, 0.0);
            for _ in 0..laps {
                wrote += nanoseconds_each(SLOTS, || write(&self.writer));
                got += nanoseconds_each(SLOTS, || read(&self.reader));
            }
            let mut next = 0;
            let copied = nanoseconds_each(laps * SLOTS, || {
                targets[next].copy_from_slice(black_box(&source));
                black_box(&targets[next]);
                next = (next + 1) % SLOTS;
            });
            // The first round warms up.
            if round > 0 {
                figures.write.push(wrote / laps as f64);
                figures.read.push(got / laps as f64);
                figures.copy.push(copied);
            }
        }
        figures
    }

    fn finish(self) {
        self.writer.unlink().expect("ring is removed");
    }
}

fn print(what: &str, bytes: usize, mut figures: Figures) {
    let (write, read, copy) =
        (median(&mut figures.write), median(&mut figures.read), median(&mut figures.copy));
    println!(
        "{what:<24} {bytes:>9} B {write:>10.0} ns {read:>10.0} ns {copy:>10.0} ns   {:>7.2} {:>7.2}",
        write / copy,
        read / copy,
    );
}

fn bytes(size: usize, rounds: usize) {
    let bench = Bench::new(size, rounds);
    let message = vec![1u8; size];
    let mut buffer = vec![0u8; size];
    let figures = bench.run(
        size,
        |writer| writer.write(black_box(&message)).expect("written"),
        |reader| {
            reader.read_into(&mut buffer, 0).expect("read").expect("a message is there");
            black_box(&buffer);
        },
    );
    print("bytes", size, figures);
    bench.finish();
}

fn arrow(rows: usize, rounds: usize) {
    let batch = batch(rows);
    let bytes = stream_bytes(&batch);
    let bench = Bench::new(bytes, rounds);
    let figures = bench.run(
        bytes,
        |writer| writer.write_arrow(black_box(&batch)).expect("written"),
        |reader| {
            black_box(reader.read_arrow(0).expect("read").expect("a message is there"));
        },
    );
    print(&format!("arrow, 8 columns x {rows}"), bytes, figures);
    bench.finish();
}

fn stream_bytes(batch: &RecordBatch) -> usize {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).expect("stream");
    writer.write(batch).expect("batch");
    writer.into_inner().expect("end").len()
}

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--once") { 1 } else { 21 };
    println!("{}", machine());
    println!("one thread, {SLOTS} slots, medians of {rounds} rounds\n");
    println!(
        "{:<24} {:>11} {:>13} {:>13} {:>13}   {:>7} {:>7}",
        "message", "size", "write", "read", "memcpy", "write/m", "read/m"
    );
    for size in [40, 1 << 10, 64 << 10, 1 << 20] {
        bytes(size, rounds);
    }
    for rows in [1, 100, 10_000] {
        arrow(rows, rounds);
    }
}
