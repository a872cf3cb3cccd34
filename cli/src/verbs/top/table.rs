//! Tables that fit into any width: their least important columns go first.

use ratatui::layout::Constraint;
use ratatui::style::{Modifier, Style};
use ratatui::text::Span;
use ratatui::widgets::{Cell, Row, Table};

/// A column: its head, how wide it is at least (so that it does not jump when a number grows) and at most, and how
/// soon it is left out where there is no room for all, the highest first.
pub struct Column {
    pub head: &'static str,
    pub least: u16,
    pub most: u16,
    pub left_out: u8,
}

impl Column {
    pub const fn new(head: &'static str, least: u16, left_out: u8) -> Self {
        Self { head, least, most: u16::MAX, left_out }
    }

    pub const fn at_most(mut self, most: u16) -> Self {
        self.most = most;
        self
    }

    fn width(&self, content: usize) -> u16 {
        let content = u16::try_from(content.max(self.head.len())).unwrap_or(u16::MAX);
        content.max(self.least).min(self.most)
    }
}

/// The table of these columns and rows, in a place that is so wide.
pub fn fitted<'a>(columns: &[Column], rows: Vec<Vec<Span<'a>>>, room: u16) -> Table<'a> {
    let widths: Vec<u16> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            column.width(cells.map(Span::width).max().unwrap_or(0))
        })
        .collect();
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let takes = |kept: &[usize]| -> u32 { kept.iter().map(|at| u32::from(widths[*at]) + 1).sum() };
    while kept.len() > 1 && takes(&kept) > u32::from(room) + 1 {
        let last = kept.iter().copied().max_by_key(|at| columns[*at].left_out);
        kept.retain(|at| Some(*at) != last);
    }
    let head = kept.iter().map(|at| columns[*at].head);
    let head = Row::new(head).style(Style::new().add_modifier(Modifier::DIM));
    let rows = rows.into_iter().map(|row| {
        let cells = row.into_iter().enumerate().filter(|(at, _)| kept.contains(at));
        Row::new(cells.map(|(_, cell)| Cell::from(cell)).collect::<Vec<_>>())
    });
    Table::new(rows, kept.iter().map(|at| Constraint::Length(widths[*at]))).header(head)
}
