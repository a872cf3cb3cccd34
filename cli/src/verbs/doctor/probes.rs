//! What `doctor` looks at, one function for each subject.

use std::fs;
use std::path::Path;

use super::{Finding, Level};
use crate::text;
use crate::verbs::remove::{self, Standing};
use crate::verbs::rings::{self, Health};

/// Memory that rings of the usual kind want to have free.
const LITTLE_BYTES: u64 = 64 << 20;
/// Descriptors below which a process with many rings runs out (each takes two).
const FEW_DESCRIPTORS: u64 = 1024;

/// A file below `root` as a line; nothing if it is not there.
fn line(root: &Path, path: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(path.trim_start_matches('/'))).ok()?;
    Some(text.trim().to_owned())
}

/// Everything that there is to say.
pub fn all(root: &Path) -> Vec<Finding> {
    let mut findings = vec![shared_memory(root), permissions(root)];
    findings.extend(limits(root));
    findings.extend(container(root));
    findings.extend(processor(root));
    findings.push(huge_pages(root));
    findings.push(swap(root));
    findings.extend(stale_rings());
    findings.extend(left_objects(root));
    findings
}

/// Only what spoils latency: the hints of `bench`.
pub fn of_latency(root: &Path) -> Vec<Finding> {
    let mut findings = processor(root);
    findings.extend(container(root));
    findings.retain(|finding| finding.level != Level::Ok);
    findings
}

fn shared_memory(root: &Path) -> Finding {
    const SUBJECT: &str = "/dev/shm";
    let mounts = line(root, "/proc/mounts").unwrap_or_default();
    let mut mount = mounts.lines().map(|mount| mount.split_whitespace().collect::<Vec<_>>());
    let mount = mount.rfind(|fields| fields.get(1) == Some(&"/dev/shm"));
    match mount {
        None => {
            return Finding::of(
                SUBJECT,
                Level::Bad,
                "is not mounted",
                "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
            );
        }
        Some(fields) if fields.get(2) != Some(&"tmpfs") => {
            return Finding::of(
                SUBJECT,
                Level::Warning,
                format!("is {}, not tmpfs: rings may go to a disk", fields[2]),
                "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
            );
        }
        Some(_) => {}
    }
    let Some((size, free)) = space(&root.join("dev/shm")) else {
        return Finding::of(SUBJECT, Level::Bad, "cannot be looked at", "check its permissions");
    };
    let found = format!("{} free of {}", text::bytes(free as f64), text::bytes(size as f64));
    if free < LITTLE_BYTES {
        Finding::of(
            SUBJECT,
            Level::Bad,
            found,
            "'qads gc' removes rings that nobody uses; mount -o remount,size=4G /dev/shm makes it larger \
             (docker run --shm-size=4g)",
        )
    } else {
        Finding::ok(SUBJECT, found)
    }
}

/// Size and free space of the file system that has `path`, in bytes.
fn space(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: all zeroes is a value of this plain C struct.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is a NUL-terminated string and `found` a live struct of this frame; both outlive the call.
    let done = unsafe { libc::statvfs(path.as_ptr(), &raw mut found) };
    (done == 0).then(|| (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize))
}

fn permissions(root: &Path) -> Finding {
    use std::os::unix::fs::PermissionsExt;
    const SUBJECT: &str = "permissions";
    let Ok(found) = fs::metadata(root.join("dev/shm")) else {
        return Finding::of(SUBJECT, Level::Bad, "/dev/shm cannot be opened", "mount it");
    };
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o1777 == 0o1777 {
        Finding::ok(SUBJECT, "everybody can make rings")
    } else {
        Finding::of(
            SUBJECT,
            Level::Warning,
            format!("/dev/shm has mode {mode:04o}; not everybody can make rings there"),
            "chmod 1777 /dev/shm",
        )
    }
}

fn limits(root: &Path) -> Vec<Finding> {
    let text = line(root, "/proc/self/limits").unwrap_or_default();
    // proc_pid_limits(5): the name, the soft limit, the hard limit, the unit.
    let soft = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next().map(|limit| limit.parse().unwrap_or(u64::MAX))
    };
    let shown = |limit: u64| match limit {
        u64::MAX => "unlimited".to_owned(),
        limit => text::bytes(limit as f64),
    };
    let mut findings = Vec::new();
    if let Some(limit) = soft("Max open files") {
        let found = format!("{limit} descriptors (a ring takes two)");
        findings.push(if limit < FEW_DESCRIPTORS {
            Finding::of("limits", Level::Warning, found, "ulimit -n 4096")
        } else {
            Finding::ok("limits", found)
        });
    }
    if let Some(limit) = soft("Max locked memory") {
        let found = format!("{} of locked memory", shown(limit));
        findings.push(if limit < LITTLE_BYTES {
            Finding::of(
                "limits",
                Level::Note,
                found,
                "only for lock_memory(true): ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
            )
        } else {
            Finding::ok("limits", found)
        });
    }
    for (name, what) in [("Max file size", "file size"), ("Max address space", "address space")] {
        if let Some(limit) = soft(name)
            && limit != u64::MAX
        {
            findings.push(Finding::of(
                "limits",
                Level::Warning,
                format!("{what} is limited to {}", shown(limit)),
                "rings are sparse and need address space: raise it, or give slot_capacity",
            ));
        }
    }
    findings
}

fn container(root: &Path) -> Vec<Finding> {
    const SUBJECT: &str = "container";
    let mut findings = Vec::new();
    let group = line(root, "/proc/self/cgroup").unwrap_or_default();
    let path = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let of_group = |file: &str| {
        line(root, &format!("/sys/fs/cgroup{path}/{file}"))
            .or_else(|| line(root, &format!("/sys/fs/cgroup/{file}")))
    };
    if let Some(limit) = of_group("memory.max").and_then(|limit| limit.parse::<u64>().ok()) {
        let used = of_group("memory.current").and_then(|used| used.parse().ok()).unwrap_or(0);
        let found = format!(
            "memory limit {}, {} used; rings count in it",
            text::bytes(limit as f64),
            text::bytes(used as f64)
        );
        findings.push(if limit.saturating_sub(used) < LITTLE_BYTES {
            Finding::of(SUBJECT, Level::Bad, found, "raise the limit, or make the rings smaller")
        } else {
            Finding::ok(SUBJECT, found)
        });
    }
    if let Some(quota) = of_group("cpu.max")
        && let Some((quota, period)) = quota.split_once(' ')
        && let (Ok(quota), Ok(period)) = (quota.parse::<f64>(), period.parse::<f64>())
    {
        findings.push(Finding::of(
            SUBJECT,
            Level::Warning,
            format!("limited to {:.1} processors", quota / period),
            "a process that has used its share is stopped for milliseconds: lift cpu.max, or do not spin",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, "no limits of memory or processors"));
    }
    findings
}

fn processor(root: &Path) -> Vec<Finding> {
    const SUBJECT: &str = "processors";
    let mut findings = Vec::new();
    let count = std::thread::available_parallelism().map_or(1, |count| count.get());
    findings.push(if count < 4 {
        Finding::of(
            SUBJECT,
            Level::Warning,
            format!("{count} to be used: spinning readers take time from the writer"),
            "let readers yield or sleep (WaitStrategy::Yield, Sleep), or use a larger machine",
        )
    } else {
        Finding::ok(SUBJECT, format!("{count} to be used"))
    });
    let governors = governors(root);
    match governors.as_slice() {
        [] => findings.push(Finding::ok(SUBJECT, "no frequency scaling to be seen")),
        [only] if only == "performance" => {
            findings.push(Finding::ok(SUBJECT, "governor performance"));
        }
        several => findings.push(Finding::of(
            SUBJECT,
            Level::Warning,
            format!("governor {}: waking up takes longer", several.join(", ")),
            "cpupower frequency-set -g performance",
        )),
    }
    let isolated = line(root, "/sys/devices/system/cpu/isolated").unwrap_or_default();
    findings.push(if isolated.is_empty() {
        Finding::of(
            SUBJECT,
            Level::Note,
            "no isolated cores",
            "for the last microseconds: isolcpus=... nohz_full=... on the kernel's command line, and taskset",
        )
    } else {
        Finding::ok(SUBJECT, format!("isolated cores {isolated}"))
    });
    let clock = line(root, "/sys/devices/system/clocksource/clocksource0/current_clocksource");
    if let Some(clock) = clock
        && !matches!(clock.as_str(), "tsc" | "kvm-clock" | "arch_sys_counter")
    {
        findings.push(Finding::of(
            SUBJECT,
            Level::Warning,
            format!("clock {clock}: asking the time is a system call"),
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, where it is stable",
        ));
    }
    findings
}

/// The governors of all processors, each once.
fn governors(root: &Path) -> Vec<String> {
    let Ok(processors) = fs::read_dir(root.join("sys/devices/system/cpu")) else {
        return Vec::new();
    };
    let mut found: Vec<String> = processors
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("cpufreq/scaling_governor")).ok())
        .map(|governor| governor.trim().to_owned())
        .collect();
    found.sort();
    found.dedup();
    found
}

fn huge_pages(root: &Path) -> Finding {
    const SUBJECT: &str = "huge pages";
    let setting = line(root, "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    let chosen = setting.as_deref().and_then(|text| text.split(['[', ']']).nth(1));
    match chosen {
        Some(chosen @ ("advise" | "always" | "within_size" | "force")) => {
            Finding::ok(SUBJECT, format!("shared memory: {chosen}"))
        }
        Some(chosen) => Finding::of(
            SUBJECT,
            Level::Note,
            format!("shared memory: {chosen}"),
            "only for huge_pages(true): echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled",
        ),
        None => Finding::ok(SUBJECT, "the kernel has none"),
    }
}

fn swap(root: &Path) -> Finding {
    let swaps = line(root, "/proc/swaps").unwrap_or_default();
    match swaps.lines().count() {
        0 | 1 => Finding::ok("swap", "none"),
        _ => Finding::of(
            "swap",
            Level::Note,
            "there is swap, and shared memory can be swapped out",
            "lock_memory(true) keeps a ring in memory; or vm.swappiness=0",
        ),
    }
}

fn stale_rings() -> Vec<Finding> {
    const SUBJECT: &str = "rings";
    let Ok(found) = rings::survey(&[]) else {
        return vec![Finding::of(SUBJECT, Level::Bad, "cannot be listed", "check /dev/shm")];
    };
    let mut findings = Vec::new();
    let (mut stale, mut stale_bytes) = (Vec::new(), 0);
    for ring in &found {
        match ring.health() {
            Health::Damaged => findings.push(Finding::of(
                SUBJECT,
                Level::Bad,
                format!("'{}' is damaged", ring.name),
                format!(
                    "'qads inspect {0}' names what is wrong; 'qads rm --force {0}' removes it",
                    text::argument(&ring.name)
                ),
            )),
            Health::Dead | Health::Closed | Health::NotReady => {
                if matches!(remove::standing(&ring.name), Ok(Standing::Unused)) {
                    stale.push(ring.name.as_str());
                    stale_bytes += ring.seen.as_ref().map_or(0, |seen| seen.committed_bytes);
                }
            }
            Health::Alive | Health::Denied => {}
        }
    }
    if !stale.is_empty() {
        let shown = stale.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        findings.push(Finding::of(
            SUBJECT,
            Level::Warning,
            format!(
                "{} that nobody uses, with {} ({shown}{})",
                stale.len(),
                text::bytes(stale_bytes as f64),
                if stale.len() > 5 { ", ..." } else { "" }
            ),
            "'qads gc' removes them",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, format!("{}, none left behind", found.len())));
    }
    findings
}

/// Control segments and half-made segments whose ring is gone.
fn left_objects(root: &Path) -> Option<Finding> {
    let entries = fs::read_dir(root.join("dev/shm")).ok()?;
    let names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let is_left = |name: &&String| {
        let ring = name.strip_suffix(".ctl").or_else(|| name.strip_suffix(".next"));
        name.starts_with("qads_")
            && ring.is_some_and(|ring| !names.iter().any(|other| other == ring))
    };
    let left: Vec<&String> = names.iter().filter(is_left).collect();
    let first = left.first()?;
    Some(Finding::of(
        "rings",
        Level::Warning,
        format!("{} parts of rings that are gone", left.len()),
        format!(
            "rm {}{}",
            text::argument(&format!("/dev/shm/{first}")),
            if left.len() > 1 { " and so on" } else { "" }
        ),
    ))
}
