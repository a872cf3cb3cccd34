//! Time in ticks that all processes share, and what a tick is in nanoseconds.

use std::time::{Duration, Instant};

/// Now, after everything before it has been done.
#[inline(always)]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // The fence keeps the counter from being read before loads that come first in the program.
        // SAFETY: every x86-64 processor has it.
        unsafe { std::arch::x86_64::_mm_lfence() };
        // SAFETY: likewise; that it counts evenly and is the same on all cores is checked by `check`.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    monotonic_ns()
}

#[cfg_attr(
    target_arch = "x86_64",
    expect(dead_code, reason = "so that it compiles for others is seen here")
)]
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Whether ticks can be trusted; the reason if not.
pub fn check() -> Result<(), String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Ok(());
    }
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    match ["constant_tsc", "nonstop_tsc"].iter().find(|flag| !flags.contains(*flag)) {
        None => Ok(()),
        Some(flag) => {
            Err(format!("the processor's time stamp counter is not even ({flag} is missing)"))
        }
    }
}

/// Ticks from one value of the counter to the next: where it moves on by many at a time, no time is known better.
pub fn step() -> u64 {
    let divisor = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let (mut before, mut step) = (now(), 0);
    for _ in 0..1_000 {
        let next = now();
        step = divisor(step, next.saturating_sub(before));
        before = next;
    }
    step
}

/// Nanoseconds of a tick, measured against the system's clock.
pub fn ns_per_tick() -> f64 {
    let (started, from) = (Instant::now(), now());
    while started.elapsed() < Duration::from_millis(100) {
        std::hint::spin_loop();
    }
    let (elapsed, to) = (started.elapsed(), now());
    elapsed.as_nanos() as f64 / (to - from) as f64
}
