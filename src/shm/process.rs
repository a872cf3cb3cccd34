//! Who this process is, and random numbers from the kernel.

/// A process, told apart from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id in its own pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot; 0 where `/proc` is not mounted.
    pub start_ticks: u64,
}

impl Process {
    /// The calling process.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self { pid, start_ticks: Self::start_of(pid) }
    }

    /// When the process `pid` started.
    pub fn start_of(pid: u32) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Field 22 of proc_pid_stat(5). Field 2 is the program's name in parentheses and may hold
        // anything, so count from its end.
        stat.rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(19))
            .and_then(|field| field.parse().ok())
            .unwrap_or(0)
    }
}

/// A number that no other ring has.
pub fn random_id() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer has the length given and outlives the call.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == bytes.len() as isize {
        return u64::from_ne_bytes(bytes);
    }
    // Before Linux 3.17, or denied by a sandbox: unique enough to tell two rings of one name apart.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as u64) ^ (u64::from(std::process::id()) << 40)
}
