//! `qads`: the command-line tool of qadataswap.

// Without its other verbs, the demo does not use all of what they share with it.
#![cfg_attr(not(feature = "full"), allow(dead_code))]
// They panic where nobody listens; see `text::say`.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod demo;
mod failure;
mod input;
mod text;
#[cfg(feature = "full")]
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Arrow between processes, over a lock-free ring in shared memory.
///
/// What only looks (ls, top, schema, inspect, tail, export, doctor) opens rings read-only and is no reader in the
/// eyes of the writer; it cannot slow or disturb anybody.
#[derive(Parser)]
#[command(name = "qads", version)]
#[command(after_help = if cfg!(feature = "full") { failure::EXIT_CODES } else { input::NEEDS_FULL })]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    #[cfg(feature = "full")]
    #[command(flatten)]
    Other(verbs::Verb),
    Demo(demo::DemoArguments),
    #[command(hide = true)]
    DemoWriter(demo::writer::WriterArguments),
    #[command(hide = true)]
    DemoReader(demo::reader::ReaderArguments),
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        #[cfg(feature = "full")]
        Verb::Other(verb) => verb.run(),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::DemoWriter(arguments) => demo::wire::child(|| demo::writer::run(&arguments)),
        Verb::DemoReader(arguments) => demo::wire::child(|| demo::reader::run(&arguments)),
    }
}
