//! Tables, for a terminal and for documents.

use std::fmt::Write;
use std::time::Duration;

/// A table with a title and remarks.
pub struct Table {
    pub title: String,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    pub remarks: Vec<String>,
}

impl Table {
    /// In columns of one width: the first to the left, the others to the right.
    pub fn text(&self) -> String {
        let cells = |column: usize| {
            self.rows
                .iter()
                .map(move |row| row[column].chars().count())
                .chain([self.head[column].len()])
        };
        let widths: Vec<_> = (0..self.head.len()).map(|c| cells(c).max().unwrap_or(0)).collect();
        let line = |row: &mut dyn Iterator<Item = &str>| {
            let mut line = String::from(" ");
            for (index, (cell, width)) in row.zip(&widths).enumerate() {
                let _ = match index {
                    0 => write!(line, " {cell:<width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            line + "\n"
        };
        let mut text = format!("{}\n", self.title);
        text += &line(&mut self.head.iter().copied());
        for row in &self.rows {
            text += &line(&mut row.iter().map(String::as_str));
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "  ({remark})");
        }
        text
    }

    /// In Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("**{}**\n\n| {} |\n|---|", self.title, self.head.join(" | "));
        text += &"---:|".repeat(self.head.len() - 1);
        text.push('\n');
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        for remark in &self.remarks {
            let _ = write!(text, "\n{remark}.\n");
        }
        text
    }
}

/// Nanoseconds, as many digits as mean something.
pub fn time(ns: f64) -> String {
    match ns {
        ..1_000.0 => format!("{ns:.0} ns"),
        ..10_000.0 => format!("{:.2} us", ns / 1e3),
        ..100_000.0 => format!("{:.1} us", ns / 1e3),
        ..1_000_000.0 => format!("{:.0} us", ns / 1e3),
        ..10_000_000.0 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.1} ms", ns / 1e6),
    }
}

/// Minutes and seconds.
pub fn duration(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// Bytes, in the unit that fits.
pub fn size(bytes: usize) -> String {
    match bytes.checked_ilog2().unwrap_or(0) {
        ..10 => format!("{bytes} B"),
        10..20 => format!("{} KiB", bytes >> 10),
        20.. => format!("{} MiB", bytes >> 20),
    }
}

/// A large number of a unit.
pub fn many(count: f64, unit: &str) -> String {
    match count {
        ..1e3 => format!("{count:.0} {unit}"),
        ..1e6 => format!("{:.1} k{unit}", count / 1e3),
        ..1e9 => format!("{:.2} M{unit}", count / 1e6),
        _ => format!("{:.2} G{unit}", count / 1e9),
    }
}

/// A ratio, or a dash.
pub fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
}
