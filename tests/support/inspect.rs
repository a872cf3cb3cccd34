//! What `/proc` and `/dev/shm` say about a process and a ring.

/// Number of descriptors that this process has open.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// One mapping of a process.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapping {
    /// As in `r--s`.
    pub permissions: String,
    /// Path of the file behind it, with ` (deleted)` if it has lost its name.
    pub file: String,
}

/// Mappings of this process of the data segments of the ring `name`, those that have lost the name
/// included.
pub fn data_mappings(name: &str) -> Vec<Mapping> {
    let path = format!("/dev/shm/qads_{name}");
    let mut found = mappings("/dev/shm/qads_");
    found.retain(|mapping| mapping.file.trim_end_matches(" (deleted)") == path);
    found
}

/// Mappings of this process whose file has `part` in its path.
pub fn mappings(part: &str) -> Vec<Mapping> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    maps.lines()
        .filter_map(|line| {
            // proc_pid_maps(5): address, permissions, offset, device, inode, path.
            let mut fields = line.splitn(6, ' ');
            let permissions = fields.nth(1)?.to_owned();
            let file = fields.nth(3)?.trim_start().to_owned();
            file.contains(part).then_some(Mapping { permissions, file })
        })
        .collect()
}

/// The objects of the ring `name`, sorted.
pub fn objects(name: &str) -> Vec<String> {
    let data = format!("qads_{name}");
    let of_the_ring = |object: &str| {
        object.strip_prefix(&data).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut found: Vec<String> = std::fs::read_dir("/dev/shm")
        .expect("/dev/shm is there")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|object| of_the_ring(object))
        .collect();
    found.sort();
    found
}

/// Waits until every thread of the process sleeps, as far as the kernel can be asked.
pub fn wait_until_asleep(pid: u32) {
    let tasks = format!("/proc/{pid}/task");
    while !all_asleep(&tasks) {
        std::thread::yield_now();
    }
}

fn all_asleep(tasks: &str) -> bool {
    std::fs::read_dir(tasks).expect("process lives").all(|task| {
        let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
        // proc_pid_stat(5): the state follows the name, which is in parentheses.
        stat.expect("task lives").rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
    })
}

/// Whether the process that started this one still is its parent.
pub struct ParentWatch(libc::pid_t);

impl ParentWatch {
    pub fn new() -> Self {
        // SAFETY: a plain system call without arguments.
        Self(unsafe { libc::getppid() })
    }

    /// Ends this process if its parent has gone, so that a child which never listens is not left over
    /// when a test is interrupted.
    pub fn check(&self) {
        // SAFETY: a plain system call without arguments.
        if unsafe { libc::getppid() } != self.0 {
            std::process::exit(3);
        }
    }
}
