//! `qads`: the command-line tool of qadataswap.

mod bench;
mod completions;
mod demo;
mod doctor;
mod export;
mod failure;
mod filter;
mod input;
mod inspect;
mod ls;
mod messages;
mod print;
mod processes;
mod record;
mod remove;
mod replay;
mod rings;
mod schema;
mod signals;
mod tail;
mod text;
mod top;
mod writer_watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Arrow between processes, over a lock-free ring in shared memory.
///
/// What only looks (ls, top, schema, inspect, tail, export, doctor) opens rings read-only and is no reader in the
/// eyes of the writer; it cannot slow or disturb anybody.
#[derive(Parser)]
#[command(name = "qads", version, after_help = failure::EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Ls(ls::LsArguments),
    Top(top::TopArguments),
    Tail(tail::TailArguments),
    Schema(schema::SchemaArguments),
    Inspect(inspect::InspectArguments),
    Record(record::RecordArguments),
    Replay(replay::ReplayArguments),
    Bench(bench::BenchArguments),
    Doctor(doctor::DoctorArguments),
    Rm(remove::RmArguments),
    Gc(remove::GcArguments),
    Export(export::ExportArguments),
    Demo(demo::DemoArguments),
    Completions(completions::CompletionsArguments),
    Man(completions::ManArguments),
    #[command(hide = true)]
    DemoWriter(demo::writer::WriterArguments),
    #[command(hide = true)]
    DemoReader(demo::reader::ReaderArguments),
    #[command(hide = true)]
    BenchReader(bench::reader::ReaderArguments),
}

fn main() -> ExitCode {
    let verb = Arguments::parse().verb;
    let (name, outcome) = match verb {
        Verb::Ls(arguments) => ("ls", ls::run(&arguments)),
        Verb::Top(arguments) => ("top", top::run(&arguments)),
        Verb::Tail(arguments) => ("tail", tail::run(&arguments)),
        Verb::Schema(arguments) => ("schema", schema::run(&arguments)),
        Verb::Inspect(arguments) => ("inspect", inspect::run(&arguments)),
        Verb::Record(arguments) => ("record", record::run(&arguments)),
        Verb::Replay(arguments) => ("replay", replay::run(&arguments)),
        Verb::Bench(arguments) => ("bench", bench::run(&arguments)),
        Verb::Doctor(arguments) => ("doctor", doctor::run(&arguments)),
        Verb::Rm(arguments) => ("rm", remove::rm(&arguments)),
        Verb::Gc(arguments) => ("gc", remove::gc(&arguments)),
        Verb::Export(arguments) => ("export", export::run(&arguments)),
        Verb::Completions(arguments) => ("completions", completions::run(&arguments)),
        Verb::Man(arguments) => ("man", completions::man(&arguments)),
        Verb::BenchReader(arguments) => ("bench", bench::reader::run(&arguments)),
        Verb::Demo(arguments) => return demo::run(&arguments),
        Verb::DemoWriter(arguments) => return demo::wire::child(|| demo::writer::run(&arguments)),
        Verb::DemoReader(arguments) => return demo::wire::child(|| demo::reader::run(&arguments)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(name),
    }
}
