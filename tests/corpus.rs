//! Inputs of the fuzz targets, replayed: those that fuzzing kept (`fuzz/corpus`), those that found something
//! (`fuzz/regressions`), and those that it begins with.

#[path = "arrow/generate.rs"]
mod generate;
mod model;
mod support;

mod fuzz;

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use generate::{Nulls, array, batch};
use qadataswap::{create_reader, create_writer};
use support::threads::must_return;
use support::{RingName, shared_data};

type Run = fn(&[u8]);
type Seeds = fn() -> Vec<Vec<u8>>;

/// A target's name, what runs it, and its seeds.
const TARGETS: [(&str, Run, Seeds); 5] = [
    ("attach", fuzz::attach::run, fuzz::attach::seeds),
    ("decode", fuzz::decode::run, decode_seeds),
    ("mutate", fuzz::mutate::run, fuzz::mutate::seeds),
    ("control", fuzz::control::run, fuzz::control::seeds),
    ("operations", fuzz::operations::run, fuzz::operations::seeds),
];

/// Files of a folder, in order; none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn kept(folder: &str, target: &str) -> Vec<PathBuf> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target))
}

fn replay_files(run: Run, files: &[PathBuf]) {
    for file in files {
        let (name, bytes) = (file.display().to_string(), std::fs::read(file).unwrap());
        // Shown if it fails.
        println!("{name}");
        must_return(&name, move || run(&bytes));
    }
}

/// Names a folder that the seeds are written to besides, by target: set when the fuzzers are built.
const SEEDS: &str = "QADATASWAP_FUZZ_SEEDS";

fn replay(target: &str) {
    let (_, run, seeds) = TARGETS.iter().find(|(name, ..)| *name == target).expect("is listed");
    let folder = std::env::var(SEEDS).ok().map(|folder| Path::new(&folder).join(target));
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder).unwrap();
    }
    for (number, seed) in seeds().iter().enumerate() {
        println!("seed {number}");
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
        }
        run(seed);
    }
    let corpus = kept("corpus", target);
    assert!(!corpus.is_empty(), "fuzz/corpus/{target} is empty");
    replay_files(*run, &corpus);
    replay_files(*run, &kept("regressions", target));
}

#[test]
fn whatever_a_data_segment_begins_with_is_refused_or_works() {
    replay("attach");
}

#[test]
fn whatever_is_decoded_is_valid_and_the_same_in_every_way() {
    replay("decode");
}

#[test]
fn a_slot_that_changes_gives_what_it_says_or_an_error() {
    replay("mutate");
}

#[test]
fn whatever_is_in_the_control_segment_costs_no_message() {
    replay("control");
}

#[test]
fn whatever_is_done_in_whatever_order_nothing_is_lost_uncounted() {
    replay("operations");
}

#[test]
fn streams_that_have_crashed_other_implementations_are_decoded_or_refused() {
    if let Some(folder) = shared_data("arrow-fuzz") {
        replay_files(fuzz::decode::run, &files(&folder));
    }
}

/// Streams of every type.
fn decode_seeds() -> Vec<Vec<u8>> {
    let name = RingName::new("seeds");
    let writer = create_writer(name.name(), 2).unwrap();
    let reader = create_reader(name.name()).unwrap();
    let stream = |batches: &[RecordBatch]| {
        writer.write_batches(&batches[0].schema(), batches).unwrap();
        reader.read(0).unwrap().expect("just published")
    };
    let mut seeds = fuzz::notes::seeds();
    seeds.extend([b"\xff\xff\xff\xff\0\0\0\0".to_vec(), stream(&[generate::rows_only(5)])]);
    for (number, data_type) in generate::all_types().iter().enumerate() {
        let nulls = [Nulls::Some, Nulls::None, Nulls::All][number % 3];
        let column = |rows| batch(array(data_type, rows, nulls));
        seeds.push(stream(&[column(1 + number % 9)]));
        if number % 4 == 0 {
            seeds.push(stream(&[column(3), column(0), column(2)]));
        }
    }
    seeds
}
