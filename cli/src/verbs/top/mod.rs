//! `qads top`: rings as they live, in the terminal.

mod draw;
mod latency;
mod model;
mod table;
mod terminal;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::failure::{Failure, Outcome, failed};
use crate::verbs::signals::Stop;
use latency::Sampler;
use model::Model;

const EXAMPLES: &str = "\
Examples:
  qads top                         all rings
  qads top ticks quotes            these two
  qads top --interval-ms 100
  qads top --stamp ts_published    latency by a column of timestamps that the writer sets when it publishes

Keys: q or Ctrl-C ends, up and down (j, k) choose the ring whose readers are shown, s sorts by rate or name, p pauses,
? shows help.

Latency is sampled a few times a second: from the stamp in the newest message to when it was seen here. The column
`published_ns` of 'qads demo' is known; --stamp names another.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Watch rings and their readers
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct TopArguments {
    /// Only these rings
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How often to look, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u64).range(20..=60_000))]
    interval_ms: u64,
    /// The column of timestamps by which latency is told
    #[arg(long, value_name = "COLUMN")]
    stamp: Option<String>,
    /// Do not sample latency
    #[arg(long)]
    no_latency: bool,
}

/// How long one wait for a key is at most.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

pub fn run(arguments: &TopArguments) -> Outcome {
    if !io::stdout().is_terminal() {
        return Err(failed("it needs a terminal; 'qads ls' prints the same once"));
    }
    for name in &arguments.names {
        qadataswap::check_name(name)?;
    }
    let stop = Stop::on_signals()?;
    end_with_the_terminal();
    let sampler = (!arguments.no_latency).then(|| Sampler::start(arguments.stamp.clone()));
    let mut model = Model::new(arguments.names.clone(), arguments.interval_ms, sampler);
    let (outcome, restored) = terminal::within(|terminal| watch(terminal, &mut model, &stop))?;
    if !io::stdout().is_terminal() {
        // It is gone, and so is whoever could be told what that has led to.
        return Err(Failure::Stopped(stop.signal().unwrap_or(signal_hook::consts::SIGHUP)));
    }
    restored?;
    outcome
}

/// Ends the process when its terminal goes away: crossterm reads on for ever from one that has, and never comes back
/// to where the signal is looked at. There is no terminal to put right then.
fn end_with_the_terminal() {
    std::thread::spawn(|| {
        let mut terminal = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
        loop {
            // SAFETY: it is one pollfd, and outlives the call.
            match unsafe { libc::poll(&raw mut terminal, 1, -1) } {
                0 => {}
                1 => std::process::exit(128 + signal_hook::consts::SIGHUP),
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    });
}

fn watch(terminal: &mut DefaultTerminal, model: &mut Model, stop: &Stop) -> Outcome {
    let interval = Duration::from_millis(model.interval_ms());
    let mut due = Instant::now();
    loop {
        stop.check()?;
        if Instant::now() >= due {
            if !model.paused {
                model.update()?;
            }
            due = Instant::now() + interval;
        }
        terminal.draw(|frame| draw::draw(frame, model))?;
        let wait = due.saturating_duration_since(Instant::now()).min(LONGEST_WAIT);
        if event::poll(wait)? {
            // A resize is seen by the next draw.
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && press(model, key)?
            {
                return Ok(());
            }
        }
    }
}

/// What a key does; `true` if it ends.
fn press(model: &mut Model, key: KeyEvent) -> Outcome<bool> {
    match key.code {
        // In raw mode it is a key like others.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            return Err(Failure::Stopped(signal_hook::consts::SIGINT));
        }
        KeyCode::Esc if model.help => model.help = false,
        KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
        KeyCode::Up | KeyCode::Char('k') => model.choose(-1),
        KeyCode::Down | KeyCode::Char('j') => model.choose(1),
        KeyCode::Char('p') | KeyCode::Char(' ') => model.paused = !model.paused,
        KeyCode::Char('s') => model.change_order(),
        KeyCode::Char('?') | KeyCode::Char('h') => model.help = !model.help,
        _ => {}
    }
    Ok(false)
}
