//! Worker processes: begun, led through their steps, and ended with whoever began them.
//!
//! A worker tells a step on its standard output, a line each, and waits on its standard input to be told to go on.
//! Whatever fails, hangs or dies ends all workers of the run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Result;
use crate::spec::{Outcome, Spec};
use crate::stop::{self, Event};

/// No step takes nearly as long; what does has hung.
const LIMIT: Duration = Duration::from_secs(120);
const GO: &str = "go";

/// The workers of one run, in order of their roles. Dropping it ends them.
struct Workers {
    children: Vec<(Child, ChildStdin)>,
    events: Receiver<Event>,
}

/// Runs a worker for each of `specs`, through `steps` that all of them take together, to their outcomes.
pub fn run(specs: &[Spec], steps: usize) -> Result<Vec<Outcome>> {
    let mut workers = Workers::begin(specs)?;
    for _ in 0..steps {
        workers.collect()?;
        workers.go_on();
    }
    let outcomes = workers.collect()?;
    let outcomes = outcomes.iter().map(|line| Ok(serde_json::from_str(line)?)).collect();
    workers.go_on();
    for (role, (child, _)) in workers.children.iter_mut().enumerate() {
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("worker {role} ended with {status}").into());
        }
    }
    outcomes
}

impl Workers {
    fn begin(specs: &[Spec]) -> Result<Self> {
        let (sender, events) = channel();
        stop::tell(sender.clone());
        let mut workers = Self { children: Vec::new(), events };
        for (role, spec) in specs.iter().enumerate() {
            let spec = Spec { role, parent: std::process::id(), ..spec.clone() };
            let mut child = Command::new("/proc/self/exe")
                .arg("worker")
                .arg(serde_json::to_string(&spec)?)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let input = child.stdin.take().ok_or("a worker without input")?;
            let output = child.stdout.take().ok_or("a worker without output")?;
            workers.children.push((child, input));
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(Event::Said(role, Some(line))).is_err() {
                        return;
                    }
                }
                // Nobody listens any longer if the run is over.
                let _ = sender.send(Event::Said(role, None));
            });
        }
        Ok(workers)
    }

    /// Tells all workers to go on.
    fn go_on(&mut self) {
        for (_, input) in &mut self.children {
            // One that has died cannot be told; it is found out by what it says next, which is nothing.
            let _ = writeln!(input, "{GO}");
        }
    }

    /// Waits for a line of every worker.
    fn collect(&mut self) -> Result<Vec<String>> {
        let mut lines = vec![None; self.children.len()];
        while lines.contains(&None) {
            match self.events.recv_timeout(LIMIT) {
                Ok(Event::Said(role, Some(line))) => lines[role] = Some(line),
                Ok(Event::Stopped) => return Err(stop::reason().unwrap_or_default().into()),
                Ok(Event::Said(role, None)) => {
                    let status = self.children[role].0.wait()?;
                    return Err(format!("worker {role} ended early, with {status}").into());
                }
                Err(RecvTimeoutError::Timeout) => {
                    let late: Vec<_> =
                        (0..lines.len()).filter(|role| lines[*role].is_none()).collect();
                    return Err(format!("workers {late:?} have hung for {LIMIT:?}").into());
                }
                Err(RecvTimeoutError::Disconnected) => return Err("all workers are gone".into()),
            }
        }
        Ok(lines.into_iter().flatten().collect())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (child, _) in &mut self.children {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// In a worker: dies with its parent, and stays on its core.
pub fn settle(spec: &Spec) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(|pid| pid.as_raw_nonzero().get() as u32) != Some(spec.parent) {
        return Err("the benchmark that began this worker is gone".into());
    }
    let mut cores = CpuSet::new();
    cores.set(spec.core);
    sched_setaffinity(None, &cores)?;
    Ok(())
}

/// In a worker: tells what came out, and waits until all others have. What the worker has made is to last as long.
pub fn tell(outcome: &Outcome) -> Result<()> {
    step(&serde_json::to_string(outcome)?)
}

/// In a worker: tells that a step is done, and waits until all others are that far.
pub fn step(done: &str) -> Result<()> {
    // The parent reads it through a pipe: who cannot be told is to end.
    writeln!(std::io::stdout(), "{done}")?;
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim_end() == GO { Ok(()) } else { Err("the benchmark is gone".into()) }
}
