//! The targets, what was measured, and whether they are met.

use crate::modes::sides;
use crate::plan::{IDLE, LARGE_ROWS};
use crate::results::Results;
use crate::spec::{Impl, Load, Mode};
use crate::table::{Table, size, time};

/// What of peers there is to be faster than.
const PEERS: [Impl; 4] = [Impl::Iceoryx2, Impl::Shaq, Impl::Socket, Impl::Pipe];

/// Readers that were asked for what all peers have, and readers that were asked for nothing.
const MAPPINGS: [(Impl, &str); 2] =
    [(Impl::Qadataswap, "writable mapping"), (Impl::QadataswapReadOnly, "read-only mapping")];

/// How a figure is compared.
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
    MoreThan(f64),
}

struct Targets<'a> {
    results: &'a [Results],
    rows: Vec<Vec<String>>,
}

/// The table of all targets for which there are figures.
pub fn table(results: &[Results]) -> Table {
    let mut targets = Targets { results, rows: Vec::new() };
    targets.small();
    targets.larger();
    targets.arrow();
    targets.large_batch();
    targets.rest();
    let mut remarks =
        vec!["ratios are medians over repetitions of the ratio within each repetition".to_owned()];
    // Throughput has no targets.
    let mut compared = results.iter().filter(|one| one.group.mode != Mode::Throughput);
    if compared.any(|one| one.series.iter().any(|series| series.crowded)) {
        remarks
            .push("targets are for a core for each busy process, which there was not".to_owned());
    }
    let title = "Targets".to_owned();
    Table { title, head: vec!["", "target", "measured", ""], rows: targets.rows, remarks }
}

impl Targets<'_> {
    fn group(&self, mode: Mode, load: Load) -> Option<&Results> {
        self.results.iter().find(|one| one.group.mode == mode && one.group.load == load)
    }

    fn add(&mut self, what: impl Into<String>, wanted: Wanted, measured: Option<f64>, unit: &str) {
        let Some(measured) = measured else { return };
        let (target, met) = match wanted {
            Wanted::AtMost(most) => (format!("<= {most} {unit}"), measured <= most),
            Wanted::AtLeast(least) => (format!(">= {least} {unit}"), measured >= least),
            Wanted::MoreThan(limit) => (format!("> {limit} {unit}"), measured > limit),
        };
        let met = if met { "met" } else { "NOT MET" };
        // Enough digits that what is rounded cannot look as if it were met.
        self.rows.push(vec![what.into(), target, format!("{measured:.3} {unit}"), met.to_owned()]);
    }

    /// How many times another's median latency is ours.
    fn faster(&self, mode: Mode, load: Load, than: Impl) -> Option<f64> {
        let group = self.group(mode, load)?;
        let ours = [Impl::Qadataswap, Impl::QadataswapInPlace];
        let best = ours.iter().filter_map(|ours| group.of(*ours));
        let ratios = best.filter_map(|ours| group.of(than)?.latency_ratio(ours));
        // In place only counts where a peer is read in place.
        match than {
            Impl::Iceoryx2 | Impl::Shaq => ratios.max_by(f64::total_cmp),
            _ => group.of(than)?.latency_ratio(group.of(Impl::Qadataswap)?),
        }
    }

    fn small(&mut self) {
        let load = Load::Bytes(40);
        for (ours, mapping) in MAPPINGS {
            let floor = self
                .group(Mode::PingPong, load)
                .and_then(|group| group.of(ours)?.latency_ratio(group.of(Impl::Raw)?));
            let what = format!("40 B, ping-pong p50, {mapping}, to the raw two-line floor");
            self.add(what, Wanted::AtMost(1.05), floor, "x");
        }
        let faster = self.faster(Mode::PingPong, load, Impl::Iceoryx2);
        self.add("40 B, ping-pong p50, iceoryx2 to ours", Wanted::AtLeast(4.0), faster, "x");
    }

    fn larger(&mut self) {
        for bytes in [1 << 10, 8 << 10] {
            let load = Load::Bytes(bytes);
            for peer in PEERS {
                let faster = self.faster(Mode::PingPong, load, peer);
                let what = format!("{}, ping-pong p50, {} to ours", size(bytes), peer.name());
                self.add(what, Wanted::MoreThan(1.0), faster, "x");
            }
            let copy = self.group(Mode::PingPong, load).and_then(|group| {
                group.of(Impl::Qadataswap)?.latency_ratio(group.of(Impl::Memcpy)?)
            });
            let what = format!("{}, ping-pong p50, to the same protocol with memcpy", size(bytes));
            self.add(what, Wanted::AtMost(1.1), copy, "x");
        }
    }

    fn arrow(&mut self) {
        let load = Load::Rows(1);
        for (ours, mapping) in MAPPINGS {
            let measured = self.group(Mode::PingPong, load).and_then(|group| {
                let ours = group.of(ours)?;
                Some((ours.latency_ratio(group.of(Impl::Raw)?)?, ours.p50()?))
            });
            let Some((floor, p50)) = measured else { continue };
            let p50 = time(p50);
            let what =
                format!("8 columns x 1 to a decoded batch, p50 ({p50}), {mapping}, to the floor");
            self.add(what, Wanted::AtMost(4.0), Some(floor), "x");
        }
        for (rows, least) in [(1, 10.0), (100, 5.0)] {
            let group = self.group(Mode::PingPong, Load::Rows(rows));
            let faster = group.and_then(|group| {
                group.of(Impl::Iceoryx2)?.latency_ratio(group.of(Impl::Qadataswap)?)
            });
            let what = format!("8 columns x {rows}, iceoryx2 with arrow-ipc to ours");
            self.add(what, Wanted::AtLeast(least), faster, "x");
        }
    }

    fn large_batch(&mut self) {
        let group = self.group(Mode::Sides, Load::Rows(LARGE_ROWS));
        let figure = |name: &str| group.and_then(|group| group.of(Impl::Qadataswap)?.figure(name));
        let to_memcpy = |name: &str| {
            group.and_then(|group| {
                group.of(Impl::Qadataswap)?.figure_ratio(name, sides::memcpy_of(name))
            })
        };
        let (write, read) = (to_memcpy(sides::WRITE), to_memcpy(sides::READ));
        let microseconds = |name| figure(name).map(|ns| ns / 1e3);
        let place = microseconds(sides::READ_UNCHECKED);
        let checked = microseconds(sides::READ_IN_PLACE);
        let load = microseconds(sides::LOAD_STRINGS);
        let besides = checked.zip(load).map(|(checked, load)| checked - load);
        self.add("64 MiB batch, write to memcpy", Wanted::AtMost(1.1), write, "x");
        self.add(
            "64 MiB batch, copied read to memcpy into memory used before",
            Wanted::AtMost(1.15),
            read,
            "x",
        );
        self.add(
            "64 MiB batch, zero-copy read, strings validated",
            Wanted::AtMost(1000.0),
            checked,
            "us",
        );
        self.add(
            "64 MiB batch, zero-copy read, strings validated, less one load of their bytes",
            Wanted::AtMost(1000.0),
            besides,
            "us",
        );
        self.add("64 MiB batch, zero-copy read, unchecked", Wanted::AtMost(1000.0), place, "us");
    }

    fn rest(&mut self) {
        let load = Load::Bytes(40);
        let publish = self.group(Mode::Publish, load);
        let rate = publish
            .and_then(|group| group.of(Impl::Qadataswap)?.rate_ratio(group.of(Impl::Iceoryx2)?));
        let idle = publish.and_then(|group| {
            // How much longer a publish takes beside them.
            group.of(Impl::Qadataswap)?.rate_ratio(group.with_idle(Impl::Qadataswap, IDLE)?)
        });
        let wake = self
            .group(Mode::Wake, load)
            .and_then(|group| group.of(Impl::Qadataswap)?.latency_ratio(group.of(Impl::Futex)?));
        let allocations = self.group(Mode::Allocations, load).and_then(|group| {
            let named = group.of(Impl::Qadataswap)?.named();
            Some(
                named
                    .iter()
                    .filter(|(name, _)| !name.contains("arrow"))
                    .map(|(_, count)| count)
                    .sum(),
            )
        });
        self.add("publish, 40 B, to iceoryx2's rate", Wanted::AtLeast(10.0), rate, "x");
        self.add("publish beside 1,000 idle readers, to alone", Wanted::AtMost(1.1), idle, "x");
        self.add("wake of a sleeping reader, to a bare futex", Wanted::AtMost(1.15), wake, "x");
        self.add(
            "allocations of publishes and copied reads of bytes",
            Wanted::AtMost(0.0),
            allocations,
            "a call",
        );
    }
}
