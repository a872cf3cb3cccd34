//! What `/proc` tells of other processes.

use std::fs;

/// The name of a process, as `ps` shows it; nothing if it cannot be seen.
pub fn command(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(crate::text::tame(name.trim_end()))
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// At least one of its threads runs, or could.
    Running,
    /// All its threads sleep.
    Asleep,
    /// It is stopped, by a signal or a debugger.
    Stopped,
    /// It cannot be seen from here.
    Unseen,
}

impl Doing {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Asleep => "asleep",
            Self::Stopped => "stopped",
            Self::Unseen => "",
        }
    }
}

/// What a process is doing just now.
pub fn doing(pid: u32) -> Doing {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Doing::Unseen };
    let mut seen = Doing::Unseen;
    for task in tasks.flatten() {
        // proc_pid_stat(5): the state follows the name, which is in parentheses.
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        match stat.rsplit(") ").next().and_then(|rest| rest.chars().next()) {
            Some('T' | 't') => return Doing::Stopped,
            Some('S' | 'D' | 'I') if seen == Doing::Unseen => seen = Doing::Asleep,
            Some('R') => seen = Doing::Running,
            _ => {}
        }
    }
    seen
}

/// Where the system shows the ring's data segment.
pub fn object_path(ring: &str) -> String {
    format!("/dev/shm/qads_{ring}")
}

/// Processes that have the ring's data segment mapped, as far as this user may know. Others than this one.
pub fn who_maps(ring: &str) -> Vec<u32> {
    let own = std::process::id();
    let path = object_path(ring);
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = pids
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            // proc_pid_maps(5): the sixth field is the path.
            maps.lines().any(|line| {
                line.splitn(6, ' ').nth(5).is_some_and(|file| file.trim_start() == path)
            })
        })
        .collect();
    found.sort_unstable();
    found
}
