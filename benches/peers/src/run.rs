//! Runs one thing once: makes what its workers inherit, runs them, and clears up.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, OFlags, ftruncate, memfd_create, open, statvfs};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::batches::Batches;
use crate::impls::slots_for;
use crate::modes::STEPS;
use crate::plan::Group;
use crate::report::load;
use crate::spec::{ChannelFds, Impl, Load, Mode, Outcome, Spec};
use crate::table::size;
use crate::{Result, board, process, say};

/// Begins the names of all that is made here; a process id follows.
const PREFIX: &str = "qads-peers-";
/// Begins the name of the folder for files; a process id follows.
const SCRATCH: &str = "scratch-";
/// Where rings are, by whichever implementation that names its memory.
const SHARED_MEMORY: &str = "/dev/shm";
/// Bytes of shared memory that implementations which do not size it themselves find.
const PAGE: u64 = 4096;

/// What stays the same from run to run.
pub struct Bench {
    pub cores: usize,
    /// Which they are: those that this process may be on, as many at least.
    cpus: Vec<usize>,
    pub ns_per_tick: f64,
    scratch: PathBuf,
    /// The same, open, for workers to inherit.
    files: OwnedFd,
    runs: usize,
    /// Largest messages of loads that have been run.
    capacities: Vec<(Load, usize)>,
}

/// What one run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub mode: Mode,
    pub implementation: Impl,
    pub load: Load,
    pub readers: usize,
    pub warm_up: usize,
    pub count: usize,
    pub interval_ns: u64,
    pub budget_ns: u64,
    /// Idle handles, and the processes that hold them.
    pub idle: usize,
    pub idle_processes: usize,
}

impl Bench {
    /// Makes a folder in `target` for what runs leave in files while they last.
    pub fn new(target: &Path, ns_per_tick: f64) -> Result<Self> {
        clear_up_after_the_dead(target);
        let in_it = |error| format!("cannot write to the folder {}: {error}", target.display());
        let scratch =
            target.canonicalize().map_err(in_it)?.join(format!("{SCRATCH}{}", std::process::id()));
        std::fs::create_dir_all(&scratch).map_err(in_it)?;
        // Not closed on exec.
        let files = open(&scratch, OFlags::PATH | OFlags::DIRECTORY, rustix::fs::Mode::empty())?;
        let cores = std::thread::available_parallelism()?.get();
        let allowed = sched_getaffinity(None)?;
        let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        Ok(Self { cores, cpus, ns_per_tick, scratch, files, runs: 0, capacities: Vec::new() })
    }

    /// Processes that are busy in a run.
    pub fn busy(&self, run: &Run) -> usize {
        if matches!(run.mode, Mode::PingPong | Mode::Wake) { 2 } else { 1 + run.readers }
    }

    /// Runs it; the outcomes are in order of roles.
    pub fn run(&mut self, run: &Run) -> Result<Vec<Outcome>> {
        self.runs += 1;
        let busy = self.busy(run);
        let workers = busy + run.idle_processes;
        let made = (0..channels(run.mode)).map(|_| make(run)).collect::<Result<Vec<_>>>()?;
        let board = board::make()?;
        let capacity = self.capacity(run.load)?;
        let spec = Spec {
            board: board.as_raw_fd(),
            implementation: run.implementation,
            load: run.load,
            mode: run.mode,
            role: 0,
            readers: run.readers,
            warm_up: run.warm_up,
            count: run.count,
            interval_ns: run.interval_ns,
            budget_ns: run.budget_ns,
            core: 0,
            crowded: busy > self.cores,
            prefix: format!("{}{}", own_prefix(), self.runs),
            // Its own path may be longer than iceoryx2 takes, or have other letters.
            scratch: format!("/proc/self/fd/{}", self.files.as_raw_fd()),
            channels: made.iter().map(Made::fds).collect(),
            handles: run.idle.checked_div(run.idle_processes).unwrap_or(0),
            ns_per_tick: self.ns_per_tick,
            capacity,
            parent: 0,
        };
        let core = |role| self.cpus[role % self.cores.min(self.cpus.len())];
        let specs: Vec<_> =
            (0..workers).map(|role| Spec { core: core(role), ..spec.clone() }).collect();
        let outcomes = process::run(&specs, STEPS);
        clear_up(&own_prefix());
        outcomes
    }
}

impl Bench {
    /// Why these cannot be run here, if so: there is less shared memory than the rings of one of them take. (iceoryx2
    /// is killed then, and a container has 64 MiB unless it is given more.)
    pub fn lacks_room(&mut self, group: &Group) -> Result<Option<String>> {
        let mut needed = 0;
        for run in &group.runs {
            let capacity = self.capacity(run.load)?;
            needed = needed.max(channels(run.mode) * rooms(run, capacity) * capacity);
        }
        let shared = statvfs(SHARED_MEMORY)?;
        let free = usize::try_from(shared.f_bavail * shared.f_frsize)?;
        Ok((needed > free).then(|| {
            let (load, needed, free) = (load(group.load), size(needed), size(free));
            format!("{}: {load}: takes {needed} in {SHARED_MEMORY}, {free} are free", group.bench())
        }))
    }

    /// Bytes of the largest message.
    fn capacity(&mut self, load: Load) -> Result<usize> {
        if let Some((_, capacity)) = self.capacities.iter().find(|(known, _)| *known == load) {
            return Ok(*capacity);
        }
        let capacity = match load {
            Load::Bytes(size) => size,
            Load::Rows(rows) => Batches::new(rows).stream_bytes()?.next_multiple_of(64),
        };
        self.capacities.push((load, capacity));
        Ok(capacity)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        clear_up(&own_prefix());
        if let Err(error) = std::fs::remove_dir_all(&self.scratch) {
            say::problem(format_args!("{} is left: {error}", self.scratch.display()));
        }
    }
}

/// How many channels a run has.
fn channels(mode: Mode) -> usize {
    if matches!(mode, Mode::PingPong | Mode::Wake) { 2 } else { 1 }
}

/// For how many messages of that many bytes a channel has memory of its own that is in [`SHARED_MEMORY`].
fn rooms(run: &Run, capacity: usize) -> usize {
    let slots = slots_for(run.mode, capacity);
    match run.implementation {
        Impl::Qadataswap
        | Impl::QadataswapReadOnly
        | Impl::QadataswapInPlace
        | Impl::QadataswapLossless => slots,
        // Each subscriber's buffer and what it borrows, and what the publisher loans.
        Impl::Iceoryx2 => run.readers.max(1) * (slots + 1) + 2,
        _ => 0,
    }
}

fn own_prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// What the workers inherit for one channel.
struct Made {
    memory: Option<OwnedFd>,
    ends: Vec<(OwnedFd, OwnedFd)>,
}

fn make(run: &Run) -> Result<Made> {
    let mut made = Made { memory: None, ends: Vec::new() };
    let readers = run.readers.max(1);
    match run.implementation {
        // What is compared with is a copy to and from shared memory.
        _ if run.mode == Mode::Sides => made.memory = Some(shared_memory()?),
        Impl::Raw | Impl::Stamped | Impl::Futex | Impl::Memcpy | Impl::Shaq => {
            made.memory = Some(shared_memory()?);
        }
        Impl::Socket => {
            for _ in 0..readers {
                let flags = SocketFlags::empty();
                made.ends.push(socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?);
            }
        }
        Impl::Pipe => {
            for _ in 0..readers {
                let (reading, writing) = pipe()?;
                made.ends.push((writing, reading));
            }
        }
        Impl::Qadataswap
        | Impl::QadataswapReadOnly
        | Impl::QadataswapInPlace
        | Impl::QadataswapLossless
        | Impl::Iceoryx2 => {}
    }
    Ok(made)
}

fn shared_memory() -> Result<OwnedFd> {
    // Not closed on exec: that is how workers get it.
    let memory = memfd_create("qads-peers", MemfdFlags::empty())?;
    ftruncate(&memory, PAGE)?;
    Ok(memory)
}

impl Made {
    fn fds(&self) -> ChannelFds {
        ChannelFds {
            memory: self.memory.as_ref().map(AsRawFd::as_raw_fd),
            ends: self.ends.iter().map(|(to, from)| (to.as_raw_fd(), from.as_raw_fd())).collect(),
        }
    }
}

/// Removes what workers that were killed have left in shared memory.
fn clear_up(prefix: &str) {
    for name in qadataswap::list().unwrap_or_default() {
        if name.starts_with(prefix)
            && let Err(error) = qadataswap::unlink(&name)
        {
            say::problem(format_args!("the ring {name} is left: {error}"));
        }
    }
    let memory = Path::new(SHARED_MEMORY);
    for name in files_in(memory).iter().filter(|name| name.starts_with(prefix)) {
        if let Err(error) = std::fs::remove_file(memory.join(name)) {
            say::problem(format_args!("{name} is left in {}: {error}", memory.display()));
        }
    }
}

/// Removes what benchmarks have left that were killed themselves.
fn clear_up_after_the_dead(target: &Path) {
    let is_dead = |pid: &str| !Path::new("/proc").join(pid).exists();
    let rings = qadataswap::list().unwrap_or_default();
    for name in rings.into_iter().chain(files_in(Path::new(SHARED_MEMORY))) {
        if let Some((pid, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'))
            && is_dead(pid)
        {
            clear_up(&format!("{PREFIX}{pid}-"));
        }
    }
    for name in files_in(target) {
        if name.strip_prefix(SCRATCH).is_some_and(is_dead)
            && let Err(error) = std::fs::remove_dir_all(target.join(&name))
        {
            say::problem(format_args!("{name} is left: {error}"));
        }
    }
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
