//! `qads demo`: one writer and three readers, each a process of its own, on one ring.
//!
//! The program starts itself again with hidden verbs for the writer and the readers. The parent kills
//! and restarts one of the readers half-way, shows what everybody reports ([`report`]), and sees to it
//! that neither processes nor shared memory are left behind ([`parent`]).

mod book;
pub mod clock;
mod events;
mod parent;
pub mod process;
pub mod reader;
mod report;
mod tape;
pub mod wire;
pub mod writer;

use std::process::ExitCode;

use parent::{Parent, Stop};

use crate::text;

const EXAMPLES: &str = "\
Examples:
  qads demo                               generated order-book events, 10,000 per second, 10 s
  qads demo --rate 0 --seconds 5          as fast as the machine can
  qads demo --input quotes.arrows         replay a file, a batch per row or exchange event
  qads demo --input t.parquet --rows 100  100 rows to a batch

Exit status: 0 if every count adds up and every batch was whole, 1 if not or if something failed,
2 for wrong usage, 130 after Ctrl-C. Nothing is left in /dev/shm in any case.";

/// Show a ring at work: one writer and three reader processes
///
/// One reader takes batches as they come, one is slow on purpose and loses some, one is killed with
/// kill -9 half-way and started again. Shows a line per second, and in the end what each reader
/// consumed and lost, checked against what was published, with latency and throughput.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DemoArguments {
    /// How long to publish
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Events per second, each published when it is due; 0 = as fast as possible
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    rate: u64,
    #[command(flatten)]
    input: events::Input,
    /// Slots of the ring: how many batches a reader may be behind before it loses some
    ///
    /// Default: what is published in 0.4 s, within 16 to 4096 slots and some 24 MiB.
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// How readers wait; default: sleep on small machines, spin-sleep on large ones
    #[arg(long, value_name = "HOW")]
    wait: Option<reader::Wait>,
    /// Name of the ring (default: one of its own for each run)
    #[arg(long)]
    name: Option<String>,
}

impl DemoArguments {
    fn wait(&self) -> reader::Wait {
        self.wait.unwrap_or_else(reader::Wait::usual)
    }
}

/// Runs the demo.
pub fn run(arguments: &DemoArguments) -> ExitCode {
    let outcome = Parent::new(arguments).and_then(Parent::run);
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Stop::Signal(signal)) => {
            text::say("\nqads demo: stopped; its processes have ended and its ring is removed");
            // As shells report a death by signal.
            ExitCode::from(128 + signal as u8)
        }
        Err(Stop::NobodyListens) => ExitCode::FAILURE,
        Err(Stop::Failed(error)) => {
            text::say(&format!("qads demo: {error}"));
            ExitCode::FAILURE
        }
    }
}
