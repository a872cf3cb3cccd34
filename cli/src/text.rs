//! Text for people: numbers, sizes, times, tables, and colours where they are wanted.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Whether standard output is to be coloured: on a terminal, unless `NO_COLOR` says otherwise.
pub fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !unwanted
}

/// A line on standard error. That it cannot be written there (closed, full) is no reason to stop, let alone to panic.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// How a piece of text is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Plain,
    Bold,
    Dim,
    Good,
    Warning,
    Bad,
}

/// `text` in that look, if colours are wanted.
pub fn painted(text: &str, look: Look, colours: bool) -> String {
    let code = match look {
        _ if !colours => return text.to_owned(),
        Look::Plain => return text.to_owned(),
        Look::Bold => "1",
        Look::Dim => "2",
        Look::Good => "32",
        Look::Warning => "33",
        Look::Bad => "31",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A number with commas.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// So many of a thing, whose plural is regular: `1 row`, `2,000 rows`.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// Bytes in units of 1,024.
pub fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return scaled(value, unit);
        }
        value /= 1024.0;
    }
    scaled(value, "TiB")
}

fn scaled(value: f64, unit: &str) -> String {
    if unit == "B" || value >= 100.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// A rate as a person reads it.
pub fn rate(per_second: f64) -> String {
    match per_second {
        small if small > 0.0 && small < 10.0 => format!("{small:.1}/s"),
        other => format!("{}/s", grouped(other.round() as u64)),
    }
}

/// Nanoseconds in the unit that suits them.
pub fn nanoseconds(ns: u64) -> String {
    let ns_f = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns_f / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns_f / 1e6),
        _ => format!("{:.1} s", ns_f / 1e9),
    }
}

/// An age in the unit that suits it.
pub fn age(age: Duration) -> String {
    match age.as_secs() {
        0 => format!("{} ms", age.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Text of somebody else's making as one line that cannot move the cursor: control characters are escaped.
pub fn tame(text: &str) -> String {
    escaped_by(text, &[], in_hex)
}

/// The same of several lines.
pub fn escaped(text: &str) -> String {
    escaped_by(text, &['\n', '\t'], in_hex)
}

/// The same with other escapes, and without for those of `kept`.
pub fn escaped_by(text: &str, kept: &[char], escape: impl Fn(char) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !kept.contains(&c) {
            out += &escape(c);
        } else {
            out.push(c);
        }
    }
    out
}

/// A name as an argument of a command that is shown to be typed in.
pub fn argument(name: &str) -> String {
    let plain =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | ',' | '+');
    let quoted = if name.chars().all(plain) && !name.is_empty() {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    };
    if name.starts_with('-') { format!("-- {quoted}") } else { quoted }
}

/// A control character as C and Rust have it: `\x1b`.
pub fn in_hex(c: char) -> String {
    format!("\\x{:02x}", u32::from(c))
}

/// Characters that are left of a column that is cut.
const LEAST_LAST: usize = 12;

/// A table whose columns are as wide as they need to be.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<(String, Look)>>,
    /// Columns whose cells are put to the right.
    right: Vec<usize>,
    /// Characters of a line at most; the last column is cut for it.
    most: Option<usize>,
}

impl Table {
    pub fn new(heads: &[&str], right: &[usize]) -> Self {
        let head = heads.iter().map(|head| ((*head).to_owned(), Look::Dim)).collect();
        Self { rows: vec![head], right: right.to_vec(), most: None }
    }

    /// Cuts the last column, so that lines have so many characters at most. (Not below a few: then they wrap.)
    pub fn cut_to(&mut self, most: Option<usize>) {
        self.most = most;
    }

    pub fn row(&mut self, cells: Vec<(String, Look)>) {
        self.rows.push(cells);
    }

    pub fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|(text, _)| text.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let before: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
        let last = self.most.map_or(usize::MAX, |most| most.saturating_sub(before).max(LEAST_LAST));
        for row in &self.rows {
            let mut line = String::new();
            for (column, (text, look)) in row.iter().enumerate() {
                let cut: String;
                let text = if column + 1 == columns && text.chars().count() > last {
                    cut = text.chars().take(last - 1).chain(['…']).collect();
                    &cut
                } else {
                    text
                };
                let padding = " ".repeat(widths[column].saturating_sub(text.chars().count()));
                let text = painted(text, *look, colours);
                let gap = if column == 0 { "" } else { "  " };
                let done = if self.right.contains(&column) {
                    write!(line, "{gap}{padding}{text}")
                } else {
                    write!(line, "{gap}{text}{padding}")
                };
                // Writing to a string does not fail.
                done.map_err(io::Error::other)?;
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A plain cell.
pub fn cell(text: impl fmt::Display) -> (String, Look) {
    (text.to_string(), Look::Plain)
}

/// A size as users write it: `500`, `64K`, `10M`, `2G` (units of 1,024).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match number.char_indices().last() {
        Some((at, 'k')) => (&number[..at], 10),
        Some((at, 'm')) => (&number[..at], 20),
        Some((at, 'g')) => (&number[..at], 30),
        Some((at, 't')) => (&number[..at], 40),
        _ => (number, 0),
    };
    let value: u64 =
        digits.trim().parse().map_err(|_| format!("'{text}' is not a size; write 64M or 2G"))?;
    match value.checked_mul(1 << shift) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(format!("'{text}' is not a size that can be")),
    }
}
