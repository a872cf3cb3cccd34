//! What a reader has to have counted, kept a second time, apart from the library.

use qadataswap::ReaderStats;

use crate::board::Count;

/// Something that must not be: what to count it as, and what to say.
pub type Fault = (Count, String);

/// A reader's place, by the numbers in the messages.
pub struct Ledger {
    /// Number of the first message after the attach.
    first: u64,
    /// Number of the next message.
    next: u64,
    consumed: u64,
    lost: u64,
    /// Whether no gap is allowed that nobody told of.
    lossless: bool,
}

impl Ledger {
    /// For a reader that has just attached.
    pub fn new(stats: &ReaderStats, lossless: bool) -> Self {
        let first = stats.sequence;
        Self { first, next: first, consumed: 0, lost: 0, lossless }
    }

    /// Message `number` was consumed.
    pub fn message(&mut self, number: u64, stats: &ReaderStats) -> Result<(), Fault> {
        if number < self.next {
            return Err(self.fault(Count::OutOfOrder, &format!("message {number}"), stats));
        }
        let gap = number - self.next;
        self.consumed += 1;
        self.next = number + 1;
        self.lost += gap;
        if self.lossless && gap > 0 {
            return Err(self.fault(Count::Uncounted, &format!("{gap} missing"), stats));
        }
        self.check(&format!("message {number}"), stats)
    }

    /// The reader says that `lost` messages are gone.
    pub fn told(&mut self, lost: u64, stats: &ReaderStats) -> Result<(), Fault> {
        self.next += lost;
        self.lost += lost;
        self.check(&format!("told of {lost} lost"), stats)
    }

    /// The ring has ended; `published` is how many messages it had.
    pub fn end(&mut self, published: u64, stats: &ReaderStats) -> Result<(), Fault> {
        if self.lossless && self.next != published {
            return Err(self.fault(Count::Uncounted, &format!("the end at {published}"), stats));
        }
        self.lost += published.saturating_sub(self.next);
        self.next = published;
        self.check(&format!("the end at {published}"), stats)
    }

    /// Whether the reader counts as this does.
    fn check(&self, what: &str, stats: &ReaderStats) -> Result<(), Fault> {
        let counted = (stats.consumed, stats.lost, stats.sequence);
        if counted == (self.consumed, self.lost, self.next)
            && self.first + self.consumed + self.lost == self.next
        {
            return Ok(());
        }
        Err(self.fault(Count::Uncounted, what, stats))
    }

    fn fault(&self, count: Count, what: &str, stats: &ReaderStats) -> Fault {
        let Self { first, next, consumed, lost, .. } = self;
        let own = format!("first {first}, next {next}, consumed {consumed}, lost {lost}");
        (count, format!("{what}; expected: {own}; {stats:?}"))
    }
}
