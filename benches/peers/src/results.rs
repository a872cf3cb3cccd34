//! What came out: round by round, as medians over rounds, and as the records of `results.json`.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::measure::histogram;
use crate::plan::Group;
use crate::report;
use crate::run::Run;
use crate::spec::{Impl, Load, Mode, Outcome};

/// Fewest samples beyond a percentile for it to be told: of fewer it is a matter of chance, or just the largest.
const BEYOND: u64 = 10;

/// What one run came to.
pub struct Round {
    /// One-way latencies, in nanoseconds times `Series::halves`.
    pub histogram: Option<Histogram<u64>>,
    /// Messages a second: those that the slowest reader got, or without readers those that were sent.
    pub rate: Option<f64>,
    /// Messages lost, as a share of all.
    pub lost: f64,
    pub named: Vec<(String, f64)>,
}

/// All rounds of one thing.
pub struct Series {
    pub run: Run,
    pub rounds: Vec<Round>,
    pub crowded: bool,
}

/// All series of a group.
pub struct Results {
    pub group: Group,
    pub series: Vec<Series>,
}

/// One object of `results.json`: medians over rounds. What makes no sense is absent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    pub bench: String,
    #[serde(rename = "impl")]
    pub implementation: String,
    pub mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_readers: Option<usize>,
    /// Latencies of a round, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msgs_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<f64>,
    /// The load that was measured in turns: of what carries nothing, as the floor, nothing else tells which it was beside.
    pub group: String,
    /// Median over rounds of the ratio to the floor of the same round: the raw lines, or where processes sleep the futex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_share: Option<f64>,
    pub repetitions: usize,
    /// Whether there were more busy processes than cores.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crowded: bool,
    /// Figures in nanoseconds (allocations: how many a call), by name.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub figures: std::collections::BTreeMap<String, f64>,
}

impl Round {
    /// Puts together what the workers of a run said.
    pub fn new(run: &Run, outcomes: &[Outcome]) -> Result<Self> {
        let seen = outcomes.iter().flat_map(|outcome| outcome.latencies.iter().copied());
        let seen: Vec<_> = seen.collect();
        let readers = outcomes.get(1..1 + run.readers).unwrap_or_default();
        let rate = |outcome: &Outcome| outcome.messages as f64 * 1e9 / outcome.elapsed_ns;
        let rate = match run.mode {
            Mode::Throughput if run.readers > 0 => readers.iter().map(rate).min_by(f64::total_cmp),
            Mode::Throughput | Mode::Publish => outcomes.first().map(rate),
            _ => None,
        };
        let share = |reader: &Outcome| {
            let seen: u64 = reader.latencies.iter().map(|(_, count)| count).sum();
            let all = reader.lost + reader.messages + seen;
            reader.lost as f64 / all.max(1) as f64
        };
        Ok(Self {
            histogram: (!seen.is_empty()).then(|| histogram(&seen)).transpose()?,
            rate,
            lost: readers.iter().map(share).max_by(f64::total_cmp).unwrap_or(0.0),
            named: outcomes.iter().flat_map(|outcome| outcome.named.iter().cloned()).collect(),
        })
    }
}

impl Series {
    /// What a recorded latency is divided by: rounds there and back are two ways.
    pub fn ways(&self) -> f64 {
        if matches!(self.run.mode, Mode::PingPong | Mode::Wake) { 2.0 } else { 1.0 }
    }

    fn quantile_of(&self, round: &Round, quantile: f64) -> Option<f64> {
        let histogram = round.histogram.as_ref()?;
        Some(histogram.value_at_quantile(quantile) as f64 / self.ways())
    }

    /// The median over rounds of the median latency, in nanoseconds.
    pub fn p50(&self) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| self.quantile_of(round, 0.5)))
    }

    /// The median over rounds of the largest latency, in nanoseconds.
    pub fn max(&self) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| self.quantile_of(round, 1.0)))
    }

    /// Fewest latencies of a round.
    pub fn samples(&self) -> Option<u64> {
        let of = |round: &Round| Some(round.histogram.as_ref()?.len());
        self.rounds.iter().filter_map(of).min()
    }

    /// The median over rounds of what so many of a thousand samples are at most, in nanoseconds, if every round has
    /// enough beyond it. (Were rounds left out that have not, because they were slow, it would look better than it is.)
    pub fn percentile(&self, per_mille: u64) -> Option<f64> {
        let is_told = self.samples()? * (1_000 - per_mille) >= BEYOND * 1_000;
        let of = |round| self.quantile_of(round, per_mille as f64 / 1e3);
        median(self.rounds.iter().filter_map(of)).filter(|_| is_told)
    }

    /// The median over rounds of the rate.
    pub fn rate(&self) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| round.rate))
    }

    /// The median over rounds of the share lost.
    pub fn lost(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.lost)).unwrap_or(0.0)
    }

    /// Figures by name, medians over rounds.
    pub fn named(&self) -> Vec<(String, f64)> {
        let Some(first) = self.rounds.first() else { return Vec::new() };
        let of = |index: usize| {
            self.rounds.iter().filter_map(move |round| Some(round.named.get(index)?.1))
        };
        (0..first.named.len())
            .filter_map(|index| Some((first.named[index].0.clone(), median(of(index))?)))
            .collect()
    }

    /// A figure by its name.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.named().into_iter().find(|(known, _)| known == name).map(|(_, figure)| figure)
    }

    /// The median over rounds of how many times one figure is another.
    pub fn figure_ratio(&self, name: &str, to: &str) -> Option<f64> {
        let figure = |round: &Round, name| {
            round.named.iter().find(|(known, _)| known == name).map(|(_, figure)| *figure)
        };
        median(
            self.rounds.iter().filter_map(|round| Some(figure(round, name)? / figure(round, to)?)),
        )
    }

    /// The median over rounds of how many times this one's median latency is another's.
    pub fn latency_ratio(&self, to: &Self) -> Option<f64> {
        let pairs = self.rounds.iter().zip(&to.rounds);
        median(pairs.filter_map(|(one, other)| {
            Some(self.quantile_of(one, 0.5)? / to.quantile_of(other, 0.5)?)
        }))
    }

    /// The median over rounds of how many times this one's rate is another's.
    pub fn rate_ratio(&self, to: &Self) -> Option<f64> {
        let pairs = self.rounds.iter().zip(&to.rounds);
        median(pairs.filter_map(|(one, other)| Some(one.rate? / other.rate?)))
    }

    /// All latencies of all rounds.
    pub fn all(&self) -> Option<Histogram<u64>> {
        let mut all: Option<Histogram<u64>> = None;
        for histogram in self.rounds.iter().filter_map(|round| round.histogram.as_ref()) {
            match &mut all {
                // Both have the same digits, and the sum resizes itself.
                Some(all) => all.add(histogram).ok()?,
                None => all = Some(histogram.clone()),
            }
        }
        all
    }
}

impl Results {
    /// The series of an implementation, without idle readers.
    pub fn of(&self, implementation: Impl) -> Option<&Series> {
        self.with_idle(implementation, 0)
    }

    /// The series of an implementation with so many idle readers.
    pub fn with_idle(&self, implementation: Impl, idle: usize) -> Option<&Series> {
        let is_it = |series: &&Series| {
            series.run.implementation == implementation && series.run.idle == idle
        };
        self.series.iter().find(is_it)
    }

    /// What latencies are compared with first.
    pub fn floor(&self) -> Option<&Series> {
        self.of(Impl::Raw).or(self.of(Impl::Futex))
    }

    /// The objects for `results.json`.
    pub fn records(&self) -> Vec<Record> {
        self.series.iter().map(|series| self.record(series)).collect()
    }

    fn record(&self, series: &Series) -> Record {
        let run = &series.run;
        let payload_bytes = match run.load {
            // These carry nothing; allocations are of several sizes.
            _ if matches!(run.implementation, Impl::Raw | Impl::Futex) => None,
            _ if run.mode == Mode::Allocations => None,
            Load::Bytes(size) => Some(size),
            Load::Rows(_) => None,
        };
        let rate = series.rate();
        let p50_ns = series.p50();
        Record {
            bench: self.group.bench(),
            implementation: run.implementation.name(),
            mode: run.mode.name(),
            payload_bytes,
            rows: match run.load {
                Load::Rows(rows) => Some(rows),
                Load::Bytes(_) => None,
            },
            readers: (run.mode != Mode::Allocations).then_some(run.readers),
            idle_readers: (run.mode == Mode::Publish).then_some(run.idle),
            samples: series.samples(),
            p50_ns,
            p99_ns: series.percentile(990),
            p999_ns: series.percentile(999),
            max_ns: series.max(),
            msgs_per_s: rate,
            bytes_per_s: rate.zip(payload_bytes).map(|(rate, bytes)| rate * bytes as f64),
            group: match run.mode {
                Mode::Allocations => "several sizes".to_owned(),
                _ => report::load(self.group.load),
            },
            floor_ratio: self.floor().and_then(|floor| series.latency_ratio(floor)),
            lost_share: p50_ns.or(rate).map(|_| series.lost()),
            repetitions: series.rounds.len(),
            crowded: series.crowded,
            figures: series.named().into_iter().collect(),
        }
    }
}

/// The median, if there is anything.
pub fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<_> = figures.collect();
    (!figures.is_empty()).then(|| qadataswap_bench::median(&mut figures))
}
