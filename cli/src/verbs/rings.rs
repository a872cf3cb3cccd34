//! A survey of the rings on this machine: what `ls`, `top` and `export` show.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use qadataswap::observe::{
    Header, Inconsistency, MessageKind, Observation, Observer, Phase, ReaderView,
};
use qadataswap::{QADataSwapError, arrow_schema::Schema};

/// A ring as it was found.
#[derive(Debug)]
pub struct Ring {
    pub name: String,
    /// What was seen, or why nothing could be.
    pub seen: Result<Observation, QADataSwapError>,
    /// What its newest message is.
    pub content: Content,
}

/// What a ring has in it, by its newest message.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Nothing,
    Bytes(usize),
    Arrow(Schema),
    /// Why it cannot be told.
    Unknown(String),
}

impl Content {
    /// In a line.
    pub fn line(&self) -> String {
        match self {
            Self::Nothing => "(no message yet)".to_owned(),
            Self::Bytes(length) => format!("bytes ({length})"),
            Self::Unknown(why) => format!("({why})"),
            Self::Arrow(schema) => {
                let fields = schema.fields().iter().map(|field| {
                    let null = if field.is_nullable() { "?" } else { "" };
                    format!("{}: {}{null}", field.name(), field.data_type())
                });
                crate::text::tame(&fields.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// How a writer is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// A writer lives.
    Alive,
    /// Its writer ended it in an orderly way.
    Closed,
    /// Its writer is gone and has not ended it.
    Dead,
    /// It is being made.
    NotReady,
    /// Its header cannot be.
    Damaged,
    /// It may not be looked at.
    Denied,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Closed => "closed",
            Self::Dead => "dead",
            Self::NotReady => "not ready",
            Self::Damaged => "damaged",
            Self::Denied => "denied",
        }
    }
}

impl Ring {
    /// Looks at the ring `name`.
    pub fn look(name: &str) -> Self {
        let mut ring = Self {
            name: name.to_owned(),
            seen: Err(QADataSwapError::InvalidName),
            content: Content::Nothing,
        };
        ring.seen = Observer::open(name).and_then(|observer| {
            let seen = observer.look()?;
            if seen.faults.is_empty() {
                ring.content = content(&observer);
            }
            Ok(seen)
        });
        ring
    }

    pub fn health(&self) -> Health {
        let Ok(seen) = &self.seen else { return Health::Denied };
        let Some(header) = &seen.header else { return Health::NotReady };
        match seen.faults.first() {
            Some(Inconsistency { field: "magic", found: 0, .. }) => Health::NotReady,
            Some(_) => Health::Damaged,
            None if seen.writer.alive => Health::Alive,
            None if header.phase == Phase::Closed => Health::Closed,
            None => Health::Dead,
        }
    }

    /// Readers that live.
    pub fn readers(&self) -> impl Iterator<Item = &ReaderView> {
        let seen = self.seen.as_ref().ok();
        seen.into_iter().flat_map(|seen| &seen.readers).filter(|reader| reader.alive)
    }

    /// How many those are; nothing if they cannot be seen.
    pub fn reader_count(&self) -> Option<usize> {
        let seen = self.seen.as_ref().ok()?;
        seen.control.is_ok().then(|| self.readers().count())
    }

    /// Position and messages so far; zeros if they cannot be told.
    pub fn progress(&self) -> (u64, u64) {
        self.header().map_or((0, 0), |header| (header.published, header.message_count))
    }

    fn header(&self) -> Option<&Header> {
        self.seen.as_ref().ok()?.header.as_ref()
    }

    fn ring_id(&self) -> Option<u64> {
        Some(self.header()?.ring_id)
    }
}

/// Looks at all rings, or at those that are named.
pub fn survey(names: &[String]) -> Result<Vec<Ring>, QADataSwapError> {
    let names = if names.is_empty() { &qadataswap::list()? } else { names };
    let rings = names.iter().map(|name| Ring::look(name));
    // Between the list and the look a ring may have been removed.
    Ok(rings.filter(|ring| !matches!(ring.seen, Err(QADataSwapError::NotFound { .. }))).collect())
}

fn content(observer: &Observer) -> Content {
    match observer.newest() {
        Ok(None) => Content::Nothing,
        Ok(Some(message)) if message.kind == MessageKind::Arrow => match message.batches() {
            Ok(batches) => Content::Arrow(batches.schema.as_ref().clone()),
            Err(error) => Content::Unknown(error.to_string()),
        },
        Ok(Some(message)) => Content::Bytes(message.bytes.len()),
        Err(error) => Content::Unknown(error.to_string()),
    }
}

/// Rates of rings, from one survey to the next.
#[derive(Debug, Default)]
pub struct Rates {
    before: HashMap<String, Before>,
}

#[derive(Clone, Copy, Debug)]
struct Before {
    ring_id: u64,
    messages: u64,
    bytes: u64,
    at: Instant,
    /// When it was last seen to have moved on, or first seen.
    moved: Instant,
    has_moved: bool,
}

/// How a ring has moved on since the last survey.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// Messages per second.
    pub messages: f64,
    /// Bytes of messages per second.
    pub bytes: f64,
    /// How long ago it was last seen to move on (at least, if it was never seen to).
    pub idle: Duration,
    pub has_moved: bool,
}

impl Rates {
    /// The rate of `ring`, if it was there at the last survey too.
    pub fn of(&mut self, ring: &Ring) -> Option<Rate> {
        let ring_id = ring.ring_id()?;
        let (_, messages) = ring.progress();
        let bytes = ring.header()?.message_bytes;
        let now = Instant::now();
        let before =
            self.before.get(&ring.name).copied().filter(|before| before.ring_id == ring_id);
        let moved = before.is_some_and(|before| messages != before.messages);
        let next = Before {
            ring_id,
            messages,
            bytes,
            at: now,
            moved: if moved { now } else { before.map_or(now, |before| before.moved) },
            has_moved: moved || before.is_some_and(|before| before.has_moved),
        };
        self.before.insert(ring.name.clone(), next);
        let before = before?;
        let seconds = now.duration_since(before.at).as_secs_f64().max(1e-9);
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Some(Rate {
            messages: per_second(messages, before.messages),
            bytes: per_second(bytes, before.bytes),
            idle: now.duration_since(next.moved),
            has_moved: next.has_moved,
        })
    }

    /// Forgets rings that are not in this survey.
    pub fn keep_only(&mut self, rings: &[Ring]) {
        self.before.retain(|name, _| rings.iter().any(|ring| ring.name == *name));
    }
}
