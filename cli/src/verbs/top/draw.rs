//! What `top` shows, drawn from the model.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline, TableState};

use super::model::{Model, Order, Row};
use super::table::{Column, fitted};
use crate::text::{age, bytes, count, grouped, nanoseconds, rate, tame};
use crate::verbs::ls::kind_word;
use crate::verbs::processes::{self, Doing};
use crate::verbs::rings::Health;

/// Rows of the table of rings that are shown before the readers get theirs.
const MOST_RING_ROWS: u16 = 12;
/// Height of the sparkline.
const SPARK_ROWS: u16 = 4;

/// The table of rings. (A standard terminal has 80 columns.)
const RING_COLUMNS: [Column; 9] = [
    Column::new("RING", 8, 0).at_most(32),
    Column::new("WRITER", 6, 1),
    Column::new("PID", 5, 8),
    Column::new("MESSAGES", 9, 2),
    Column::new("BYTES", 10, 5),
    Column::new("LATENCY", 8, 6),
    Column::new("AGE", 5, 4),
    Column::new("POSITION", 9, 7),
    Column::new("READERS", 7, 3),
];
/// The table of a ring's readers.
const READER_COLUMNS: [Column; 9] = [
    Column::new("READER", 8, 0),
    Column::new("PID", 5, 3),
    Column::new("COMMAND", 7, 8),
    Column::new("LAG", 6, 1),
    Column::new("CONSUMED", 9, 6),
    Column::new("LOST", 6, 2),
    Column::new("PROCESS", 7, 5),
    Column::new("LEASES", 6, 7),
    Column::new("", 14, 4),
];

pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let ring_rows = (model.rows.len() as u16).clamp(1, MOST_RING_ROWS) + 1;
    let [title, table, details] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(ring_rows),
        Constraint::Min(0),
    ])
    .areas(frame.area());
    draw_title(frame, title, model);
    if model.rows.is_empty() {
        frame.render_widget(Paragraph::new(model.nothing()), table);
        return;
    }
    draw_rings(frame, table, model);
    if let Some(row) = model.chosen().and_then(|index| model.rows.get(index)) {
        draw_ring(frame, details, model, row);
    }
    if model.help {
        draw_help(frame);
    }
}

/// A style, if colours are wanted. (Bold and the like are no colours.)
fn colour(model: &Model, colour: Color) -> Style {
    if model.colours { Style::new().fg(colour) } else { Style::new() }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let order = match model.order {
        Order::Name => "by name",
        Order::Rate => "by rate",
    };
    let rings = count(model.rows.len() as u64, "ring");
    let paused = if model.paused { "  PAUSED" } else { "" };
    let line = Line::from(vec![
        Span::styled("qads top", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {rings}, {order}, every {} ms{paused}", model.interval_ms())),
        Span::styled("  q quit  ? help", Style::new().add_modifier(Modifier::DIM)),
    ]);
    frame.render_widget(line, area);
}

fn draw_rings(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let rows = model.rows.iter().map(|row| {
        let health = row.ring.health();
        let pid = row.ring.seen.as_ref().ok().map(|seen| seen.writer.process.pid);
        let at_least = if row.rate.has_moved { "" } else { ">" };
        vec![
            Span::raw(tame(&row.ring.name)),
            Span::styled(health.word(), health_style(model, health)),
            Span::raw(pid.map_or("-".to_owned(), |pid| pid.to_string())),
            Span::raw(rate(row.rate.messages)),
            Span::raw(format!("{}/s", bytes(row.rate.bytes))),
            Span::raw(row.latency.map_or("-".to_owned(), |latency| nanoseconds(latency.p50_ns))),
            Span::raw(format!("{at_least}{}", age(row.rate.idle))),
            Span::raw(grouped(row.ring.progress().0)),
            Span::raw(row.ring.reader_count().map_or("?".to_owned(), |count| count.to_string())),
        ]
    });
    let table = fitted(&RING_COLUMNS, rows.collect(), area.width)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(model.chosen());
    frame.render_stateful_widget(table, area, &mut state);
}

fn health_style(model: &Model, health: Health) -> Style {
    match health {
        Health::Alive => colour(model, Color::Green),
        Health::Dead | Health::Denied => colour(model, Color::Yellow),
        Health::Damaged => colour(model, Color::Red),
        Health::Closed | Health::NotReady => Style::new().add_modifier(Modifier::DIM),
    }
}

fn draw_ring(frame: &mut Frame<'_>, area: Rect, model: &Model, row: &Row) {
    let block = Block::bordered().title(format!(" {} ", tame(&row.ring.name)));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let seen = match &row.ring.seen {
        Ok(seen) => seen,
        Err(error) => return frame.render_widget(Paragraph::new(error.to_string()), inside),
    };
    let Some(header) = seen.header else {
        return frame.render_widget(Paragraph::new("not ready yet"), inside);
    };
    let [facts, content, spark, readers] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(SPARK_ROWS),
        Constraint::Min(0),
    ])
    .areas(inside);
    let latency = row.latency.map_or(String::new(), |latency| {
        let (p50, p99) = (nanoseconds(latency.p50_ns), nanoseconds(latency.p99_ns));
        format!("latency p50 {p50}, p99 {p99}  ")
    });
    let blocked = seen.control.as_ref().is_ok_and(|control| control.writer_blocked);
    let waits = if blocked { "THE WRITER WAITS  " } else { "" };
    frame.render_widget(
        Line::raw(format!(
            "{waits}{latency}skips {}  epoch {}  {} slots  {} in memory  state {}",
            grouped(header.lease_skips()),
            seen.writer.epoch,
            grouped(header.slot_count),
            bytes(seen.committed_bytes as f64),
            format!("{:?}", header.phase).to_lowercase(),
        )),
        facts,
    );
    let line = match seen.faults.first() {
        Some(fault) => Line::styled(fault.to_string(), colour(model, Color::Red)),
        None => Line::styled(row.ring.content.line(), Style::new().add_modifier(Modifier::DIM)),
    };
    frame.render_widget(line, content);
    let history = model.history(&row.ring.name, spark.width.into());
    let most = history.iter().copied().max().unwrap_or(0);
    let [label, line] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(spark);
    frame.render_widget(Line::raw(format!("messages per second, up to {}", grouped(most))), label);
    let style = colour(model, Color::Cyan);
    frame.render_widget(Sparkline::default().data(&history).max(most.max(1)).style(style), line);
    draw_readers(frame, readers, model, row);
}

fn draw_readers(frame: &mut Frame<'_>, area: Rect, model: &Model, row: &Row) {
    let Ok(seen) = &row.ring.seen else { return };
    let slowest = seen.slowest_gating().map(|reader| reader.index);
    let mut rows = Vec::new();
    for reader in row.ring.readers() {
        let doing = processes::doing(reader.process.pid);
        let command = processes::command(reader.process.pid).filter(|_| reader.process.is_here);
        let lost = if reader.lost > 0 { colour(model, Color::Yellow) } else { Style::new() };
        let doing_style =
            if doing == Doing::Stopped { colour(model, Color::Red) } else { Style::new() };
        rows.push(vec![
            Span::raw(kind_word(reader.kind)),
            Span::raw(reader.process.pid.to_string()),
            Span::raw(command.unwrap_or_default()),
            Span::raw(grouped(reader.lag)),
            Span::raw(grouped(reader.consumed)),
            Span::styled(grouped(reader.lost), lost),
            Span::styled(doing.word(), doing_style),
            Span::raw(reader.lease_count().to_string()),
            Span::raw(if slowest == Some(reader.index) { "slowest gating" } else { "" }),
        ]);
    }
    if rows.is_empty() {
        let text = match &seen.control {
            Ok(_) => "no registered readers".to_owned(),
            Err(reason) => format!("readers cannot be seen: {reason}"),
        };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    frame.render_widget(fitted(&READER_COLUMNS, rows, area.width), area);
}

fn draw_help(frame: &mut Frame<'_>) {
    let text = "\
up, down, j, k   choose a ring
s                sort by name or by rate
p, space         pause
?                this
q, Esc, Ctrl-C   quit";
    let area = frame.area();
    let (width, height) = (43.min(area.width), 7.min(area.height));
    let middle = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, middle);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" keys ")), middle);
}
