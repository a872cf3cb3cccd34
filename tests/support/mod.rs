//! What the tests share: ring names that no other process uses, and child processes.
//!
//! A test that needs another process starts its own binary again and has it play a *role*. Parent and
//! child then talk in lines over pipes, so that each waits for the other and nobody for time.
//!
//! ```ignore
//! #[test]
//! fn child_process() {
//!     support::play(&[("reader", |child, args| { ...; child.say("ready"); child.hear(); })]);
//! }
//!
//! #[test]
//! fn something() {
//!     let mut reader = Child::spawn("reader", &[ring.name()]);
//!     assert_eq!(reader.hear(), "ready");
//!     reader.say("go");
//!     reader.finish();
//! }
//! ```
#![allow(dead_code)] // each test file uses a part of it

pub mod damage;
pub mod raw;
pub mod threads;

pub mod inspect;
pub mod numbered;
pub mod small_shm;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The test function that a child runs; every test file with roles has it.
const ENTRY: &str = "child_process";
const ROLE_VARIABLE: &str = "QADATASWAP_TEST_ROLE";
const ARGUMENTS_VARIABLE: &str = "QADATASWAP_TEST_ARGUMENTS";
/// What tells a line of the conversation from what the test harness prints.
const MARK: &str = "@child ";

/// A ring name of this process's own; whatever has that name is removed when this is dropped.
pub struct RingName(String);

impl RingName {
    pub fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("test-{what}-{}-{number}", std::process::id()))
    }

    /// A name as given, which should hold this process's id; tidied up after like the others.
    pub fn exactly(name: String) -> Self {
        Self(name)
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Path of the data segment.
    pub fn data_path(&self) -> String {
        format!("/dev/shm/qads_{}", self.0)
    }

    /// Path of the control segment.
    pub fn control_path(&self) -> String {
        format!("/dev/shm/qads_{}.ctl", self.0)
    }

    /// Path of the segment that a rollover prepares.
    pub fn next_path(&self) -> String {
        format!("/dev/shm/qads_{}.next", self.0)
    }
}

impl Drop for RingName {
    fn drop(&mut self) {
        for path in [self.data_path(), self.control_path(), self.next_path()] {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The other side of the conversation, seen from the child.
pub struct Parent;

impl Parent {
    pub fn say(&self, line: impl std::fmt::Display) {
        println!("\n{MARK}{line}");
        std::io::stdout().flush().expect("parent reads");
    }

    /// The parent's next line; ends the process if the parent is gone.
    pub fn hear(&self) -> String {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
            std::process::exit(3);
        }
        line.trim_end().to_owned()
    }
}

/// A role: what a child does, with the arguments it was given.
pub type Role = (&'static str, fn(Parent, &[String]));

/// In a child: plays the role it was started for, then exits. Does nothing elsewhere.
pub fn play(roles: &[Role]) {
    let Ok(wanted) = std::env::var(ROLE_VARIABLE) else { return };
    let arguments = std::env::var(ARGUMENTS_VARIABLE).unwrap_or_default();
    let arguments: Vec<String> = arguments.split('\u{1f}').map(str::to_owned).collect();
    let (_, act) = roles.iter().find(|(name, _)| *name == wanted).expect("role is listed");
    act(Parent, &arguments);
    std::process::exit(0);
}

/// A child process; killed when dropped.
pub struct Child {
    process: std::process::Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// The command that has this very binary play `role`.
fn command(role: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command
        .args([ENTRY, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE_VARIABLE, role)
        .env(ARGUMENTS_VARIABLE, arguments.join("\u{1f}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

impl Child {
    pub fn spawn(role: &str, arguments: &[&str]) -> Self {
        Self::start(command(role, arguments)).expect("child starts")
    }

    fn start(mut command: Command) -> std::io::Result<Self> {
        let mut process = command.spawn()?;
        let to = process.stdin.take().expect("piped");
        let from = BufReader::new(process.stdout.take().expect("piped"));
        Ok(Self { process, to, from })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn say(&mut self, line: impl std::fmt::Display) {
        writeln!(self.to, "{line}").expect("child listens");
    }

    /// The child's next line.
    pub fn hear(&mut self) -> String {
        self.try_hear().expect("child still speaks")
    }

    /// The child's next line; `None` if it has ended.
    pub fn try_hear(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.from.read_line(&mut line).expect("pipe") != 0 {
            if let Some(said) = line.trim_end().strip_prefix(MARK) {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a plain system call; the child has not been waited for, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(self.pid() as libc::pid_t, signal) }, 0);
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(mut self) {
        self.kill_alone();
    }

    /// [`kill`](Self::kill), but the pipes stay open: a child of its own that it has left behind may go
    /// on with the conversation.
    pub fn kill_alone(&mut self) {
        self.signal(libc::SIGKILL);
        let status = self.process.wait().expect("child ends");
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }

    /// Stops the process as a debugger would, and waits until it is stopped.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        self.wait_until_stopped();
    }

    /// Waits until the process has been stopped, or has stopped itself.
    pub fn wait_until_stopped(&self) {
        let mut status = 0;
        // SAFETY: waits for a child of this process; `status` outlives the call.
        unsafe { libc::waitpid(self.pid() as libc::pid_t, &mut status, libc::WUNTRACED) };
        assert!(libc::WIFSTOPPED(status));
    }

    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Waits for the child to end well.
    pub fn finish(mut self) {
        let status = self.process.wait().expect("child ends");
        assert!(status.success(), "child: {status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The project's test data, kept outside of it; `None`, said on the terminal, where it is absent.
pub fn shared_data(path: &str) -> Option<std::path::PathBuf> {
    let root = match std::env::var_os("QADATASWAP_TEST_DATA") {
        Some(root) => std::path::PathBuf::from(root),
        None => std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there (set QADATASWAP_TEST_DATA)", path.display());
    None
}
