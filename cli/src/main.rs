//! `qads`: the command-line tool of qadataswap.

mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Arrow between processes, over a lock-free ring in shared memory.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Demo(demo::DemoArguments),
    #[command(hide = true)]
    DemoWriter(demo::writer::WriterArguments),
    #[command(hide = true)]
    DemoReader(demo::reader::ReaderArguments),
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::DemoWriter(arguments) => demo::wire::child(|| demo::writer::run(&arguments)),
        Verb::DemoReader(arguments) => demo::wire::child(|| demo::reader::run(&arguments)),
    }
}
