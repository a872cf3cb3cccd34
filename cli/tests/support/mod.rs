//! Runs of `qads demo`, and files for it to replay.
#![allow(dead_code)] // each test file uses a part of it

pub mod qads;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use arrow_ipc::writer::{FileWriter, StreamWriter};
use qadataswap::arrow_array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, StringViewArray, UInt8Array,
};

/// A ring name that no other process, and no other call, has.
pub fn ring_name() -> String {
    use std::time::{SystemTime, UNIX_EPOCH};
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    format!("test-qads-{}-{thread}-{}", std::process::id(), now.as_nanos())
}

/// Asserts that no object of the ring is there.
pub fn assert_nothing_left(ring: &str) {
    for suffix in ["", ".ctl", ".next"] {
        let path = format!("/dev/shm/qads_{ring}{suffix}");
        assert!(!Path::new(&path).exists(), "{path} is left");
    }
}

/// A ring that a test made; removed when this is dropped.
pub struct RingGuard(pub String);

impl Drop for RingGuard {
    fn drop(&mut self) {
        for suffix in ["", ".ctl", ".next"] {
            let _ = fs::remove_file(format!("/dev/shm/qads_{}{suffix}", self.0));
        }
    }
}

/// The project's test data, kept outside of it; `None`, said on the terminal, where it is absent.
pub fn shared_data(path: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("QADATASWAP_TEST_DATA") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
    };
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there (set QADATASWAP_TEST_DATA)", path.display());
    None
}

/// A `qads demo` that runs. Killed, if it still does, when dropped.
pub struct Demo {
    process: Child,
    /// `None` if the demo chooses one.
    ring: Option<String>,
    stdout: Option<BufReader<ChildStdout>>,
    heard: String,
    stderr: Receiver<String>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A reader's line of the final table.
#[derive(Debug)]
pub struct Row {
    pub published: u64,
    pub consumed: u64,
    pub lost: u64,
    pub check: String,
    pub p50_us: f64,
}

impl Demo {
    /// Starts it on a ring of its own.
    pub fn start(arguments: &[&str]) -> Self {
        let ring = ring_name();
        let mut demo = Self::start_unnamed(&[&["--name", &ring], arguments].concat());
        demo.ring = Some(ring);
        demo
    }

    /// Starts it with just these arguments.
    pub fn start_unnamed(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_qads"))
            .arg("demo")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = process.stdout.take().map(BufReader::new);
        let mut from = process.stderr.take().expect("piped");
        let (to, stderr) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = from.read_to_string(&mut text);
            let _ = to.send(text);
        });
        Self { process, ring: None, stdout, heard: String::new(), stderr }
    }

    /// Waits for the first line with numbers, so that all processes are at work.
    pub fn hear_a_live_line(&mut self) {
        let stdout = self.stdout.as_mut().expect("open");
        let mut line = String::new();
        while !line.trim_start().starts_with("1 ") {
            line.clear();
            assert_ne!(
                stdout.read_line(&mut line).expect("text"),
                0,
                "ended early: {}",
                self.heard
            );
            self.heard += &line;
        }
    }

    pub fn close_output(&mut self) {
        self.stdout = None;
    }

    pub fn signal(&self, signal: libc::c_int) {
        kill(self.process.id(), signal);
    }

    /// Processes of the demo's ring, with their arguments. (The parent has `--name`, not `--ring`.)
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mark = format!("--ring\0{}\0", self.ring.as_ref().expect("named"));
        let entries = fs::read_dir("/proc").expect("there is a /proc").flatten();
        entries
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let arguments = fs::read(entry.path().join("cmdline")).ok()?;
                let arguments = String::from_utf8(arguments).ok()?;
                arguments.contains(&mark).then_some((pid, arguments))
            })
            .collect()
    }

    /// kill -9 of the child that plays this part.
    pub fn kill_child(&self, part: &str) {
        let processes = self.processes();
        let (pid, _) =
            processes.iter().find(|(_, arguments)| arguments.contains(part)).expect("it runs");
        kill(*pid, libc::SIGKILL);
    }

    /// Waits until no child of the demo is left.
    pub fn await_children_gone(&self) {
        while !self.processes().is_empty() {
            std::thread::yield_now();
        }
    }

    /// Waits for its end, and asserts that neither processes nor shared memory are left.
    pub fn finish(mut self) -> Outcome {
        let mut stdout = std::mem::take(&mut self.heard);
        if let Some(from) = &mut self.stdout {
            from.read_to_string(&mut stdout).expect("text");
        }
        let status = self.process.wait().expect("it ends");
        if let Some(ring) = &self.ring {
            assert_nothing_left(ring);
            assert_eq!(self.processes(), []);
        }
        assert!(!matches!(status.signal(), Some(signal) if signal != libc::SIGKILL), "{status}");
        let stderr = self.stderr.recv().expect("the thread sends");
        Outcome { code: status.code(), stdout, stderr }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn kill(pid: u32, signal: libc::c_int) {
    // SAFETY: a plain system call; it touches no memory. The process is this test's own: a child that
    // has not been waited for, or one found by a ring name that nobody else uses.
    assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0);
}

impl Outcome {
    /// A reader's line of the final table.
    pub fn row(&self, reader: &str) -> Row {
        // The table is the last thing that has these names at the start of a line.
        let line = self.stdout.lines().rev().find_map(|line| line.strip_prefix(reader));
        let line = line.unwrap_or_else(|| panic!("no line of {reader}: {self:?}"));
        let cells: Vec<String> =
            line.split_whitespace().map(|cell| cell.replace(',', "")).collect();
        let number = |at: usize| cells[at].parse().unwrap_or_else(|_| panic!("{at} in {line:?}"));
        Row {
            published: number(0),
            consumed: number(1),
            lost: number(2),
            check: cells[3].clone(),
            p50_us: cells[4].parse().unwrap_or_else(|_| panic!("p50 in {line:?}")),
        }
    }

    /// Asserts that the table has all readers, that their counts add up, and that it says so.
    pub fn assert_sound(&self) {
        for reader in ["fast ", "slow ", "victim, killed ", "victim, restarted "] {
            let row = self.row(reader);
            assert_eq!(row.consumed + row.lost, row.published, "{reader}: {self:?}");
            assert_eq!(row.check, "ok", "{reader}: {self:?}");
            assert_eq!(row.consumed > 0, row.p50_us > 0.0, "{reader}: {self:?}");
        }
        let (fast, slow) = (self.row("fast "), self.row("slow "));
        // Both were there from the first batch to the last.
        assert!(fast.published > 0, "{self:?}");
        assert_eq!(fast.published, slow.published, "{self:?}");
        assert!(self.row("victim, restarted ").published <= fast.published, "{self:?}");
        assert!(self.stdout.contains(", 0 damaged or out of order"), "{self:?}");
        let last = self.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with("ok: "), "{self:?}");
    }
}

/// Runs a shell script where `/dev/shm` is new and nobody else's, with the binary as `$1`. `None`, said on the terminal,
/// where such a place cannot be had.
pub fn run_in_own_memory(script: &str) -> Option<Outcome> {
    let script = format!("mount -t tmpfs tmpfs /dev/shm || exit 77; {script}");
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(env!("CARGO_BIN_EXE_qads"))
        .stdin(Stdio::null())
        .output();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    match run {
        Ok(run)
            if run.status.code() != Some(77) && !text(run.stderr.clone()).contains("unshare:") =>
        {
            let (stdout, stderr) = (text(run.stdout), text(run.stderr));
            Some(Outcome { code: run.status.code(), stdout, stderr })
        }
        _ => {
            println!("skipped: no /dev/shm of one's own to be had here");
            None
        }
    }
}

/// Runs the demo where `/dev/shm` is new and has just this size; also gives the names of what it left
/// there. `None`, said on the terminal, where such a place cannot be had.
pub fn run_in_small_memory(size: &str, arguments: &[&str]) -> Option<(Outcome, String)> {
    const SCRIPT: &str = r#"
        size=$1; qads=$2; shift 2
        mount -t tmpfs -o size=$size tmpfs /dev/shm || exit 77
        "$qads" demo "$@"; code=$?
        echo LEFT; ls -A /dev/shm
        exit $code"#;
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", size])
        .arg(env!("CARGO_BIN_EXE_qads"))
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (code, stdout, stderr) = match run {
        Ok(run) => (run.status.code(), text(run.stdout), text(run.stderr)),
        Err(error) => (None, String::new(), error.to_string()),
    };
    let Some((stdout, left)) = stdout.split_once("LEFT\n") else {
        println!("skipped: no /dev/shm of one's own to be had here ({stderr})");
        return None;
    };
    let outcome = Outcome { code, stdout: stdout.to_owned(), stderr };
    Some((outcome, left.to_owned()))
}

/// A directory of a test's own; removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(what: &str) -> Self {
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{what}-{}", ring_name()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// An Arrow IPC stream with a column of these flags, in batches of up to four rows.
    pub fn stream(&self, flags: &[u8]) -> PathBuf {
        let path = self.path(&format!("flags-{}.arrows", flags.len()));
        let file = fs::File::create(&path).expect("created");
        let all = quotes(flags.len(), Some(flags));
        let mut writer = StreamWriter::try_new(file, &all.schema()).expect("a stream");
        for start in (0..flags.len()).step_by(4) {
            writer.write(&all.slice(start, 4.min(flags.len() - start))).expect("written");
        }
        writer.finish().expect("finished");
        path
    }

    /// An Arrow IPC file of so many rows without flags.
    pub fn file_without_flags(&self, rows: usize) -> PathBuf {
        let path = self.path("plain.arrow");
        let file = fs::File::create(&path).expect("created");
        let all = quotes(rows, None);
        let mut writer = FileWriter::try_new(file, &all.schema()).expect("a file");
        writer.write(&all).expect("written");
        writer.finish().expect("finished");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn quotes(rows: usize, flags: Option<&[u8]>) -> RecordBatch {
    let prices = (0..rows).map(|row| (row % 3 != 1).then_some(row as f64 / 4.0));
    let symbols = (0..rows).map(|row| "ES".repeat(row));
    // Too long to be inlined in a view.
    let venues = (0..rows).map(|row| format!("Chicago Mercantile Exchange {row}"));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("price", Arc::new(Float64Array::from_iter(prices))),
        ("symbol", Arc::new(StringArray::from_iter_values(symbols))),
        ("venue", Arc::new(StringViewArray::from_iter_values(venues))),
    ];
    if let Some(flags) = flags {
        columns.push(("flags", Arc::new(UInt8Array::from(flags.to_vec()))));
    }
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .expect("columns of one length")
}
