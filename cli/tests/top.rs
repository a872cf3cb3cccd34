//! `qads top` in a terminal of its own: what is on the screen, keys, sizes, and how it leaves the terminal.

mod support;
// What `top` leaves its terminal by, to panic within it.
#[path = "../src/verbs/top/terminal.rs"]
mod terminal;

use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use qadataswap::{OnSlowReader, ReaderOptions, WriterOptions};
use support::qads::{Running, TestRing, await_readers, qads};
use support::{RingGuard, ring_name};

/// A terminal with `qads top` in it.
struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    screen: Arc<(Mutex<Screen>, Condvar)>,
}

fn at_least_one(size: u16) -> NonZero<u16> {
    NonZero::new(size).expect("not zero")
}

struct Screen {
    parser: vt100::Parser,
    raw: Vec<u8>,
    ended: bool,
}

impl Terminal {
    fn start(arguments: &[&str], no_color: bool) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qads"));
        command.arg("top");
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        if no_color {
            command.env("NO_COLOR", "1");
        }
        Self::start_command(command)
    }

    fn start_command(command: CommandBuilder) -> Self {
        let size = PtySize { rows: 30, cols: 110, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let child = pair.slave.spawn_command(command).expect("started");
        let mut from = pair.master.try_clone_reader().expect("readable");
        let keys = pair.master.take_writer().expect("writable");
        let parser = vt100::Parser::new(at_least_one(30), at_least_one(110), 0);
        let screen = Screen { parser, raw: Vec::new(), ended: false };
        let screen = Arc::new((Mutex::new(screen), Condvar::new()));
        let shared = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let read = from.read(&mut bytes).unwrap_or(0);
                let mut screen = shared.0.lock().unwrap();
                screen.parser.process(&bytes[..read]);
                screen.raw.extend_from_slice(&bytes[..read]);
                screen.ended = read == 0;
                shared.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Self { child, master: pair.master, keys, screen }
    }

    /// Waits until the screen shows what is wanted.
    fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut screen = self.screen.0.lock().unwrap();
        loop {
            let text = screen.parser.screen().contents();
            if wanted(&text) {
                return text;
            }
            assert!(!screen.ended, "ended with:\n{text}");
            screen = self.screen.1.wait(screen).unwrap();
        }
    }

    fn resize(&self, rows: u16, cols: u16) {
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        let mut screen = self.screen.0.lock().unwrap();
        screen.parser.screen_mut().set_size(at_least_one(rows), at_least_one(cols));
        drop(screen);
        self.master.resize(size).unwrap();
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end: the code, and all that it wrote.
    fn end(mut self) -> (u32, String) {
        let status = self.child.wait().unwrap();
        drop(self.keys);
        drop(self.master);
        let mut screen = self.screen.0.lock().unwrap();
        while !screen.ended {
            screen = self.screen.1.wait(screen).unwrap();
        }
        let modes = screen.parser.screen();
        assert!(
            !modes.alternate_screen() && !modes.hide_cursor(),
            "the terminal is left as it was"
        );
        (status.exit_code(), String::from_utf8_lossy(&screen.raw).into_owned())
    }
}

#[test]
fn the_screen_shows_rings_and_their_readers() {
    let ring = TestRing::with_numbers(0..12);
    let reader = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    reader.read_arrow(0).unwrap();
    let mut top = Terminal::start(&[ring.name(), "--interval-ms", "20"], false);
    let screen = top.wait_for(|text| text.contains("slowest gating"));
    assert!(screen.contains("1 ring, by name"), "{screen}");
    let row = screen.lines().find(|line| line.starts_with(&ring.name()[..16])).expect("a row");
    assert!(row.contains("alive") && row.contains(&std::process::id().to_string()), "{row}");
    assert!(row.contains(" 12 "), "{row}");
    let row = screen.lines().find(|line| line.contains("lossless")).expect("a reader");
    let cells: Vec<&str> = row.split_whitespace().collect();
    // Lag, consumed and lost stand between the command and what the process does.
    assert!(row.contains("11 ") && cells.contains(&"1") && cells.contains(&"0"), "{row}");
    assert!(screen.contains("1,024 slots") && screen.contains("price: Float64"), "{screen}");
    // What happens is seen.
    ring.writer().write(b"one more").unwrap();
    top.wait_for(|text| text.contains(" 13 "));
    // Also on a terminal of the usual size.
    top.resize(24, 80);
    let lossless =
        |text: &str| text.lines().find(|line| line.contains("lossless")).map(str::to_owned);
    top.wait_for(|text| {
        text.lines().next().is_some_and(|line| line.len() <= 80)
            && lossless(text).is_some_and(|line| line.contains("slowest gating"))
    });
    let name = ring.name().to_owned();
    drop((reader, ring));
    top.wait_for(|text| text.contains("0 rings") && text.contains("no ring named"));
    top.press("q");
    let (code, raw) = top.end();
    assert_eq!(code, 0);
    assert!(raw.contains("\x1b[3") || raw.contains("\x1b[38;5"), "no colours on a terminal");
    support::assert_nothing_left(&name);
}

#[test]
fn a_writer_that_waits_is_shown() {
    let guard = RingGuard(ring_name());
    let writer = WriterOptions::new(1).on_slow_reader(OnSlowReader::Wait { limit_ms: u64::MAX });
    let writer = writer.create(&guard.0).unwrap();
    let reader = ReaderOptions::new().lossless(true).attach(&guard.0).unwrap();
    writer.write(b"1").unwrap();
    let mut top = Terminal::start(&[&guard.0, "--interval-ms", "20"], true);
    top.wait_for(|text| text.contains("lossless") && !text.contains("THE WRITER WAITS"));
    let waiting = std::thread::spawn(move || {
        writer.write(b"2").unwrap();
        writer
    });
    top.wait_for(|text| text.contains("THE WRITER WAITS"));
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"1"[..]));
    let writer = waiting.join().unwrap();
    top.wait_for(|text| !text.contains("THE WRITER WAITS"));
    top.press("q");
    assert_eq!(top.end().0, 0);
    writer.unlink().unwrap();
}

#[test]
fn keys_and_sizes() {
    let (first, second) = (TestRing::with_numbers(0..3), TestRing::with_numbers(0..5));
    let names = [first.name(), second.name()];
    let mut top = Terminal::start(&[names[0], names[1], "--interval-ms", "20"], true);
    top.wait_for(|text| text.contains(&format!("┌ {} ", names.iter().min().unwrap())));
    top.press("j");
    top.wait_for(|text| text.contains(&format!("┌ {} ", names.iter().max().unwrap())));
    top.press("k");
    top.wait_for(|text| text.contains(&format!("┌ {} ", names.iter().min().unwrap())));
    top.press("s");
    top.wait_for(|text| text.contains("by rate"));
    top.press("?");
    top.wait_for(|text| text.contains("choose a ring") && text.contains("by name or by rate "));
    top.press("?");
    top.wait_for(|text| !text.contains("choose a ring"));
    top.press("p");
    top.wait_for(|text| text.contains("PAUSED"));
    // What is left out goes from the least important on; nothing is cut.
    top.resize(24, 40);
    top.wait_for(|text| {
        let heads = text.lines().find(|line| line.starts_with("RING")).unwrap_or_default();
        heads.contains("WRITER") && !heads.contains("PID") && !heads.contains("LATENCY")
    });
    // Small beyond use, and large again.
    for (rows, cols) in [(3, 20), (1, 1), (50, 160)] {
        top.resize(rows, cols);
    }
    top.wait_for(|text| text.contains("PAUSED") && text.contains("READERS"));
    top.press("q");
    let (code, raw) = top.end();
    assert_eq!(code, 0);
    assert!(!raw.contains("\x1b[38;5") && !raw.contains("\x1b[32m"), "colours despite NO_COLOR");
}

#[test]
fn ctrl_c_and_sigterm_leave_a_clean_terminal() {
    let ring = TestRing::with_numbers(0..3);
    let mut top = Terminal::start(&[ring.name()], false);
    top.wait_for(|text| text.contains(ring.name()));
    top.press("\x03");
    assert_eq!(top.end().0, 130);
    let top = Terminal::start(&[ring.name()], false);
    top.wait_for(|text| text.contains(ring.name()));
    support::kill(top.child.process_id().unwrap(), libc::SIGTERM);
    assert_eq!(top.end().0, 143);
}

#[test]
fn latency_is_told_by_the_stamp_of_the_demo() {
    let ring = support::RingGuard(support::ring_name());
    let demo = Running::start(&["demo", "--name", &ring.0, "--seconds", "600", "--rate", "500"]);
    await_readers(&ring.0, 2);
    let mut top = Terminal::start(&[&ring.0, "--interval-ms", "50"], false);
    let screen = top.wait_for(|text| text.contains("latency p50"));
    assert!(screen.contains("messages per second, up to"), "{screen}");
    top.wait_for(|text| text.contains("qads") && text.contains("lossy"));
    top.press("q");
    assert_eq!(top.end().0, 0);
    demo.signal(libc::SIGINT);
    assert_eq!(demo.finish().code, Some(130));
    support::assert_nothing_left(&ring.0);
}

#[test]
fn it_ends_with_its_terminal() {
    let size = PtySize { rows: 30, cols: 110, pixel_width: 0, pixel_height: 0 };
    let pair = native_pty_system().openpty(size).expect("a terminal");
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qads"));
    command.arg("top");
    let mut child = pair.slave.spawn_command(command).expect("started");
    let mut from = pair.master.try_clone_reader().expect("readable");
    from.read_exact(&mut [0; 500]).expect("it draws");
    drop((from, pair));
    // As the shell has it for a hang-up.
    assert_eq!(child.wait().expect("it ends").exit_code(), 129);
}

#[test]
fn without_a_terminal_it_says_so() {
    assert!(qads(&["top"]).failed(1).contains("it needs a terminal"));
}

/// Set for the process in the terminal of the next test.
const PANICS: &str = "QADS_TEST_PANICS_IN_ITS_TERMINAL";

#[test]
fn a_panic_leaves_a_clean_terminal_with_its_message() {
    if std::env::var_os(PANICS).is_some() {
        let _ = terminal::within(|terminal| -> () {
            terminal.draw(|frame| frame.render_widget("drawn", frame.area())).unwrap();
            panic!("on purpose");
        });
    }
    // This very test again, in a terminal.
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_panic_leaves_a_clean_terminal_with_its_message", "--nocapture"]);
    command.env("TERM", "xterm-256color");
    command.env(PANICS, "1");
    let panicking = Terminal::start_command(command);
    // On the screen that was there before, and that stays.
    let screen = panicking.screen.clone();
    let (code, raw) = panicking.end();
    let screen = screen.0.lock().unwrap().parser.screen().contents();
    assert_ne!(code, 0);
    assert!(screen.contains("on purpose") && !screen.contains("drawn"), "{screen}");
    let (before, after) = raw.split_once("on purpose").unwrap();
    assert!(before.contains("\x1b[?1049h") && before.contains("drawn"), "{raw:?}");
    // Lines end with both characters again, as in no raw mode.
    assert!(after.contains("\r\n"), "{raw:?}");
}
