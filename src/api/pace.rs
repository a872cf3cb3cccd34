//! Which way long messages take to shared memory: the one that has been the faster lately.
//!
//! Between cores that share a cache, stores through the caches are up to three times as fast as stores past them. Between
//! others each line has to come from the reader's core first, and stores past the caches are up to four times as fast.
//! Which cores the readers are on is not known, and may change. But the writer can measure its own time: some messages of
//! each size are timed, and now and then one takes the other way. What readers lose where they have to go to memory is
//! taken into account.

use std::time::Instant;

use crate::ring::words::Way;

/// Shorter messages always go through the caches.
const LEAST_BYTES: usize = 1536;
/// Sizes are told apart by powers of two, up to this many of them.
const SIZES: usize = 16;
/// Nanoseconds that it costs readers more to have a line from memory than from a near core (measured: 3 to 5.5, between
/// cores that share a cache).
const FROM_MEMORY: f32 = 5.0;
/// Of longer messages caches keep little.
const MOST_CACHED_BYTES: usize = 4 << 20;
/// So many messages of a size to one that is timed, which takes some 50 ns.
const TIMED: u32 = 16;
/// So many messages of a size to one that takes the other way.
const OTHER: u32 = 256;

/// What is known of each size.
#[derive(Debug, Default)]
pub(super) struct Pace([Size; SIZES]);

#[derive(Debug, Default)]
struct Size {
    count: u32,
    /// Nanoseconds a message takes each way.
    costs: [f32; 2],
}

impl Pace {
    /// Has `store` store a message of `len` bytes, the better way.
    #[inline(always)]
    pub(super) fn store(&mut self, len: usize, store: impl FnOnce(Way)) {
        if len < LEAST_BYTES { store(Way::Cached) } else { self.store_long(len, store) }
    }

    #[inline(never)]
    fn store_long(&mut self, len: usize, store: impl FnOnce(Way)) {
        let size = (len.ilog2() - LEAST_BYTES.ilog2()) as usize;
        let size = &mut self.0[size.min(SIZES - 1)];
        let (way, is_timed) = size.next(len);
        if !is_timed {
            return store(way);
        }
        let begun = Instant::now();
        store(way);
        size.learn(way, begun.elapsed().as_nanos() as f32);
    }
}

impl Size {
    /// Which way the next message goes, which has `len` bytes, and whether it is timed.
    fn next(&mut self, len: usize) -> (Way, bool) {
        let count = self.count;
        self.count = count.wrapping_add(1);
        let [cached, past] = self.costs;
        let lines = if len > MOST_CACHED_BYTES { 0 } else { len / 64 };
        let better = if past + FROM_MEMORY * (lines as f32) < cached {
            Way::PastCaches
        } else {
            Way::Cached
        };
        match count {
            0 => (Way::Cached, true),
            1 => (Way::PastCaches, true),
            _ if count.is_multiple_of(OTHER) => (other(better), true),
            _ => (better, count.is_multiple_of(TIMED)),
        }
    }

    /// A message took so long.
    fn learn(&mut self, way: Way, nanoseconds: f32) {
        let cost = &mut self.costs[way as usize];
        *cost = match *cost {
            0.0 => nanoseconds,
            // Whatever interrupts the writer makes it longer, nothing makes it shorter than it is.
            cost if nanoseconds < cost => (cost + nanoseconds) / 2.0,
            cost => cost + (nanoseconds.min(2.0 * cost) - cost) / 8.0,
        };
    }
}

fn other(way: Way) -> Way {
    match way {
        Way::Cached => Way::PastCaches,
        Way::PastCaches => Way::Cached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a message: 64 lines.
    const BYTES: usize = 4096;

    /// How many of so many messages go past the caches, where each way takes so long.
    fn past(size: &mut Size, messages: usize, cached: f32, past: f32) -> usize {
        let ways = (0..messages).map(|_| {
            let (way, is_timed) = size.next(BYTES);
            if is_timed {
                size.learn(way, if way == Way::Cached { cached } else { past });
            }
            way
        });
        ways.filter(|way| *way == Way::PastCaches).count()
    }

    #[test]
    fn the_better_way_is_taken_whichever_it_is_by_now() {
        let mut size = Size::default();
        assert!(past(&mut size, 10_000, 60.0, 100.0) < 60);
        // A reader comes that is near: it would lose more than the writer gains.
        assert!(past(&mut size, 10_000, 260.0, 100.0) < 60);
        // It moves far away, and comes back.
        assert!(past(&mut size, 10_000, 1500.0, 100.0) > 9_000);
        assert!(past(&mut size, 100_000, 260.0, 100.0) < 5_000);
    }

    #[test]
    fn one_interruption_changes_nothing() {
        let mut size = Size::default();
        past(&mut size, 1_000, 100.0, 150.0);
        size.learn(Way::Cached, 1e9);
        assert_eq!(size.next(BYTES).0, Way::Cached);
    }
}
