//! The reader's side: find the next message, copy it, make sure it was not overwritten meanwhile.
//!
//! ```text
//! g = generation(slot of p)                         (Acquire)                        // R1
//!   PUBLISHED(p)             copy, then fence(Acquire), generation still g ?         // R2
//!                              yes: it is the message; p + 1     no: overrun
//!   SKIPPED(p)               p + 1, nothing was lost
//!   position(g) > p          overrun
//!   anything else            not published yet
//! ```

use std::hint::spin_loop;

use super::{Descriptor, Generation, Position, State, slot_of};
#[cfg(feature = "arrow")]
use super::{MessageKind, Note};
use crate::layout::{Slot, SlotTable};
use crate::sync::{Ordering, Point, fence, is_missing, load_acquire, load_at};

/// Where a new reader starts.
///
/// ```
/// use qadataswap::{ReaderOptions, Start, create_writer};
///
/// let name = format!("doc-start-{}", std::process::id());
/// let writer = create_writer(&name, 4)?;
/// for message in [b"1", b"2", b"3"] {
///     writer.write(message)?;
/// }
/// let first = |start| ReaderOptions::new().start(start).attach(&name)?.read(0);
/// assert_eq!(first(Start::Oldest)?.as_deref(), Some(&b"1"[..]));
/// assert_eq!(first(Start::Newest)?.as_deref(), Some(&b"3"[..]));
/// assert_eq!(first(Start::Next)?, None);
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The oldest message still in the ring.
    #[default]
    Oldest,
    /// The newest message in the ring; the next one published if there is none.
    Newest,
    /// The next message published; none that is in the ring already.
    Next,
}

/// A reader's place in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    position: Position,
    /// `position % slot_count`, kept because a division costs more than a comparison.
    index: u64,
    /// Slots of the segment that `index` is for; 0 if it is to be found out.
    slot_count: u64,
    /// Sequence that the message at `position` will have if none is lost.
    sequence: u64,
    /// Positions passed over since the last message.
    skipped: u64,
}

/// What a look at the ring finds.
#[derive(Clone, Copy, Debug)]
pub enum Look<'t> {
    /// A message; it counts only once [`Found::is_intact`] says so after the copy.
    Message(Found<'t>),
    /// Nothing published yet.
    Nothing,
    /// The writer has taken the slot for a later position.
    Lapped,
}

/// A message in its slot, as the slot's head describes it: unchecked input.
#[derive(Clone, Copy, Debug)]
pub struct Found<'t> {
    slot: Slot<'t>,
    slot_index: u64,
    generation: Generation,
    sequence: u64,
    length: u32,
    kind: u32,
}

/// What a checked head says: where the message's bytes are.
#[derive(Clone, Copy, Debug)]
pub struct Message<'t> {
    /// The words that hold the message, and nothing after its last.
    pub words: &'t [crate::sync::AtomicU64],
    /// Index of the first of them in the slot's payload.
    pub first_word: usize,
    /// Length in bytes.
    pub length: usize,
}

impl<'t> Found<'t> {
    /// The position it was found at.
    pub fn position(&self) -> Position {
        self.generation.position()
    }

    /// Index of the slot it was found in.
    pub fn slot_index(&self) -> u64 {
        self.slot_index
    }

    /// The message if its length and start are possible; otherwise the field that is not, and its
    /// value. (Neither means anything unless [`is_intact`](Self::is_intact).)
    #[inline(always)]
    pub fn message(&self) -> Result<Message<'t>, (&'static str, u64)> {
        let first_word = if self.kind == Descriptor::BYTES.word() {
            Descriptor::BYTES.first_word
        } else {
            Descriptor::from_word(self.kind).ok_or(("kind", self.kind.into()))?.first_word
        };
        let length = self.length as usize;
        let words = self
            .slot
            .payload
            .get(first_word..)
            .and_then(|words| words.get(..length.div_ceil(8)))
            .ok_or(("length", u64::from(self.length)))?;
        Ok(Message { words, first_word, length })
    }

    /// What the message is and where it starts, as it is stored (see [`Descriptor`]).
    pub fn kind_word(&self) -> u32 {
        self.kind
    }

    /// The note that comes with an Arrow stream, if one does.
    #[cfg(feature = "arrow")]
    pub fn note(&self) -> Option<Note> {
        self.is_noted().then(|| Note::load(self.slot))?
    }

    /// Whether there is a note.
    #[cfg(feature = "arrow")]
    pub fn is_noted(&self) -> bool {
        let descriptor = Descriptor::from_word(self.kind);
        descriptor.is_some_and(|descriptor| descriptor.kind == MessageKind::NotedStream)
    }

    /// Whether the slot still holds what it held when it was found, so that everything copied from it
    /// since is one message, whole.
    #[inline(always)]
    pub fn is_intact(&self) -> bool {
        fence(Point::R2, Ordering::Acquire); // R2, pairs with W1
        // Relaxed: the fence before it orders it after the copy.
        self.slot.head.generation.load(Ordering::Relaxed) == self.generation.word()
            || is_missing(Point::R2Look)
    }
}

impl Cursor {
    fn at(position: Position, sequence: u64) -> Self {
        Self { position, index: 0, slot_count: 0, sequence, skipped: 0 }
    }

    /// The slot of the cursor's position.
    #[inline(always)]
    fn slot<'t, T: SlotTable>(&mut self, table: &'t T) -> Slot<'t> {
        let slot_count = table.slot_count();
        if self.slot_count != slot_count {
            self.slot_count = slot_count;
            self.index = self.position.index(slot_count);
        }
        table.slot(self.index)
    }

    #[inline(always)]
    fn step(&mut self) {
        self.position = self.position.next();
        self.index = if self.index + 1 < self.slot_count { self.index + 1 } else { 0 };
    }

    /// A cursor for a reader that attaches now, at `floor` at the earliest (which is not after the next
    /// publish); `None` if the writer went round the ring while this looked at it (try again).
    pub fn attach<T: SlotTable>(table: &T, start: Start, floor: Position) -> Option<Self> {
        let (first, first_sequence) = table.origin();
        let first = Position::new(first);
        let published = published(table)?;
        let from = match start {
            Start::Oldest => published.back(table.slot_count(), first),
            Start::Newest => newest(table, first, published).unwrap_or(published),
            Start::Next => published,
        };
        let from = from.max(floor);
        if let Some((position, sequence)) = oldest(table, from, published) {
            return Some(Self::at(position, sequence));
        }
        if published == first {
            return Some(Self::at(first, first_sequence));
        }
        let last = Position::new(published.get() - 1);
        let sequence = match sequence_at(table, last) {
            Some((sequence, state)) => sequence.wrapping_add(u64::from(state == State::Published)),
            None => sequence_of_next(table, published)?,
        };
        Some(Self::at(published, sequence))
    }

    /// Position of the message to consume next.
    #[inline(always)]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Sequence of the message to consume next, if none is lost.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Looks for the message at the cursor; passes over skipped positions.
    #[inline(always)]
    pub fn look<'t, T: SlotTable>(&mut self, table: &'t T) -> Look<'t> {
        loop {
            let slot = self.slot(table);
            let generation = Generation::from_word(load_at(Point::R1, &slot.head.generation)); // R1, pairs with W2
            if generation == Generation::new(self.position, State::Published) {
                return Look::Message(Found {
                    slot,
                    slot_index: self.index,
                    generation,
                    // Relaxed: ordered after the generation by R1 and checked by R2, like the payload.
                    sequence: slot.head.sequence.load(Ordering::Relaxed),
                    length: slot.head.length.load(Ordering::Relaxed),
                    kind: slot.head.kind.load(Ordering::Relaxed),
                });
            }
            if generation.position() > self.position {
                return Look::Lapped;
            }
            if generation != Generation::new(self.position, State::Skipped) {
                return Look::Nothing;
            }
            self.step();
            self.skipped += 1;
        }
    }

    /// Looks at nothing but the generation until there is something to find, or `looks` times: what takes long to be
    /// found is found the sooner the shorter a look is.
    #[inline(always)]
    pub fn watch<T: SlotTable>(&mut self, table: &T, looks: u32) {
        let generation = &self.slot(table).head.generation;
        let least = Generation::new(self.position, State::Published).word();
        for _ in 0..looks {
            // Relaxed: the look that follows is the one that counts.
            if generation.load(Ordering::Relaxed) >= least {
                return;
            }
            spin_loop();
        }
    }

    /// Moves past a message that was found intact. Returns how many messages are missing before it: none,
    /// unless a slot was made to look skipped.
    #[inline(always)]
    pub fn advance(&mut self, found: &Found<'_>) -> u64 {
        let missing = found.sequence.wrapping_sub(self.sequence);
        // There is at most a message for each position; a sequence that says otherwise is damaged.
        let missing = if missing <= self.skipped { missing } else { 0 };
        self.sequence = self.sequence.wrapping_add(missing).wrapping_add(1);
        self.step();
        self.skipped = 0;
        missing
    }

    /// After an overrun: moves to a message half a ring behind the writer, so that the reader has half
    /// a lap to catch up in (at the very oldest it would be lapped again at once). Returns how many
    /// messages were lost; `None` if the writer went round the ring while this looked (try again).
    pub fn resume<T: SlotTable>(&mut self, table: &T) -> Option<u64> {
        let (first, _) = table.origin();
        let published = published(table)?;
        let keep = (table.slot_count() / 2).max(1);
        let target = published.back(keep, Position::new(first)).max(self.position);
        if target == published {
            // Lapped at the very position being written: it can be read once it is published.
            return None;
        }
        let (target, sequence) = match sequence_at(table, target) {
            Some((sequence, _)) => (target, sequence),
            None if published > self.position => (published, sequence_of_next(table, published)?),
            None => return None,
        };
        Some(self.jump(target, sequence))
    }

    /// After an overrun: moves to the oldest message from the cursor on that is still there. Returns how many were
    /// lost; `None` if that cannot be told (try again).
    pub fn resume_at_oldest<T: SlotTable>(&mut self, table: &T) -> Option<u64> {
        let (first, _) = table.origin();
        let published = published(table)?;
        let from = published.back(table.slot_count(), Position::new(first)).max(self.position);
        let (position, sequence) = match oldest(table, from, published) {
            Some(found) => found,
            None if published > self.position => (published, sequence_of_next(table, published)?),
            None => return None,
        };
        Some(self.jump(position, sequence))
    }

    /// Goes on at `position`, which is not before this one's, where the slot says that the message has
    /// number `sequence`. Returns how many messages were lost.
    pub fn jump(&mut self, position: Position, sequence: u64) -> u64 {
        // There is at most a message for each position; a sequence that says otherwise is damaged.
        let most = position.get().saturating_sub(self.position.get()) + self.skipped;
        let lost = sequence.wrapping_sub(self.sequence);
        let lost = if lost <= most && !is_missing(Point::LossInMessages) { lost } else { most };
        *self = Self::at(position, self.sequence.wrapping_add(lost));
        lost
    }
}

/// One past the last position published, if the header says one that there can be: a generation has no room
/// for others, and arithmetic with them would wrap.
fn published<T: SlotTable>(table: &T) -> Option<Position> {
    let published = Position::new(load_acquire(&table.live().published)); // R3, pairs with W3
    let (first, _) = table.origin();
    (Position::new(first) <= published && published < Position::LIMIT).then_some(published)
}

/// The oldest position in `from..next` that still is in its slot, and the sequence there.
pub fn oldest<T: SlotTable>(table: &T, from: Position, next: Position) -> Option<(Position, u64)> {
    (from.get()..next.get())
        .map(Position::new)
        .find_map(|position| Some((position, sequence_at(table, position)?.0)))
}

/// The newest position before `next` that has a message, if it still is in its slot.
fn newest<T: SlotTable>(table: &T, first: Position, next: Position) -> Option<Position> {
    let oldest = next.back(table.slot_count(), first);
    (oldest.get()..next.get())
        .rev()
        .map(Position::new)
        .map_while(|position| Some((position, sequence_at(table, position)?.1)))
        .find_map(|(position, state)| (state == State::Published).then_some(position))
}

/// The sequence stored at a position that was published before, unless it has been overwritten.
fn sequence_at<T: SlotTable>(table: &T, position: Position) -> Option<(u64, State)> {
    let head = slot_of(table, position).head;
    let generation = Generation::from_word(load_at(Point::R1, &head.generation)); // R1, pairs with W2
    let state = generation.state();
    if generation.position() != position || !matches!(state, State::Published | State::Skipped) {
        return None;
    }
    let sequence = head.sequence.load(Ordering::Relaxed);
    fence(Point::R2, Ordering::Acquire); // R2, pairs with W1
    let unchanged = head.generation.load(Ordering::Relaxed) == generation.word();
    (unchanged || is_missing(Point::SequenceLook)).then_some((sequence, state))
}

/// The sequence of the message at `published`, which is being written, or was and not yet announced:
/// in a ring of one slot no message before it is left to tell.
fn sequence_of_next<T: SlotTable>(table: &T, published: Position) -> Option<u64> {
    if let Some((sequence, _)) = sequence_at(table, published) {
        return Some(sequence);
    }
    let head = slot_of(table, published).head;
    let word = load_acquire(&head.generation);
    if Generation::from_word(word) != Generation::new(published, State::Writing) {
        return None;
    }
    // Stored between the publish of a slot and the claim of the next, so while this slot is claimed it
    // does not change.
    let sequence = table.live().message_count.load(Ordering::Relaxed);
    fence(Point::R2, Ordering::Acquire); // R2, pairs with W1
    let unchanged = head.generation.load(Ordering::Relaxed) == word;
    (unchanged || is_missing(Point::NextLook)).then_some(sequence)
}
