//! The clocks that all processes of the machine share, and histograms of differences.

use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

/// Longest time that is told from longer ones: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Digits that a time keeps.
const DIGITS: u8 = 3;

/// CLOCK_MONOTONIC in nanoseconds. `std::time::Instant` is the same clock but keeps its reading to
/// itself, and a reading that another process took is just what latency is counted from.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec of this frame, which the call only fills in. It cannot fail:
    // every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The clock on the wall, in nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// An empty histogram of times in nanoseconds, with all the memory it will need.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("the bounds are sound")
}
