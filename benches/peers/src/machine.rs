//! The machine and what is measured on it, as far as it matters for figures.

use std::fs;
use std::process::Command;

use crate::clock;

/// Lines about processor, cores, kernel, frequency and virtualisation, clock, versions and commit.
pub fn describe(scale: &str, rounds: usize, ns_per_tick: f64) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let info = read("/proc/cpuinfo").unwrap_or_default();
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    let is_virtual =
        info.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let load = read("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let mut lines = vec![
        qadataswap_bench::machine(),
        format!(
            "{}; frequency governor: {}; load when begun: {load}",
            if is_virtual { "virtual machine" } else { "no hypervisor" },
            governor.as_deref().unwrap_or("not readable"),
        ),
        format!(
            "clock: steps of {:.1} ns, so that one way of there and back is known to half of that",
            clock::step() as f64 * ns_per_tick
        ),
        format!(
            "{scale}; medians of {rounds} interleaved repetitions (fewer of what is very large)"
        ),
        format!(
            "qadataswap {}, iceoryx2 {}, shaq {}, arrow-ipc {}",
            version("qadataswap"),
            version("iceoryx2"),
            version("shaq"),
            version("arrow-ipc"),
        ),
    ];
    lines.extend(commit().map(|commit| format!("commit {commit}")));
    lines
}

/// The commit that is checked out here, if it is one, and whether anything was changed since.
fn commit() -> Option<String> {
    let here = env!("CARGO_MANIFEST_DIR");
    let describe = ["-C", here, "describe", "--always", "--long", "--dirty"];
    let output = Command::new("git").args(describe).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}

/// The version of a package in this crate's lock file.
fn version(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split("[[package]]").find_map(|entry| {
        entry.trim_start().strip_prefix(&format!("name = \"{package}\"\nversion = \""))
    });
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("?").to_owned()
}
