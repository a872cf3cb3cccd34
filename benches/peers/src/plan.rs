//! What is measured against what, how often, and with how many messages.

use clap::ValueEnum;

use crate::Result;
use crate::impls::{BRIDGING_SLOTS, FEW_SLOTS};
use crate::run::Run;
use crate::spec::{Impl, Load, Mode};

/// Rows of a batch whose stream has about 64 MiB.
pub const LARGE_ROWS: usize = 1_180_000;
/// Ordinary readers that are attached while a publish is timed, and the processes they are in.
pub const IDLE: usize = 1_000;
const IDLE_PROCESSES: usize = 4;

/// How long all of it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A quarter of an hour.
    Full,
    /// Less than three minutes.
    Quick,
    /// Seconds, to see that it runs.
    Once,
}

/// Runs that take turns, so that a machine that drifts drifts for all of them.
pub struct Group {
    pub mode: Mode,
    pub load: Load,
    pub readers: usize,
    pub rounds: usize,
    pub runs: Vec<Run>,
}

impl Group {
    /// Its name for filters and in results.
    pub fn bench(&self) -> String {
        bench(self.mode, self.load)
    }
}

/// The name of a mode with a load.
pub fn bench(mode: Mode, load: Load) -> String {
    match (mode, load) {
        (Mode::PingPong | Mode::OpenLoop | Mode::Throughput, Load::Bytes(_)) => {
            format!("bytes-{}", mode.name())
        }
        (Mode::PingPong | Mode::OpenLoop | Mode::Throughput, Load::Rows(_)) => {
            format!("arrow-{}", mode.name())
        }
        _ => mode.name(),
    }
}

const SIZES: [usize; 4] = [40, 1 << 10, 8 << 10, 64 << 10];

/// The groups whose bench has one of these `parts` in its name, with only these implementations; all if none is named.
/// What is named must be there.
pub fn choose(scale: Scale, cores: usize, parts: &[String], only: &[Impl]) -> Result<Vec<Group>> {
    let mut groups = plan(scale, cores);
    if let Some(part) = parts.iter().find(|part| !benches().iter().any(|name| name.contains(*part)))
    {
        let there_are = benches().join(", ");
        return Err(format!("no bench has {part:?} in its name; there are {there_are}").into());
    }
    groups
        .retain(|group| parts.is_empty() || parts.iter().any(|part| group.bench().contains(part)));
    let runs = || groups.iter().flat_map(|group| &group.runs);
    if let Some(missing) = only.iter().find(|one| !runs().any(|run| run.implementation == **one)) {
        let mut there_are: Vec<_> = runs().map(|run| run.implementation).collect();
        there_are.sort();
        there_are.dedup();
        let there_are: Vec<_> = there_are.into_iter().map(Impl::name).collect();
        let (missing, there_are) = (missing.name(), there_are.join(", "));
        return Err(format!("none of these benches has {missing}; they have {there_are}").into());
    }
    if !only.is_empty() {
        for group in &mut groups {
            group.runs.retain(|run| only.contains(&run.implementation));
        }
        groups.retain(|group| !group.runs.is_empty());
    }
    Ok(groups)
}

/// All groups.
fn plan(scale: Scale, cores: usize) -> Vec<Group> {
    use Impl::*;
    let mut groups = Vec::new();
    let mut add = |mode, load, readers, implementations: &[Impl]| {
        let runs = implementations.iter().map(|one| run(scale, mode, load, readers, *one));
        let (rounds, runs) = (rounds(scale, load), runs.collect());
        groups.push(Group { mode, load, readers, rounds, runs });
    };
    let carried = [Qadataswap, QadataswapReadOnly, QadataswapInPlace, Iceoryx2, Shaq, Socket, Pipe];
    let bytes = [&[Raw, Memcpy], &carried[..]].concat();
    let small = [&[Raw, Stamped, Memcpy], &carried[..]].concat();
    let queues = [&[Raw], &carried[..]].concat();
    let batches = [&[Raw], &carried[..]].concat();
    for mode in [Mode::PingPong, Mode::OpenLoop] {
        for size in SIZES {
            match (mode, size) {
                // What would have to go on after an overrun is measured only where there is none.
                (Mode::OpenLoop, _) => add(mode, Load::Bytes(size), 1, &queues),
                (_, 40) => add(mode, Load::Bytes(size), 1, &small),
                _ => add(mode, Load::Bytes(size), 1, &bytes),
            }
        }
        for rows in [1, 100, 10_000] {
            add(mode, Load::Rows(rows), 1, &batches);
        }
    }
    add(Mode::PingPong, Load::Rows(LARGE_ROWS), 1, &batches);
    let mut counts = vec![1, cores];
    counts.dedup();
    for size in [40, 8 << 10] {
        add(Mode::Throughput, Load::Bytes(size), 0, &[Memcpy, Qadataswap, Iceoryx2, Shaq]);
        for readers in &counts {
            let all = [Qadataswap, QadataswapLossless, Iceoryx2, Shaq, Socket, Pipe];
            add(Mode::Throughput, Load::Bytes(size), *readers, &all);
        }
    }
    for rows in [100, 10_000] {
        add(Mode::Throughput, Load::Rows(rows), 0, &[Qadataswap, Iceoryx2, Shaq]);
        for readers in &counts {
            let all = [&[Qadataswap, QadataswapLossless], &carried[1..]].concat();
            add(Mode::Throughput, Load::Rows(rows), *readers, &all);
        }
    }
    add(Mode::Publish, Load::Bytes(40), 0, &[Memcpy, Qadataswap, Iceoryx2, Shaq]);
    // shaq looks 2,048 times before it sleeps: with an answer under way it never does.
    add(Mode::Wake, Load::Bytes(40), 1, &[Futex, Qadataswap, Socket, Pipe]);
    add(Mode::Sides, Load::Rows(LARGE_ROWS), 1, &[Qadataswap]);
    add(Mode::Allocations, Load::Bytes(40), 0, &[Qadataswap]);
    for group in &mut groups {
        if group.mode == Mode::Publish
            && let Some(run) = group.runs.iter().find(|run| run.implementation == Qadataswap)
        {
            let idle = Run { idle: IDLE, idle_processes: IDLE_PROCESSES, ..*run };
            group.runs.push(idle);
        }
    }
    groups
}

/// Names that a filter can be compared with.
pub fn benches() -> Vec<String> {
    let mut names: Vec<_> = plan(Scale::Once, 2).iter().map(Group::bench).collect();
    names.dedup();
    names.sort();
    names.dedup();
    names
}

fn rounds(scale: Scale, load: Load) -> usize {
    match (scale, load) {
        (Scale::Once, _) => 1,
        (Scale::Quick, Load::Rows(LARGE_ROWS)) => 1,
        (Scale::Quick, _) => 3,
        (Scale::Full, Load::Rows(LARGE_ROWS)) => 3,
        (Scale::Full, _) => 9,
    }
}

fn run(scale: Scale, mode: Mode, load: Load, readers: usize, implementation: Impl) -> Run {
    // The floor is what it is whatever goes on beside it.
    let load = if implementation == Impl::Raw { Load::Bytes(40) } else { load };
    let messages = match (mode, load) {
        (Mode::Sides, _) | (_, Load::Rows(LARGE_ROWS)) => 10,
        (Mode::Publish, _) => 400_000,
        (Mode::Throughput, Load::Bytes(..=1024)) => 200_000,
        (Mode::Throughput, Load::Bytes(_)) => 50_000,
        (Mode::Throughput, Load::Rows(10_000..)) => 500,
        (Mode::Throughput, Load::Rows(_)) => 20_000,
        (Mode::Wake, _) => 10_000,
        (Mode::Allocations, _) => 10_000,
        (_, Load::Rows(10_000..)) => 1_000,
        (Mode::OpenLoop, _) => 10_000,
        (_, Load::Bytes(65_536..)) => 5_000,
        (_, Load::Rows(_)) => 10_000,
        (_, Load::Bytes(_)) => 20_000,
    };
    let count = match scale {
        Scale::Once => (messages / 100).max(2),
        Scale::Quick => messages,
        Scale::Full => 2 * messages,
    };
    // All slots have memory and have been read before anything counts: iceoryx2 has one or two more than the others.
    let lap = match (scale, mode, load) {
        (Scale::Once, ..) => 2,
        (_, _, Load::Rows(LARGE_ROWS)) => FEW_SLOTS + 2,
        (_, Mode::OpenLoop, Load::Rows(1000..)) => BRIDGING_SLOTS.0 + 2,
        (_, Mode::OpenLoop, _) => BRIDGING_SLOTS.1 + 2,
        _ => 2,
    };
    // Below what any of the implementations can do, so that a queue that grows tells of a pause.
    let interval_ns = match load {
        Load::Bytes(..=8192) => 20_000,
        Load::Bytes(_) => 75_000,
        Load::Rows(..1000) => 50_000,
        Load::Rows(_) => 500_000,
    };
    Run {
        mode,
        implementation,
        load,
        readers,
        warm_up: (count / 10).max(lap),
        count,
        interval_ns,
        budget_ns: match scale {
            Scale::Once => 50_000_000,
            Scale::Quick => 250_000_000,
            Scale::Full => 1_000_000_000,
        },
        idle: 0,
        idle_processes: 0,
    }
}

impl Scale {
    /// As told in the head of a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
            Self::Once => "once (figures mean nothing)",
        }
    }
}

/// All implementations there are.
pub fn implementations() -> &'static [Impl] {
    Impl::value_variants()
}
