//! All verbs but the demo, which is all that there is without the feature `full`.

mod attach;
mod bench;
mod completions;
mod doctor;
mod export;
mod filter;
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
mod top;
mod writer_watch;

use std::io;
use std::process::ExitCode;

use clap::Subcommand;
use parquet::errors::ParquetError;

use crate::failure::{Failure, failed};

#[derive(Subcommand)]
pub enum Verb {
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
    Completions(completions::CompletionsArguments),
    Man(completions::ManArguments),
    #[command(hide = true)]
    BenchReader(bench::reader::ReaderArguments),
}

impl Verb {
    /// Does it, and says on standard error what went wrong.
    pub fn run(self) -> ExitCode {
        let (name, outcome) = match self {
            Self::Ls(arguments) => ("ls", ls::run(&arguments)),
            Self::Top(arguments) => ("top", top::run(&arguments)),
            Self::Tail(arguments) => ("tail", tail::run(&arguments)),
            Self::Schema(arguments) => ("schema", schema::run(&arguments)),
            Self::Inspect(arguments) => ("inspect", inspect::run(&arguments)),
            Self::Record(arguments) => ("record", record::run(&arguments)),
            Self::Replay(arguments) => ("replay", replay::run(&arguments)),
            Self::Bench(arguments) => ("bench", bench::run(&arguments)),
            Self::Doctor(arguments) => ("doctor", doctor::run(&arguments)),
            Self::Rm(arguments) => ("rm", remove::rm(&arguments)),
            Self::Gc(arguments) => ("gc", remove::gc(&arguments)),
            Self::Export(arguments) => ("export", export::run(&arguments)),
            Self::Completions(arguments) => ("completions", completions::run(&arguments)),
            Self::Man(arguments) => ("man", completions::man(&arguments)),
            Self::BenchReader(arguments) => ("bench", bench::reader::run(&arguments)),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(name),
        }
    }
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        failed(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}
