//! Latencies as HDR histograms, and how they travel from a worker to the report.

use hdrhistogram::Histogram;

use crate::Result;
use crate::spec::{Outcome, Spec};

/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// Latencies of one worker. Recording allocates nothing once the largest has been seen.
pub struct Latencies {
    histogram: Histogram<u64>,
    ns_per_tick: f64,
}

impl Latencies {
    pub fn new(spec: &Spec) -> Self {
        let histogram =
            Histogram::new_with_bounds(1, 100_000_000_000, DIGITS).expect("bounds are fine");
        Self { histogram, ns_per_tick: spec.ns_per_tick }
    }

    /// Records so many ticks.
    #[inline(always)]
    pub fn record(&mut self, ticks: u64) {
        self.histogram.saturating_record((ticks as f64 * self.ns_per_tick) as u64);
    }

    pub fn into_outcome(self) -> Outcome {
        Outcome {
            latencies: self
                .histogram
                .iter_recorded()
                .map(|seen| (seen.value_iterated_to(), seen.count_at_value()))
                .collect(),
            ..Outcome::default()
        }
    }
}

/// The histogram of what a worker recorded.
pub fn histogram(latencies: &[(u64, u64)]) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(DIGITS)?;
    for (value, count) in latencies {
        histogram.record_n(*value, *count)?;
    }
    Ok(histogram)
}
