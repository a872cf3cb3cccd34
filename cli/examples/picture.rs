//! The picture of `qads top` in the README: real rings, the real program in a terminal of its own, and what is on its
//! screen after a while, as an SVG.
//!
//! `make pictures` runs it.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use vt100::{Cell, Color, Parser};

const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(112).unwrap();
/// How long rings are watched: until the sparkline is full.
const WATCHED: Duration = Duration::from_secs(14);

/// A `qads demo`, ended when dropped.
struct Demo(Child);

impl Demo {
    fn start(qads: &str, ring: &str, rate: &str) -> std::io::Result<Self> {
        let arguments = ["demo", "--name", ring, "--rate", rate, "--seconds", "30"];
        let mut command = Command::new(qads);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().map(Self)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Its children and its ring go with it.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [qads, output] = arguments.as_slice() else {
        return Err("usage: picture QADS OUTPUT".into());
    };
    let qads = &std::fs::canonicalize(qads)?.display().to_string();
    let rings = [("market_data", "5000"), ("orders", "800")];
    let demos = rings.map(|(ring, rate)| Demo::start(qads, ring, rate));
    let screen = watch(qads, &rings.map(|(ring, _)| ring))?;
    for demo in demos {
        drop(demo?);
    }
    let svg = anstyle_svg::Term::new().render_svg(&coloured(&screen));
    std::fs::write(output, svg)?;
    println!("{output}");
    Ok(())
}

/// Runs `qads top` and gives what is on the screen in the end.
fn watch(qads: &str, rings: &[&str]) -> Result<Parser, Box<dyn Error>> {
    let size = PtySize { rows: ROWS.get(), cols: COLUMNS.get(), pixel_width: 0, pixel_height: 0 };
    let terminal = native_pty_system().openpty(size)?;
    let mut command = CommandBuilder::new(qads);
    command.args(["top", "--interval-ms", "120"]);
    command.args(rings);
    command.env("TERM", "xterm-256color");
    command.env_remove("NO_COLOR");
    let mut child = terminal.slave.spawn_command(command)?;
    let mut from = terminal.master.try_clone_reader()?;
    let mut keys = terminal.master.take_writer()?;
    let (to, bytes) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if to.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut screen = Parser::new(ROWS, COLUMNS, 0);
    let end = Instant::now() + WATCHED;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match bytes.recv_timeout(left) {
            Ok(bytes) => screen.process(&bytes),
            Err(mpsc::RecvTimeoutError::Timeout) => break,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err("qads top has ended".into()),
        }
    }
    keys.write_all(b"q")?;
    child.wait()?;
    Ok(screen)
}

/// The screen as lines of text with the escape sequences for their looks.
fn coloured(screen: &Parser) -> String {
    let screen = screen.screen();
    let mut text = String::new();
    for row in 0..ROWS.get() {
        let mut look = String::new();
        for column in 0..COLUMNS.get() {
            let Some(cell) = screen.cell(row, column) else { continue };
            let now = sequence(cell);
            if now != look {
                // Writing to a string does not fail.
                let _ = write!(text, "\x1b[0m{now}");
                look = now;
            }
            text.push_str(if cell.has_contents() { cell.contents() } else { " " });
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

/// The escape sequence for the look of a cell.
fn sequence(cell: &Cell) -> String {
    let mut codes = Vec::new();
    for (is_set, code) in [(cell.bold(), "1"), (cell.dim(), "2"), (cell.inverse(), "7")] {
        if is_set {
            codes.push(code.to_owned());
        }
    }
    match cell.fgcolor() {
        Color::Default => {}
        Color::Idx(index) => codes.push(format!("38;5;{index}")),
        Color::Rgb(red, green, blue) => codes.push(format!("38;2;{red};{green};{blue}")),
    }
    if codes.is_empty() { String::new() } else { format!("\x1b[{}m", codes.join(";")) }
}
