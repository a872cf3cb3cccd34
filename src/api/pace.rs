//! Which way long messages take to shared memory: the one that has been the faster lately.
//!
//! Between cores that share a cache, stores through the caches are up to three times as fast as stores past them. Between
//! others each line has to come from the reader's core first, and stores past the caches are up to four times as fast.
//! Which cores the readers are on is not known, and may change. But the writer can measure its own time: some messages of
//! each size are timed, and now and then the other way is tried. What readers lose where they have to go to memory is
//! taken into account.
//!
//! A trial goes once round the ring before it is timed: what has been stored past the caches is slow to be stored to
//! through them, once.

use std::time::Instant;

use crate::ring::words::Way;

/// Shorter messages always go through the caches.
const LEAST_BYTES: usize = 1536;
/// Sizes are told apart by powers of two, up to this many of them.
const SIZES: usize = 16;
/// Nanoseconds that it costs readers more to have a line from memory than from a near core (measured: 3 to 5.5, between
/// cores that share a cache. With 4.0 or 4.5 there 8 KiB go past the caches, which costs up to a tenth; with 5.0 some of
/// 32 KiB go through them, which costs as much).
const FROM_MEMORY: f32 = 5.0;
/// Of longer messages the caches keep so little that readers have to go to memory either way (between near cores, a ring
/// of 16 slots: 256 KiB take 13 us through the caches and 23 us past them, 1 MiB 143 and 85 us).
const MOST_CACHED_BYTES: usize = 512 << 10;
/// So many messages of a size to one that is timed, which takes some 50 ns.
const TIMED: u32 = 16;
/// So many at the end of a trial are timed, of which the least time counts: whatever interrupts the writer makes it
/// longer, nothing makes it shorter than it is.
const TIMED_OF_TRIAL: u32 = 4;
/// A trial goes round no more slots: what is in so many is in no cache any more.
const MOST_SLOTS: u64 = 256;
/// So many messages of a size to one of a trial.
const TRIALS: u32 = 256;

/// What is known of each size.
#[derive(Debug)]
pub(super) struct Pace {
    /// Messages of a trial.
    trial: u32,
    sizes: [Size; SIZES],
}

#[derive(Clone, Copy, Debug)]
struct Size {
    /// The better way, as far as is known.
    way: Way,
    /// The way that is being tried.
    tried: Option<Way>,
    /// Messages until a trial begins or ends.
    left: u32,
    /// Nanoseconds a message takes each way.
    costs: [Option<f32>; 2],
    /// The least of the trial so far.
    least: f32,
}

impl Pace {
    /// Knows nothing yet of a ring of so many slots.
    pub(super) fn new(slot_count: u64) -> Self {
        let trial = slot_count.min(MOST_SLOTS) as u32 + TIMED_OF_TRIAL;
        Self { trial, sizes: [Size::new(); SIZES] }
    }

    /// Has `store` store a message of `len` bytes, the better way.
    #[inline(always)]
    pub(super) fn store(&mut self, len: usize, store: impl FnOnce(Way)) {
        if len < LEAST_BYTES { store(Way::Cached) } else { self.store_long(len, store) }
    }

    #[inline(never)]
    fn store_long(&mut self, len: usize, store: impl FnOnce(Way)) {
        let size = (len.ilog2() - LEAST_BYTES.ilog2()) as usize;
        let size = &mut self.sizes[size.min(SIZES - 1)];
        let (way, is_timed) = size.next(self.trial, len);
        if !is_timed {
            return store(way);
        }
        let begun = Instant::now();
        store(way);
        size.learn(begun.elapsed().as_nanos() as f32, len);
    }
}

impl Size {
    /// Tries both ways, the one through the caches first.
    const fn new() -> Self {
        Self { way: Way::PastCaches, tried: None, left: 0, costs: [None; 2], least: f32::MAX }
    }

    /// Which way the next message goes, which has `len` bytes, and whether it is timed.
    fn next(&mut self, trial: u32, len: usize) -> (Way, bool) {
        if self.left == 0 {
            self.begin_or_end_trial(trial, len);
        }
        self.left -= 1;
        match self.tried {
            Some(way) => (way, self.left < TIMED_OF_TRIAL),
            None => (self.way, self.left.is_multiple_of(TIMED)),
        }
    }

    fn begin_or_end_trial(&mut self, trial: u32, len: usize) {
        if let Some(way) = self.tried.take() {
            self.costs[way as usize] = Some(self.least);
            if self.costs[other(way) as usize].is_some() {
                self.choose(len);
                self.left = (TRIALS - 1) * trial;
                return;
            }
            self.way = way;
        }
        (self.tried, self.least, self.left) = (Some(other(self.way)), f32::MAX, trial);
    }

    /// The message took so long.
    fn learn(&mut self, nanoseconds: f32, len: usize) {
        if self.tried.is_some() {
            self.least = self.least.min(nanoseconds);
            return;
        }
        let cost = self.costs[self.way as usize].get_or_insert(nanoseconds);
        *cost = if nanoseconds < *cost {
            (*cost + nanoseconds) / 2.0
        } else {
            *cost + (nanoseconds.min(2.0 * *cost) - *cost) / 8.0
        };
        self.choose(len);
    }

    fn choose(&mut self, len: usize) {
        let [Some(cached), Some(past)] = self.costs else { return };
        let lines = if len > MOST_CACHED_BYTES { 0 } else { len / 64 };
        let is_past = past + FROM_MEMORY * (lines as f32) < cached;
        self.way = if is_past { Way::PastCaches } else { Way::Cached };
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
    const TRIAL: u32 = 20;

    /// How many of so many messages go past the caches, where each takes as long as is said of its way and of how many
    /// went the same way before it.
    fn past(size: &mut Size, messages: usize, cost: impl Fn(Way, u32) -> f32) -> usize {
        let (mut last, mut same) = (Way::Cached, 0);
        let ways = (0..messages).map(|_| {
            let (way, is_timed) = size.next(TRIAL, BYTES);
            same = if way == last { same + 1 } else { 0 };
            last = way;
            if is_timed {
                size.learn(cost(way, same), BYTES);
            }
            way
        });
        ways.filter(|way| *way == Way::PastCaches).count()
    }

    /// Where each way always takes as long.
    fn steady(cached: f32, past: f32) -> impl Fn(Way, u32) -> f32 {
        move |way, _| if way == Way::Cached { cached } else { past }
    }

    #[test]
    fn the_better_way_is_taken_whichever_it_is_by_now() {
        let mut size = Size::new();
        assert!(past(&mut size, 10_000, steady(60.0, 100.0)) < 60);
        // A reader comes that is near: it would lose more than the writer gains.
        assert!(past(&mut size, 10_000, steady(260.0, 100.0)) < 60);
        // It moves far away, and comes back.
        assert!(past(&mut size, 10_000, steady(1500.0, 100.0)) > 9_000);
        assert!(past(&mut size, 100_000, steady(260.0, 100.0)) < 10_000);
    }

    #[test]
    fn one_interruption_changes_nothing() {
        let mut size = Size::new();
        past(&mut size, 1_000, steady(100.0, 150.0));
        size.learn(1e9, BYTES);
        assert_eq!(size.next(TRIAL, BYTES).0, Way::Cached);
    }

    #[test]
    fn what_was_stored_past_the_caches_does_not_keep_the_way_through_them_from_being_found() {
        // The first lap has to fetch every line from memory.
        let cost = |way, same: u32| match way {
            Way::Cached if same < 16 => 2000.0,
            Way::Cached => 100.0,
            Way::PastCaches => 100.0,
        };
        let mut size = Size::new();
        assert!(past(&mut size, 10_000, cost) < 100);
        // Nor later, when it was the better one for some time.
        past(&mut size, 10_000, steady(2000.0, 100.0));
        assert_eq!(size.way, Way::PastCaches);
        assert!(past(&mut size, 100_000, cost) < 10_000);
    }
}
