//! The parent: makes one ring after the other, starts, stops and kills the processes on it, and sees to it
//! that each of those that are left comes forward.
//!
//! Each ring has a *storm*, in which processes are stopped and killed; a *calm*, in which every one of them must
//! get somewhere, or it hangs; and an end, at which readers check their counts against what was published.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::StormArguments;
use crate::board::{Board, Count, Phase, SEATS};
use crate::chair::{Chair, Ring, Watch};
use crate::message::MOST_BYTES;
use crate::report::{self, Tally};
use crate::seat::{Kind, Policy};

/// Faults after which there is nothing more to be learnt.
const ENOUGH_FAULTS: u64 = 20;
/// Messages that a reader has to read in a calm.
const CALM_MESSAGES: u64 = 20;
/// Between two looks at what others do.
const LOOK: Duration = Duration::from_millis(1);
/// Between two lines that say how far the storm has come.
const LINE: Duration = Duration::from_secs(60);

/// Why a storm ended before its time.
enum Stop {
    Signal(usize),
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Failed(error.into())
    }
}

pub fn run(arguments: &StormArguments) -> ExitCode {
    let mut storm = match Storm::new(arguments) {
        Ok(storm) => storm,
        Err(error) => {
            eprintln!("qads-storm: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = storm.run(Duration::from_secs(arguments.seconds));
    let good = report::print(&storm.tally, storm.board, storm.started.elapsed());
    match result {
        Ok(()) if good => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        // As shells report a death by signal.
        Err(Stop::Signal(signal)) => ExitCode::from(128 + signal as u8),
        Err(Stop::Failed(error)) => {
            eprintln!("qads-storm: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Storm {
    board: &'static Board,
    /// Keeps the board where children find it.
    file: File,
    random: fastrand::Rng,
    patience: Duration,
    started: Instant,
    signal: Arc<AtomicUsize>,
    tally: Tally,
    line: Instant,
}

impl Storm {
    fn new(arguments: &StormArguments) -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(number, signal.clone(), number as usize)?;
        }
        let (file, board) = Board::create()?;
        let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
        println!("seed {seed}");
        Ok(Self {
            board,
            file,
            random: fastrand::Rng::with_seed(seed),
            patience: Duration::from_secs(arguments.patience),
            started: Instant::now(),
            signal,
            tally: Tally::default(),
            line: Instant::now() + LINE,
        })
    }

    fn run(&mut self, length: Duration) -> Result<(), Stop> {
        let end = self.started + length;
        while Instant::now() < end && report::faults(&self.tally, self.board) < ENOUGH_FAULTS {
            self.one_ring(end)?;
        }
        Ok(())
    }

    /// One ring from its creation to its end.
    fn one_ring(&mut self, end: Instant) -> Result<(), Stop> {
        self.tally.rings += 1;
        let most = [2, 4, 8, 64][self.random.usize(0..4)];
        // Some rings grow, in others most of the time goes into copying.
        let most_bytes = [500, 2_000, MOST_BYTES, MOST_BYTES][self.random.usize(0..4)];
        let ring = Ring {
            name: format!("storm-{}-{}", std::process::id(), self.tally.rings),
            slots: self.random.usize(1..=most),
            capacity: self.random.usize(1..=most_bytes),
            policies: [Policy::LOSSLESS, Policy::ALL.len()][self.random.usize(0..2)],
        };
        self.board.published.store(0, SeqCst);
        self.board.position.store(0, SeqCst);
        self.board.set_phase(Phase::Storm);
        // One of every kind, and two more.
        let more = [self.kind(), self.kind()];
        let kinds = [None].into_iter().chain(Kind::ALL.into_iter().chain(more).map(Some));
        let mut chairs: Vec<Chair> = kinds.map(Chair::new).collect();
        let length = Duration::from_millis(self.random.u64(500..=4_000));
        self.storm(&ring, &mut chairs, end.min(Instant::now() + length))?;
        if !self.calm(&ring, &mut chairs)? || !self.close(&ring, &mut chairs)? {
            return Ok(());
        }
        drop(chairs);
        let removed = qadataswap::unlink(&ring.name);
        let left = ring.objects()?;
        if removed.is_err() || !left.is_empty() {
            eprintln!("storm: {}: removed: {removed:?}, left: {left:?}", ring.name);
            self.tally.left_over += 1;
        }
        Ok(())
    }

    fn kind(&mut self) -> Kind {
        Kind::ALL[self.random.usize(0..Kind::ALL.len())]
    }

    /// Kills and stops whom it meets.
    fn storm(&mut self, ring: &Ring, chairs: &mut [Chair], end: Instant) -> Result<(), Stop> {
        let longest_ms = [5, 20, 100][self.random.usize(0..3)];
        while Instant::now() < end {
            self.look(ring, chairs)?;
            let pause = Duration::from_micros(self.random.u64(0..=longest_ms * 1_000));
            std::thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
            // Now and then several at once.
            let victims = if self.random.u8(0..10) == 0 { self.random.usize(2..=4) } else { 1 };
            for _ in 0..victims {
                let chair = &mut chairs[self.random.usize(0..SEATS)];
                if self.random.u8(0..10) < 6 {
                    self.kill(chair)?;
                } else {
                    self.stop(chair)?;
                }
            }
        }
        Ok(())
    }

    fn kill(&mut self, chair: &mut Chair) -> Result<(), Stop> {
        let Some(mut process) = chair.process.take() else { return Ok(()) };
        process.kill()?;
        let status = process.wait()?;
        if status.signal() == Some(Signal::KILL.as_raw()) {
            self.tally.killed[chair.place()] += 1;
            self.tally.killed_stopped += u64::from(chair.stopped.is_some());
        } else {
            self.ended(chair, status);
        }
        chair.stopped = None;
        let delay_ms = if self.random.bool() { 0 } else { self.random.u64(0..=30) };
        chair.due = Some(Instant::now() + Duration::from_millis(delay_ms));
        Ok(())
    }

    fn stop(&mut self, chair: &mut Chair) -> Result<(), Stop> {
        let (Some(process), None) = (&chair.process, chair.stopped) else { return Ok(()) };
        signal(process, Signal::STOP)?;
        let longest_ms = if self.random.u8(0..10) == 0 { 1_000 } else { 100 };
        let length = Duration::from_millis(self.random.u64(0..=longest_ms));
        chair.stopped = Some(Instant::now() + length);
        self.tally.stopped[chair.place()] += 1;
        Ok(())
    }

    /// Continues those whose time is up, starts those that are due, and takes note of those that have ended.
    fn look(&mut self, ring: &Ring, chairs: &mut [Chair]) -> Result<(), Stop> {
        match self.signal.load(SeqCst) {
            0 => {}
            signal => return Err(Stop::Signal(signal)),
        }
        let now = Instant::now();
        for (seat, chair) in chairs.iter_mut().enumerate() {
            if let Some(process) = &mut chair.process {
                if let Some(status) = process.try_wait()? {
                    (chair.process, chair.stopped) = (None, None);
                    self.ended(chair, status);
                } else if chair.stopped.is_some_and(|until| until <= now) {
                    signal(process, Signal::CONT)?;
                    chair.stopped = None;
                }
            } else if chair.due.is_some_and(|due| due <= now) {
                chair.process = Some(self.start(ring, seat, chair.kind)?);
            }
        }
        if self.line <= now {
            self.line = now + LINE;
            report::line(&self.tally, self.board, self.started.elapsed());
        }
        Ok(())
    }

    /// A process has ended of its own accord, before the end of the ring.
    fn ended(&mut self, chair: &Chair, status: ExitStatus) {
        let who = chair.name();
        match (status.code(), status.signal()) {
            (_, Some(number)) if cfg!(qads_crash) && number == Signal::KILL.as_raw() => {
                self.tally.crashed += 1;
            }
            // It has said why, and has counted it.
            (Some(1), _) => {}
            _ => {
                eprintln!("storm: a process ({who}) has ended: {status}");
                self.tally.ended += 1;
            }
        }
    }

    fn start(&mut self, ring: &Ring, seat: usize, kind: Option<Kind>) -> Result<Child, Stop> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(if kind.is_some() { "reader" } else { "writer" });
        command.arg(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()));
        command.args([&ring.name, &seat.to_string(), &self.random.u64(..).to_string()]);
        if let Some(kind) = kind {
            command.args(["--kind", kind.name()]);
            if ring.policies > Policy::LOSSLESS {
                command.arg("--evicted");
            }
        } else {
            // A ring that is taken over may be wanted with other slots.
            let other = self.random.u8(0..5) == 0;
            let slots = if other { self.random.usize(1..=64) } else { ring.slots };
            let policy = Policy::ALL[self.random.usize(0..ring.policies)];
            command.args(["--slots", &slots.to_string(), "--policy", policy.name()]);
            command.args(["--capacity", &ring.capacity.to_string()]);
        }
        if let Some(point) = crash_point(self, kind) {
            command.env("QADATASWAP_CRASH_POINT", point);
        }
        // A process group of its own: Ctrl-C on the terminal is for the parent, who then cleans up.
        Ok(command.stdin(Stdio::null()).process_group(0).spawn()?)
    }

    /// Has everybody come forward; `false` if somebody does not.
    fn calm(&mut self, ring: &Ring, chairs: &mut [Chair]) -> Result<bool, Stop> {
        self.board.set_phase(Phase::Calm);
        let now = Instant::now();
        for chair in chairs.iter_mut() {
            // Some readers die for good: a new one would take over what they have left.
            let dies = chair.kind.is_some() && self.random.u8(0..4) == 0;
            if dies {
                self.kill(chair)?;
            }
            chair.due = (!dies).then_some(now);
            chair.stopped = chair.stopped.and(Some(now));
        }
        let board = self.board;
        let messages = |seat| board.seat(seat).get(Count::Messages);
        let wanted: [u64; SEATS] = std::array::from_fn(|seat| messages(seat) + CALM_MESSAGES);
        let mut watch = Watch::new(self.board);
        loop {
            self.look(ring, chairs)?;
            let late = |seat: &usize| messages(*seat) < wanted[*seat];
            let there = (0..SEATS).filter(|seat| chairs[*seat].due.is_some());
            let late: Vec<usize> = there.filter(late).collect();
            if late.is_empty() {
                return Ok(true);
            }
            if self.hangs("the calm", &mut watch, chairs, &late)
                || report::faults(&self.tally, self.board) >= ENOUGH_FAULTS
            {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Has the writer close the ring and everybody read to its end; `false` if somebody does not.
    fn close(&mut self, ring: &Ring, chairs: &mut [Chair]) -> Result<bool, Stop> {
        self.board.set_phase(Phase::Close);
        let mut watch = Watch::new(self.board);
        // A writer that has not come to the end is replaced; of readers, the others are enough.
        let mut closed = false;
        loop {
            if !closed && chairs[0].process.is_none() {
                self.look(ring, &mut chairs[..1])?;
            }
            for (seat, chair) in chairs.iter_mut().enumerate() {
                let Some(process) = &mut chair.process else { continue };
                if let Some(status) = process.try_wait()? {
                    chair.process = None;
                    closed |= seat == 0 && status.success();
                    if !status.success() {
                        self.ended(chair, status);
                    }
                }
            }
            let left: Vec<usize> =
                (0..SEATS).filter(|seat| chairs[*seat].process.is_some()).collect();
            if closed && left.is_empty() {
                return Ok(true);
            }
            if self.hangs("the end", &mut watch, chairs, &left)
                || report::faults(&self.tally, self.board) >= ENOUGH_FAULTS
            {
                return Ok(false);
            }
            if self.signal.load(SeqCst) != 0 {
                return Err(Stop::Signal(self.signal.load(SeqCst)));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Whether one of these has not come forward for too long; says so.
    fn hangs(&mut self, when: &str, watch: &mut Watch, chairs: &[Chair], seats: &[usize]) -> bool {
        watch.look(self.board);
        let late = |seat: &&usize| watch.0[**seat].1.elapsed() >= self.patience;
        let Some(late) = seats.iter().find(late) else { return false };
        let who = chairs[*late].name();
        eprintln!("storm: {when}: {who} (seat {late}) hangs");
        for (seat, chair) in chairs.iter().enumerate() {
            let who = chair.name();
            let pid = chair.process.as_ref().map_or(0, Child::id);
            let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
            let [state, call] = ["stat", "syscall"].map(|file| read(file).unwrap_or_default());
            let counts = [Count::Turns, Count::Messages, Count::Refused];
            let counts = counts.map(|count| (count, self.board.seat(seat).get(count)));
            eprintln!("  {who} {counts:?} {} {}", state.trim_end(), call.trim_end());
        }
        self.tally.hangs += 1;
        true
    }
}

fn signal(process: &Child, signal: Signal) -> Result<(), Stop> {
    let pid = Pid::from_child(process);
    Ok(kill_process(pid, signal)?)
}

/// Where the process that is started now is to kill itself, if at all.
#[cfg(qads_crash)]
fn crash_point(storm: &mut Storm, kind: Option<Kind>) -> Option<String> {
    /// Steps of readers; the others are the writer's.
    const READERS: [&str; 9] =
        ["register", "join", "settle", "gate", "leave", "lease", "consume", "sleep", "reclaim"];
    let random = &mut storm.random;
    if storm.board.phase() != Phase::Storm || random.bool() {
        return None;
    }
    let is_of_a_reader = |point: &&&str| READERS.iter().any(|step| point.starts_with(step));
    let points = qadataswap::crash::POINTS.iter();
    let points: Vec<&&str> =
        points.filter(|point| is_of_a_reader(point) == kind.is_some()).collect();
    // The first few times, or after many of them.
    let longest = 1 << random.u32(0..8);
    let count = random.u32(1..=longest);
    Some(format!("{}:{count}", points[random.usize(0..points.len())]))
}

#[cfg(not(qads_crash))]
fn crash_point(_: &mut Storm, _: Option<Kind>) -> Option<String> {
    None
}
