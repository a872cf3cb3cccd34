//! Threads seen from outside, through `/proc`: asleep, at work, for how long.

/// A thread of this or another process.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pid: u32,
    tid: u32,
}

impl Thread {
    pub fn new(pid: u32, tid: u32) -> Self {
        Self { pid, tid }
    }

    /// The calling thread.
    pub fn current() -> Self {
        // SAFETY: a plain system call without arguments.
        let tid = unsafe { libc::gettid() };
        Self { pid: std::process::id(), tid: tid as u32 }
    }

    pub fn tid(self) -> u32 {
        self.tid
    }

    fn read(self, file: &str) -> String {
        let path = format!("/proc/{}/task/{}/{file}", self.pid, self.tid);
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Whether it sleeps in a system call that `is_meant` recognises by number and arguments, from
    /// `/proc/PID/task/TID/syscall`.
    fn sleeps(self, is_meant: impl Fn(libc::c_long, &[&str]) -> bool) -> bool {
        let call = self.read("syscall");
        let fields: Vec<&str> = call.split_whitespace().collect();
        let Some((number, arguments)) = fields.split_first() else {
            // Not to be had here: that it sleeps at all has to do.
            return self.state() == Some('S');
        };
        // "running" is no number.
        number.parse().is_ok_and(|number| is_meant(number, arguments)) && self.state() == Some('S')
    }

    /// Whether it sleeps in the system call of this number.
    pub fn sleeps_in(self, number: libc::c_long) -> bool {
        self.sleeps(|found, _| found == number)
    }

    /// Whether it sleeps on a futex that other processes share. (The standard library's locks use
    /// futexes of the other sort.)
    pub fn sleeps_on_shared_futex(self) -> bool {
        let operation = |arguments: &[&str]| {
            i32::from_str_radix(arguments.get(1)?.strip_prefix("0x")?, 16).ok()
        };
        self.sleeps(|number, arguments| {
            number == libc::SYS_futex && operation(arguments) == Some(libc::FUTEX_WAIT)
        })
    }

    fn state(self) -> Option<char> {
        // Field 3 of proc_pid_stat(5); field 2 may hold anything, so count from its end.
        self.read("stat").rsplit(')').next()?.trim_start().chars().next()
    }

    /// Processor time it has had, in clock ticks.
    pub fn ticks(self) -> u64 {
        let stat = self.read("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        fields.take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
    }

    /// How often it has given up its processor of its own accord: each time it slept.
    pub fn pauses(self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).expect("the thread is there")
    }
}

/// Waits for something to become true; for however long that takes.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

/// Runs `act` in a thread of its own and gives what it returns.
///
/// # Panics
/// If it panics, or has used ten seconds of *processor* time and still not returned: it would never
/// end. (That is no bound on time: a thread that is not given the processor uses none.)
#[track_caller]
pub fn must_return<R: Send + 'static>(what: &str, act: impl FnOnce() -> R + Send + 'static) -> R {
    const TICKS: u64 = 1_000;
    let (tell, hear) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        tell.send(Thread::current()).expect("the other side waits");
        act()
    });
    let thread = hear.recv().expect("the thread starts");
    wait_until(|| worker.is_finished() || thread.ticks() > TICKS);
    assert!(worker.is_finished(), "{what}: does not return");
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
