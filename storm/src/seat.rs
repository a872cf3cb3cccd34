//! A child of the storm: what it is told, and what it does besides its work.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use qadataswap::OnSlowReader;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::board::{Board, Count, Seat};
use crate::ledger::Fault;

/// What a child is told.
#[derive(clap::Args, Clone, Debug)]
pub struct ChildArguments {
    pub board: String,
    pub ring: String,
    /// Its place on the board.
    pub seat: usize,
    pub seed: u64,
    /// What kind of reader.
    #[arg(long, value_enum, default_value = "lossy")]
    pub kind: Kind,
    /// How the writer makes the ring.
    #[arg(long, default_value_t = 1)]
    pub slots: usize,
    #[arg(long, default_value_t = 1)]
    pub capacity: usize,
    /// What the writer does about slow readers.
    #[arg(long, value_enum, default_value = "refuse")]
    pub policy: Policy,
    /// Whether a lossless reader may be given up.
    #[arg(long)]
    pub evicted: bool,
}

/// The kinds of readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Lossy,
    Unregistered,
    Leasing,
    ZeroCopy,
    Lossless,
    LosslessLeasing,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Lossy,
        Self::Unregistered,
        Self::Leasing,
        Self::ZeroCopy,
        Self::Lossless,
        Self::LosslessLeasing,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lossy => "lossy",
            Self::Unregistered => "unregistered",
            Self::Leasing => "leasing",
            Self::ZeroCopy => "zero-copy",
            Self::Lossless => "lossless",
            Self::LosslessLeasing => "lossless-leasing",
        }
    }
}

/// What a writer does about slow readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    Wait,
    WaitForEver,
    Refuse,
    Evict,
    EvictAtOnce,
}

impl Policy {
    pub const ALL: [Self; 5] =
        [Self::Wait, Self::WaitForEver, Self::Refuse, Self::Evict, Self::EvictAtOnce];
    /// So many of them, from the first, give no reader up.
    pub const LOSSLESS: usize = 3;

    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::WaitForEver => "wait-for-ever",
            Self::Refuse => "refuse",
            Self::Evict => "evict",
            Self::EvictAtOnce => "evict-at-once",
        }
    }

    pub fn action(self) -> OnSlowReader {
        match self {
            Self::Wait => OnSlowReader::Wait { limit_ms: 20 },
            Self::WaitForEver => OnSlowReader::Wait { limit_ms: u64::MAX },
            Self::Refuse => OnSlowReader::Refuse,
            Self::Evict => OnSlowReader::Evict { grace_ms: 5 },
            Self::EvictAtOnce => OnSlowReader::Evict { grace_ms: 0 },
        }
    }
}

/// A child at work.
pub struct Place<'a> {
    pub arguments: &'a ChildArguments,
    pub board: &'static Board,
    pub seat: &'static Seat,
    pub random: fastrand::Rng,
}

impl Place<'_> {
    /// Does nothing for a while, of up to so many microseconds.
    pub fn dawdle(&mut self, longest_us: u64) {
        std::thread::sleep(Duration::from_micros(self.random.u64(0..=longest_us)));
    }

    /// Once in so many calls.
    pub fn rarely(&mut self, often: u64) -> bool {
        self.random.u64(0..often) == 0
    }
}

/// Runs a child until it is killed or has come to the end of the ring.
pub fn child(
    arguments: &ChildArguments,
    run: impl FnOnce(&mut Place<'_>) -> Result<(), Fault>,
) -> ExitCode {
    // If the parent is killed nobody else would end this.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let board = match Board::open(&arguments.board) {
        Ok(board) => board,
        Err(error) => {
            eprintln!("{}: {error}", arguments.board);
            return ExitCode::FAILURE;
        }
    };
    let seat = board.seat(arguments.seat);
    let random = fastrand::Rng::with_seed(arguments.seed);
    match run(&mut Place { arguments, board, seat, random }) {
        Ok(()) => ExitCode::SUCCESS,
        Err((count, what)) => {
            seat.add(count, 1);
            let who = match arguments.seat {
                0 => "writer",
                _ => arguments.kind.name(),
            };
            // In one piece, among what others say.
            let line = format!("storm: {}: {who}: {count:?}: {what}\n", arguments.ring);
            let _ = std::io::stderr().write_all(line.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// An error that should not have been.
pub fn unexpected(error: impl std::fmt::Display) -> Fault {
    (Count::Errors, error.to_string())
}
