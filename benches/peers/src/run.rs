//! Runs one thing once: makes what its workers inherit, runs them, and clears up.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;

use crate::Result;
use crate::batches::Batches;
use crate::process;
use crate::spec::{ChannelFds, Impl, Load, Mode, Outcome, Spec};

/// Begins the names of all that is made here; a process id follows.
const PREFIX: &str = "qads-peers-";
/// Bytes of shared memory that implementations which do not size it themselves find.
const PAGE: u64 = 4096;

/// What stays the same from run to run.
pub struct Bench {
    pub cores: usize,
    pub ns_per_tick: f64,
    scratch: PathBuf,
    runs: usize,
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
    /// Idle handles, and the processes that hold them.
    pub idle: usize,
    pub idle_processes: usize,
}

impl Bench {
    /// Makes a folder in `target` for what runs leave in files while they last.
    pub fn new(target: &Path, ns_per_tick: f64) -> Result<Self> {
        clear_up_after_the_dead();
        let scratch = target.canonicalize()?.join(format!("scratch-{}", std::process::id()));
        std::fs::create_dir_all(&scratch)?;
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self { cores, ns_per_tick, scratch, runs: 0 })
    }

    /// Runs it; the outcomes are in order of roles.
    pub fn run(&mut self, run: &Run) -> Result<Vec<Outcome>> {
        self.runs += 1;
        let workers = match run.mode {
            Mode::PingPong | Mode::Wake => 2,
            _ => 1 + run.readers + run.idle_processes,
        };
        let busy = workers - run.idle_processes;
        let channels = if matches!(run.mode, Mode::PingPong | Mode::Wake) { 2 } else { 1 };
        let made = (0..channels).map(|_| make(run)).collect::<Result<Vec<_>>>()?;
        let spec = Spec {
            implementation: run.implementation,
            load: run.load,
            mode: run.mode,
            role: 0,
            readers: run.readers,
            warm_up: run.warm_up,
            count: run.count,
            interval_ns: run.interval_ns,
            core: 0,
            crowded: busy > self.cores,
            prefix: format!("{}{}", own_prefix(), self.runs),
            scratch: self.scratch.to_string_lossy().into_owned(),
            channels: made.iter().map(Made::fds).collect(),
            handles: if run.idle_processes == 0 { 0 } else { run.idle / run.idle_processes },
            ns_per_tick: self.ns_per_tick,
            capacity: capacity(run.load)?,
            parent: 0,
        };
        let specs: Vec<_> =
            (0..workers).map(|role| Spec { core: role % self.cores, ..spec.clone() }).collect();
        let outcomes = process::run(&specs, 2);
        clear_up(&own_prefix());
        outcomes
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        clear_up(&own_prefix());
        if let Err(error) = std::fs::remove_dir_all(&self.scratch) {
            eprintln!("{} is left: {error}", self.scratch.display());
        }
    }
}

fn own_prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// Bytes of the largest message.
fn capacity(load: Load) -> Result<usize> {
    match load {
        Load::Bytes(size) => Ok(size),
        Load::Rows(rows) => Ok(Batches::new(rows).stream_bytes()?.next_multiple_of(64)),
    }
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
        Impl::Raw | Impl::Stamped | Impl::Futex | Impl::Memcpy | Impl::Shaq => {
            // Not closed on exec: that is how workers get it.
            let memory = memfd_create("qads-peers", MemfdFlags::empty())?;
            ftruncate(&memory, PAGE)?;
            made.memory = Some(memory);
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
        | Impl::QadataswapInPlace
        | Impl::QadataswapLossless
        | Impl::Iceoryx2 => {}
    }
    Ok(made)
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
            eprintln!("the ring {name} is left: {error}");
        }
    }
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            eprintln!("{} is left: {error}", entry.path().display());
        }
    }
}

/// Removes what benchmarks have left that were killed themselves.
fn clear_up_after_the_dead() {
    let rings = qadataswap::list().unwrap_or_default();
    let files = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let files = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for name in rings.into_iter().chain(files) {
        if let Some((pid, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'))
            && !Path::new("/proc").join(pid).exists()
        {
            clear_up(&format!("{PREFIX}{pid}-"));
        }
    }
}
