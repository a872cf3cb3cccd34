//! The parent: starts the processes, hears what they say, kills one, and cleans up behind all.

use std::io::{self, Write};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::DemoArguments;
use super::clock::monotonic_ns;
use super::process::{Process, Ring};
use super::report;
use super::wire::{self, Fallible, ReaderReport, Ready, TICKS_PER_SECOND, WriterReport};

const SECOND_NS: u64 = 1_000_000_000;
/// From the order to start to the start, so that all have heard it.
const LEAD_NS: u64 = 20_000_000;
/// How long after the full second a line waits for the reports of that second.
const GRACE_NS: u64 = 100_000_000;
/// The slow reader needs this many times the time there is for a batch.
const SLOWNESS: u64 = 3;
/// Its time for a batch where there is no rate to be slower than.
const USUAL_WORK_US: u64 = 200;

/// Why the demo ended before its time.
pub enum Stop {
    /// The user said so.
    Signal(i32),
    /// Standard output is closed.
    NobodyListens,
    /// Something went wrong.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Stop {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyListens,
            _ => Self::Failed(error.into()),
        }
    }
}

/// The readers, by what is special about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Lossless, and reads in place, as fast as it can.
    Fast,
    /// Lossy: every batch takes it too long.
    Slow,
    /// Like the fast one, but it is killed half-way.
    Victim,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Fast, Self::Slow, Self::Victim];

    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
            Self::Victim => "victim",
        }
    }
}

/// How far a reader's process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Starting,
    Reading,
    Killed,
    Done,
}

/// One process of a reader.
pub struct Life {
    pub role: Role,
    pub fate: Fate,
    /// Message sequence it attached at.
    pub attached: u64,
    pub report: ReaderReport,
    process: Process,
}

/// The writer's process.
struct Writer {
    ready: Option<Ready>,
    report: WriterReport,
    done: bool,
    process: Process,
}

/// What the parent waits for.
enum Event {
    /// A line of the child that was started as this one, the writer being 0; `None` at its end.
    Said(usize, Option<String>),
    Signal(i32),
}

/// The demo. Fields are dropped in this order: first the processes, then the ring.
pub struct Parent<'a> {
    writer: Option<Writer>,
    lives: Vec<Life>,
    ring: Ring,
    arguments: &'a DemoArguments,
    sender: Sender<Event>,
    events: Receiver<Event>,
    start: u64,
}

impl<'a> Parent<'a> {
    pub fn new(arguments: &'a DemoArguments) -> Result<Self, Stop> {
        let (sender, events) = mpsc::channel();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let to = sender.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let _ = to.send(Event::Signal(signal));
            }
        });
        let ring = Ring::choose("demo", arguments.name.as_deref()).map_err(Stop::Failed)?;
        Ok(Self { writer: None, lives: Vec::new(), ring, arguments, sender, events, start: 0 })
    }

    /// Runs the demo; whether everything was as promised.
    pub fn run(mut self) -> Result<bool, Stop> {
        let process = self.spawn(0, &self.writer_arguments())?;
        self.writer =
            Some(Writer { ready: None, report: WriterReport::default(), done: false, process });
        let ready = loop {
            if let Some(ready) = self.writer().ready {
                break ready;
            }
            self.hear(None)?;
        };
        let mut out = io::stdout();
        report::introduction(&mut out, self.arguments, self.ring.name(), &ready)?;
        for role in Role::ALL {
            self.start_reader(role, false)?;
        }
        while self.lives.iter().any(|life| life.fate == Fate::Starting) {
            self.hear(None)?;
        }
        report::heading(&mut out)?;
        self.start = monotonic_ns() + LEAD_NS;
        let go = format!("{} {}", wire::GO, self.start);
        self.writer_mut().process.order(&go);
        self.lives.iter_mut().for_each(|life| life.process.order(&go));
        self.watch(&mut out)?;
        let written = self.writer().report;
        let good = report::summary(&mut out, self.arguments, &written, &self.lives)?;
        // Ended as they should: by themselves, now that nothing more is wanted of them.
        for process in self.lives.drain(..).filter(|life| life.fate == Fate::Done) {
            process.process.finish()?;
        }
        if let Some(writer) = self.writer.take() {
            writer.process.finish()?;
        }
        self.ring.remove().map_err(|error| Stop::Failed(error.into()))?;
        report::verdict(&mut out, good)?;
        Ok(good)
    }

    /// From the start until everybody is done.
    fn watch(&mut self, out: &mut impl Write) -> Result<(), Stop> {
        let seconds = self.arguments.seconds;
        // A little after the line of that second, and so that the line of another shows it.
        let kill_at = self.start + seconds * SECOND_NS / 2 + GRACE_NS;
        let restart_at = kill_at + seconds * SECOND_NS * 3 / 20;
        let mut before = WriterReport::default();
        let mut second = 1;
        loop {
            let now = monotonic_ns();
            let line_at = self.start + second * SECOND_NS + GRACE_NS;
            if second < seconds && (now >= line_at || self.all_reported(second)) {
                let written = self.writer().report;
                report::line(out, second, &before, &written, &self.lives)?;
                before = written;
                // Lines that could not be printed in time are left out.
                second = (now.saturating_sub(self.start + GRACE_NS) / SECOND_NS).max(second) + 1;
                continue;
            }
            let victims = self.lives.iter().filter(|life| life.role == Role::Victim).count();
            let killed = self.lives.iter_mut().find(|life| life.role == Role::Victim);
            let killed = killed.filter(|life| life.fate != Fate::Killed);
            let mut deadline = line_at;
            match killed {
                Some(victim) if victims == 1 => {
                    if now >= kill_at {
                        let pid = victim.process.kill()?;
                        victim.fate = Fate::Killed;
                        report::killed(out, pid)?;
                        continue;
                    }
                    deadline = deadline.min(kill_at);
                }
                None if victims == 1 => {
                    if now >= restart_at {
                        let pid = self.start_reader(Role::Victim, true)?;
                        report::restarted(out, pid)?;
                        continue;
                    }
                    deadline = deadline.min(restart_at);
                }
                _ => {
                    let over = |life: &Life| matches!(life.fate, Fate::Done | Fate::Killed);
                    if self.writer().done && self.lives.iter().all(over) {
                        let written = self.writer().report;
                        return Ok(report::line(out, seconds, &before, &written, &self.lives)?);
                    }
                }
            }
            self.hear((second < seconds || victims == 1).then(|| deadline.saturating_sub(now)))?;
        }
    }

    fn all_reported(&self, second: u64) -> bool {
        let tick = second * TICKS_PER_SECOND;
        let reading = self.lives.iter().filter(|life| life.fate == Fate::Reading);
        self.writer().report.tick >= tick
            && reading.map(|life| life.report.tick).all(|at| at >= tick)
    }

    /// Waits for the next event, at most for so many nanoseconds, and takes note of it.
    fn hear(&mut self, limit_ns: Option<u64>) -> Result<(), Stop> {
        let event = match limit_ns {
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(limit) => self.events.recv_timeout(Duration::from_nanos(limit)),
        };
        match event {
            Ok(Event::Signal(signal)) => Err(Stop::Signal(signal)),
            Ok(Event::Said(0, line)) => self.hear_writer(line.as_deref()),
            Ok(Event::Said(child, line)) => self.hear_reader(child - 1, line.as_deref()),
            // This object has a sender of its own: it cannot be disconnected.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    fn hear_writer(&mut self, line: Option<&str>) -> Result<(), Stop> {
        let writer = self.writer_mut();
        let Some(line) = line else {
            return if writer.done {
                Ok(())
            } else {
                Err(early("the writer", &mut writer.process))
            };
        };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            wire::ERROR => return Err(Stop::Failed(rest.into())),
            wire::READY => writer.ready = Ready::parse(rest),
            wire::AT | wire::DONE => {
                writer.report = WriterReport::parse(rest).ok_or_else(|| unheard_of(line))?;
                writer.done = word == wire::DONE;
            }
            _ => return Err(unheard_of(line)),
        }
        if writer.done {
            let slow = self.lives.iter_mut().filter(|life| life.role == Role::Slow);
            slow.for_each(|life| life.process.order(wire::DRAIN));
        }
        Ok(())
    }

    fn hear_reader(&mut self, index: usize, line: Option<&str>) -> Result<(), Stop> {
        let life = &mut self.lives[index];
        let who = format!("reader '{}'", life.role.name());
        let Some(line) = line else {
            let expected = matches!(life.fate, Fate::Done | Fate::Killed);
            return if expected { Ok(()) } else { Err(early(&who, &mut life.process)) };
        };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        // What a reader said before it was killed still counts, and it stays killed.
        let killed = life.fate == Fate::Killed;
        match word {
            wire::ERROR => return Err(Stop::Failed(format!("{who}: {rest}").into())),
            wire::ATTACHED => {
                life.attached = rest.parse().map_err(|_| unheard_of(line))?;
                life.report.sequence = life.attached;
                life.report.next_event = life.attached;
                life.fate = if killed { Fate::Killed } else { Fate::Reading };
            }
            wire::AT | wire::DONE => {
                life.report = ReaderReport::parse(rest).ok_or_else(|| unheard_of(line))?;
                life.fate = match word {
                    _ if killed => Fate::Killed,
                    wire::DONE => Fate::Done,
                    _ => Fate::Reading,
                };
            }
            _ => return Err(unheard_of(line)),
        }
        Ok(())
    }

    fn writer(&self) -> &Writer {
        self.writer.as_ref().expect("the writer is started first")
    }

    fn writer_mut(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("the writer is started first")
    }

    fn writer_arguments(&self) -> Vec<String> {
        let arguments = self.arguments;
        let slots = arguments.slots.map(|slots| slots.to_string());
        let fixed = ["demo-writer", "--ring", self.ring.name(), "--seconds"];
        let mut list: Vec<String> = fixed.map(str::to_owned).to_vec();
        list.extend([arguments.seconds.to_string(), "--rate".into(), arguments.rate.to_string()]);
        list.extend(slots.into_iter().flat_map(|slots| ["--slots".into(), slots]));
        list
    }

    fn start_reader(&mut self, role: Role, again: bool) -> Result<u32, Stop> {
        let arguments = self.arguments;
        let wait = arguments.wait().to_string();
        let fixed = ["demo-reader", "--ring", self.ring.name(), "--wait", &wait];
        let mut list: Vec<String> = fixed.map(str::to_owned).to_vec();
        if role == Role::Slow {
            let work_us = match arguments.rate {
                0 => USUAL_WORK_US,
                rate => (SLOWNESS * 1_000_000).div_ceil(rate),
            };
            list.extend(["--work-us".into(), work_us.to_string()]);
        } else {
            list.push("--lossless".into());
        }
        if again {
            list.push("--next".into());
        }
        let mut process = self.spawn(self.lives.len() + 1, &list)?;
        if again {
            // The others are told when all are there.
            process.order(&format!("{} {}", wire::GO, self.start));
        }
        let pid = process.pid();
        let report = ReaderReport::default();
        self.lives.push(Life { role, fate: Fate::Starting, attached: 0, report, process });
        Ok(pid)
    }

    /// Starts this program again as child number `child`.
    fn spawn(&self, child: usize, arguments: &[String]) -> Fallible<Process> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(arguments);
        let input = &self.arguments.input;
        if let Some(path) = &input.input {
            command.arg("--input").arg(path);
        }
        if let Some(rows) = input.rows {
            command.arg("--rows").arg(rows.to_string());
        }
        let to = self.sender.clone();
        let say = move |line| {
            // Without a receiver the parent is about to end, and nothing matters any more.
            let _ = to.send(Event::Said(child, line));
        };
        Ok(Process::start(command, say)?)
    }
}

fn unheard_of(line: &str) -> Stop {
    Stop::Failed(format!("a process of the demo said {line:?}, which means nothing").into())
}

fn early(who: &str, process: &mut Process) -> Stop {
    Stop::Failed(format!("{who} ended before its time ({})", process.how_it_ended()).into())
}
