//! Plots: latency as cumulative distributions, against size, and throughput against readers.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Result;
use crate::plan::bench;
use crate::results::{Results, Series};
use crate::spec::{Impl, Load, Mode};

const PIXELS: (u32, u32) = (1_080, 540);
/// Of these, those at the right for names: whatever is drawn over lines hides some.
const NAMES: u32 = 210;
/// Between two names.
const LINE: i32 = 24;

/// Points are drawn that differ by this factor.
const SEEN: f64 = 1.02;
/// Letters of axes and names, in pixels.
const FONT: (&str, u32) = ("sans-serif", 17);

/// One for each implementation, in their order: no two of those that are drawn together look the same.
const COLORS: [RGBColor; 12] = [
    RGBColor(0, 0, 0),       // raw
    RGBColor(150, 150, 150), // stamped
    RGBColor(121, 85, 72),   // memcpy
    RGBColor(0, 90, 200),    // qadataswap
    RGBColor(110, 175, 255), // qadataswap-read-only
    RGBColor(0, 150, 136),   // qadataswap-in-place
    RGBColor(0, 40, 90),     // qadataswap-lossless
    RGBColor(215, 25, 28),   // iceoryx2
    RGBColor(245, 140, 0),   // shaq
    RGBColor(230, 90, 190),  // socket
    RGBColor(120, 40, 160),  // pipe
    RGBColor(150, 150, 150), // futex
];

type Points = Vec<(f64, f64)>;

/// A plot: its axes, and a line for each implementation.
struct Plot {
    title: String,
    x: &'static str,
    y: &'static str,
    lines: Vec<(Impl, Points)>,
}

/// Draws all for which there are figures into `folder`; the files' names. Those of the others that an earlier run has
/// left there are removed, so that all files are of one run.
pub fn draw(results: &[Results], folder: &Path) -> Result<Vec<String>> {
    let mut plots = Vec::new();
    for (load, name) in [
        (Load::Bytes(40), "cdf-40-bytes"),
        (Load::Bytes(8192), "cdf-8-kib"),
        (Load::Rows(1), "cdf-arrow-1-row"),
    ] {
        for (mode, suffix) in [(Mode::PingPong, "ping-pong"), (Mode::OpenLoop, "open-loop")] {
            plots.push((format!("{name}-{suffix}"), distribution(results, mode, load)));
        }
    }
    plots.push(("latency-against-size".to_owned(), against_size(results)));
    for size in [40, 8 << 10] {
        plots.push((format!("throughput-{size}"), throughput(results, size)));
    }
    let mut names = Vec::new();
    for (name, plot) in plots {
        let file = format!("{name}.svg");
        if !plot.lines.is_empty() {
            plot.draw(&folder.join(&file))?;
            names.push(file);
        } else if let Err(error) = std::fs::remove_file(folder.join(&file))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(format!("cannot remove {file} of an earlier run: {error}").into());
        }
    }
    Ok(names)
}

fn distribution(results: &[Results], mode: Mode, load: Load) -> Plot {
    let points = |series: &Series| -> Points {
        let Some(all) = series.all() else { return Vec::new() };
        let (total, ways) = (all.len() as f64, series.ways());
        let mut seen = 0;
        let mut points: Points = Vec::new();
        for value in all.iter_recorded() {
            seen += value.count_at_value();
            // The last has no tail left to show.
            let tail = 1.0 - seen as f64 / total;
            if tail <= 0.0 {
                break;
            }
            let point = (value.value_iterated_to() as f64 / ways, 1.0 / tail);
            // What nobody can see makes the file no better.
            let is_seen = |last: &(f64, f64)| point.0 > last.0 * SEEN || point.1 > last.1 * SEEN;
            if points.last().is_none_or(is_seen) {
                points.push(point);
            }
        }
        points
    };
    let group = results.iter().filter(|one| one.group.mode == mode && one.group.load == load);
    let series = group.flat_map(|group| &group.series);
    Plot {
        title: bench(mode, load)
            + match load {
                Load::Bytes(40) => ", 40 bytes",
                Load::Bytes(_) => ", 8 KiB",
                Load::Rows(_) => ", 1 row x 8 columns",
            }
            + ": one message in y is slower than x",
        x: "nanoseconds",
        y: "one in",
        lines: lines(series.map(|series| (series.run.implementation, points(series)))),
    }
}

/// Those that have points.
fn lines(all: impl Iterator<Item = (Impl, Points)>) -> Vec<(Impl, Points)> {
    all.filter(|(_, points)| !points.is_empty()).collect()
}

fn against_size(results: &[Results]) -> Plot {
    let points = |implementation| {
        let groups = results.iter().filter(|one| one.group.mode == Mode::PingPong);
        let point = |group: &Results| match group.group.load {
            Load::Bytes(bytes) => Some((bytes as f64, group.of(implementation)?.p50()?)),
            Load::Rows(_) => None,
        };
        (implementation, groups.filter_map(point).collect())
    };
    Plot {
        title: "bytes-ping-pong: median latency one way".to_owned(),
        x: "bytes",
        y: "nanoseconds",
        lines: lines(crate::plan::implementations().iter().copied().map(points)),
    }
}

fn throughput(results: &[Results], size: usize) -> Plot {
    let points = |implementation| {
        let groups = results.iter().filter(|one| {
            one.group.mode == Mode::Throughput && one.group.load == Load::Bytes(size)
        });
        let point = |group: &Results| {
            // Axes are logarithmic: no readers are drawn as half of one.
            let readers = (group.group.readers as f64).max(0.5);
            Some((readers, group.of(implementation)?.rate()?))
        };
        (implementation, groups.filter_map(point).collect())
    };
    Plot {
        title: format!("bytes-throughput: {size} bytes (no reader drawn at 0.5)"),
        x: "readers",
        y: "messages a second",
        lines: lines(crate::plan::implementations().iter().copied().map(points)),
    }
}

impl Plot {
    fn draw(&self, file: &Path) -> Result<()> {
        let root = SVGBackend::new(file, PIXELS).into_drawing_area();
        root.fill(&WHITE)?;
        self.draw_on(&root)?;
        root.present()?;
        Ok(())
    }

    fn draw_on(&self, root: &DrawingArea<SVGBackend, Shift>) -> Result<()> {
        let all = || self.lines.iter().flat_map(|(_, points)| points);
        let range = |pick: fn(&(f64, f64)) -> f64| {
            let least = all().map(pick).min_by(f64::total_cmp).unwrap_or(1.0);
            let most = all().map(pick).max_by(f64::total_cmp).unwrap_or(1.0);
            (least / 1.2..most * 1.2).log_scale()
        };
        let (drawn, names) = root.split_horizontally(PIXELS.0 - NAMES);
        let mut chart = ChartBuilder::on(&drawn)
            .caption(&self.title, ("sans-serif", 21))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d(range(|point| point.0), range(|point| point.1))?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .light_line_style(TRANSPARENT)
            .label_style(FONT)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (row, (implementation, points)) in (0..).zip(&self.lines) {
            let color = COLORS[*implementation as usize].stroke_width(2);
            chart.draw_series(
                LineSeries::new(points.iter().copied(), color).point_size(if points.len() < 10 {
                    3
                } else {
                    0
                }),
            )?;
            let y = 60 + row * LINE;
            names.draw(&PathElement::new([(0, y), (18, y)], color))?;
            // A text is drawn from its upper edge on.
            names.draw(&Text::new(implementation.name(), (26, y - 9), FONT))?;
        }
        Ok(())
    }
}

/// A number with few digits.
fn short(value: f64) -> String {
    match value {
        1e9.. => format!("{}G", value / 1e9),
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    }
}
