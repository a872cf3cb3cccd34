//! What `top` knows: the last survey, and what came before it.

use std::collections::{HashMap, VecDeque};

use super::latency::{Latencies, Sampler};
use crate::failure::Outcome;
use crate::verbs::rings::{self, Content, Rate, Rates, Ring};

/// Rates that are remembered for the sparkline.
const HISTORY: usize = 240;

/// A ring, its rate now, and its rates before.
pub struct Row {
    pub ring: Ring,
    pub rate: Rate,
    pub latency: Option<Latencies>,
}

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Name,
    Rate,
}

/// Everything that is shown.
pub struct Model {
    names: Vec<String>,
    interval_ms: u64,
    rates: Rates,
    sampler: Option<Sampler>,
    pub rows: Vec<Row>,
    history: HashMap<String, VecDeque<u64>>,
    /// The ring whose readers are shown. By name, because rows move.
    chosen: Option<String>,
    pub order: Order,
    pub paused: bool,
    pub help: bool,
    pub colours: bool,
}

impl Model {
    pub fn new(names: Vec<String>, interval_ms: u64, sampler: Option<Sampler>) -> Self {
        Self {
            names,
            interval_ms,
            rates: Rates::default(),
            sampler,
            rows: Vec::new(),
            history: HashMap::new(),
            chosen: None,
            order: Order::Name,
            paused: false,
            help: false,
            colours: crate::text::colours(),
        }
    }

    /// What there is to say when there is nothing to show.
    pub fn nothing(&self) -> String {
        match self.names.as_slice() {
            [] => "no rings (start one with 'qads demo')".to_owned(),
            names => format!("no ring named {} yet", crate::text::tame(&names.join(", "))),
        }
    }

    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// Looks at all rings again.
    pub fn update(&mut self) -> Outcome {
        let found = rings::survey(&self.names)?;
        self.rates.keep_only(&found);
        self.history.retain(|name, _| found.iter().any(|ring| ring.name == *name));
        let mut rows = Vec::with_capacity(found.len());
        for ring in found {
            let rate = self.rates.of(&ring).unwrap_or_default();
            let history = self.history.entry(ring.name.clone()).or_default();
            history.push_back(rate.messages.round() as u64);
            if history.len() > HISTORY {
                history.pop_front();
            }
            let latency = self.sampler.as_ref().and_then(|sampler| sampler.of(&ring.name));
            rows.push(Row { ring, rate, latency });
        }
        if let Some(sampler) = &self.sampler {
            let arrow = rows.iter().filter(|row| matches!(row.ring.content, Content::Arrow(_)));
            sampler.watch(arrow.map(|row| row.ring.name.clone()).collect());
        }
        self.rows = rows;
        self.sort();
        Ok(())
    }

    fn sort(&mut self) {
        match self.order {
            Order::Name => self.rows.sort_by(|a, b| a.ring.name.cmp(&b.ring.name)),
            Order::Rate => self.rows.sort_by(|a, b| b.rate.messages.total_cmp(&a.rate.messages)),
        }
    }

    pub fn change_order(&mut self) {
        self.order = match self.order {
            Order::Name => Order::Rate,
            Order::Rate => Order::Name,
        };
        self.sort();
    }

    /// Index of the chosen row.
    pub fn chosen(&self) -> Option<usize> {
        let index = self.rows.iter().position(|row| Some(&row.ring.name) == self.chosen.as_ref());
        index.or((!self.rows.is_empty()).then_some(0))
    }

    /// Chooses the row so many below.
    pub fn choose(&mut self, by: isize) {
        if let Some(index) = self.chosen() {
            let index = index.saturating_add_signed(by).min(self.rows.len() - 1);
            self.chosen = Some(self.rows[index].ring.name.clone());
        }
    }

    /// The last rates of a ring, at most `most` of them, the newest last.
    pub fn history(&self, name: &str, most: usize) -> Vec<u64> {
        let history = self.history.get(name).into_iter().flatten();
        let all: Vec<u64> = history.copied().collect();
        all[all.len().saturating_sub(most)..].to_vec()
    }
}
