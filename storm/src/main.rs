//! `qads-storm`: one writer and readers of all kinds, killed with SIGKILL and stopped with SIGSTOP at random
//! moments, while every message carries its number and a checksum, and every reader checks its own counts.
//!
//! The program starts itself again with hidden verbs for the writer and the readers. They tell the parent
//! what they have seen through counters in memory that outlives them ([`board`]).

mod board;
mod chair;
mod ledger;
mod message;
mod parent;
mod reader;
mod report;
mod seat;
mod writer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Exit status: 0 if every message was whole, in order and counted and nobody hung, 1 if not, 2 for wrong
usage, 130 after Ctrl-C. Nothing is left in /dev/shm in any case.

Built with `--cfg qads_crash` (make crash), half of the processes also kill themselves at one of the library's
crash points.";

/// Kill and stop the processes of a ring at random, and check everything that they read
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, disable_help_subcommand = true)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    storm: StormArguments,
}

/// What the parent is told.
#[derive(clap::Args, Debug)]
struct StormArguments {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Where random choices begin; printed, so that a run can be repeated (but for its timing)
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Seconds without progress of a process that nobody stops, after which it hangs
    #[arg(long, value_name = "N", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
}

/// What a child is.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Writer(seat::ChildArguments),
    #[command(hide = true)]
    Reader(seat::ChildArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role {
        None => parent::run(&arguments.storm),
        Some(Role::Writer(child)) => seat::child(&child, writer::run),
        Some(Role::Reader(child)) => seat::child(&child, reader::run),
    }
}
