//! What a write and a read of 40 bytes cost, and the way from one thread to another: the twin of `ffi/bench/cost.cpp`,
//! which measures the same through the C++ header. `make ffi-cost` has them take turns.

use std::hint::black_box;
use std::time::Instant;

use qadataswap::{Reader, ReaderOptions, WaitStrategy, Writer, WriterOptions};
use qadataswap_bench::median;

type Message = [u64; 5];

const SLOTS: usize = 16;

fn create(name: &str) -> Writer {
    let options = WriterOptions::new(SLOTS).slot_capacity(size_of::<Message>()).prefault(true);
    options.create(name).expect("ring is created")
}

fn attach(name: &str) -> Reader {
    ReaderOptions::new().wait(WaitStrategy::Spin).attach(name).expect("attaches")
}

fn one_thread(name: &str, rounds: usize) {
    const LAPS: usize = 2_000;
    let writer = create(name);
    let reader = attach(name);
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    let message: Message = [0; 5];
    for round in 0..=rounds {
        let (mut wrote, mut read) = (0.0, 0.0);
        for _ in 0..LAPS {
            let start = Instant::now();
            for _ in 0..SLOTS / 2 {
                writer.write_value(black_box(&message)).expect("written");
            }
            let between = Instant::now();
            for _ in 0..SLOTS / 2 {
                black_box(reader.read_value::<Message>(0).expect("read").expect("there"));
            }
            wrote += (between - start).as_nanos() as f64;
            read += between.elapsed().as_nanos() as f64;
        }
        if round > 0 {
            writes.push(wrote / (LAPS * SLOTS / 2) as f64);
            reads.push(read / (LAPS * SLOTS / 2) as f64);
        }
    }
    writer.unlink().expect("removed");
    print!("Rust  write {:5.1} ns   read {:5.1} ns", median(&mut writes), median(&mut reads));
}

fn two_threads(name: &str, rounds: usize) {
    const TRIPS: usize = 2_000;
    let (there, back) = (create(&format!("{name}-there")), create(&format!("{name}-back")));
    let here = attach(&format!("{name}-back"));
    let reader = attach(&format!("{name}-there"));
    let other = std::thread::spawn(move || {
        while let Ok(Some(message)) = reader.read_value::<Message>(u64::MAX) {
            back.write_value(&message).expect("written");
        }
        back.unlink().expect("removed");
    });
    let mut ways = Vec::new();
    let mut message: Message = [0; 5];
    for round in 0..=rounds {
        let start = Instant::now();
        for _ in 0..TRIPS {
            there.write_value(&message).expect("written");
            message = here.read_value(u64::MAX).expect("read").expect("there");
        }
        if round > 0 {
            ways.push(start.elapsed().as_nanos() as f64 / (2 * TRIPS) as f64);
        }
    }
    there.unlink().expect("removed");
    other.join().expect("ends");
    println!("   one way between threads {:5.0} ns", median(&mut ways));
}

fn main() {
    let once = std::env::args().any(|argument| argument == "--once");
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    let rounds = given.unwrap_or(if once { 1 } else { 21 });
    let name = format!("bench-rust-{}", std::process::id());
    one_thread(&name, rounds);
    two_threads(&name, rounds);
}
