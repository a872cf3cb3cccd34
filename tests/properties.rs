//! Any sequence of what one writer and several readers can do gives what a model made of plain queues
//! gives: the same messages in the same order, and the same counts.

mod support;

use std::collections::VecDeque;
use std::io::Write as _;
use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use qadataswap::{OnOverrun, QADataSwapError, Reader, ReaderOptions, Start, Writer, WriterOptions};
use support::RingName;

/// One thing that somebody does. Readers are named by a number that is taken modulo how many there are.
#[derive(Clone, Debug)]
enum Action {
    Write(usize),
    Reserve { len: usize, used: usize, publish: bool },
    Grow,
    Read(usize, Way),
    Attach(Start, OnOverrun, bool),
    Detach(usize),
    TakeOver,
    TakeOverWithSlots(u64),
}

#[derive(Clone, Debug)]
enum Way {
    Read,
    ReadTo,
    /// With a buffer of this size.
    ReadInto(usize),
    Skip,
}

fn action(slots: Range<u64>, overrun: Vec<OnOverrun>) -> impl Strategy<Value = Action> {
    let start = prop::sample::select(vec![Start::Oldest, Start::Newest, Start::Next]);
    let overrun = prop::sample::select(overrun);
    let way = prop_oneof![
        4 => Just(Way::Read),
        1 => Just(Way::ReadTo),
        2 => (0usize..300).prop_map(Way::ReadInto),
        1 => Just(Way::Skip),
    ];
    let reserve = (0usize..200, 0usize..200, any::<bool>())
        .prop_map(|(len, used, publish)| Action::Reserve { len, used: used.min(len), publish });
    prop_oneof![
        10 => (0usize..200).prop_map(Action::Write),
        4 => reserve,
        1 => Just(Action::Grow),
        16 => (0usize..8, way).prop_map(|(reader, way)| Action::Read(reader, way)),
        2 => (start, overrun, any::<bool>()).prop_map(|(s, o, r)| Action::Attach(s, o, r)),
        1 => (0usize..8).prop_map(Action::Detach),
        1 => Just(Action::TakeOver),
        1 => slots.prop_map(Action::TakeOverWithSlots),
    ]
}

/// Message `position`, as long as it was asked to be.
fn message(position: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (position * 31 + at as u64 * 7 + 1) as u8).collect()
}

/// A segment: what it keeps, and what comes next.
#[derive(Clone)]
struct Segment {
    slots: u64,
    capacity: usize,
    kept: VecDeque<(u64, Vec<u8>)>,
    next: u64,
}

impl Segment {
    /// The next slot is taken away from the message that was in it.
    fn claim(&mut self) {
        while self.kept.front().is_some_and(|(position, _)| position + self.slots <= self.next) {
            self.kept.pop_front();
        }
    }

    fn publish(&mut self, message: Vec<u8>) {
        self.claim();
        self.kept.push_back((self.next, message));
        self.next += 1;
    }

    fn find(&self, position: u64) -> Option<&Vec<u8>> {
        self.kept.iter().find(|(found, _)| *found == position).map(|(_, message)| message)
    }
}

/// A reader and what it should have counted.
struct Attached {
    reader: Reader,
    on_overrun: OnOverrun,
    /// The segment it is in, as far as can be told.
    segment: usize,
    position: u64,
    before: u64,
    consumed: u64,
    lost: u64,
    overruns: u64,
    timeouts: u64,
}

struct World {
    name: RingName,
    writer: Option<Writer>,
    segments: Vec<Segment>,
    readers: Vec<Attached>,
    /// By this handle.
    published: u64,
    rollovers: u64,
    epoch: u64,
}

const CAPACITY: usize = 64;

impl World {
    fn new(slots: u64) -> Self {
        let name = RingName::new("model");
        let first = Segment { slots, capacity: CAPACITY, kept: VecDeque::new(), next: 0 };
        let mut world = Self {
            name,
            writer: None,
            segments: vec![first],
            readers: Vec::new(),
            published: 0,
            rollovers: 0,
            epoch: 0,
        };
        world.take_over(slots);
        world
    }

    fn current(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("there always is one")
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("there always is one")
    }

    /// The ring moves to a segment with these slots, which keeps one free.
    fn roll_over(&mut self, slots: u64, capacity: usize) {
        let old = self.current();
        let oldest = old.next.saturating_sub(old.slots.min(slots - 1));
        let kept = old.kept.iter().filter(|(position, _)| *position >= oldest).cloned().collect();
        let next = old.next;
        self.segments.push(Segment { slots, capacity, kept, next });
        self.rollovers += 1;
    }

    fn make_room(&mut self, len: usize) {
        let Segment { slots, capacity, .. } = *self.current();
        if len > capacity {
            self.roll_over(slots, (2 * capacity).max(len.next_power_of_two()));
        }
    }

    fn take_over(&mut self, slots: u64) {
        self.writer = None;
        let options = WriterOptions::new(slots as usize).slot_capacity(CAPACITY);
        self.writer = Some(options.create(self.name.name()).unwrap());
        (self.published, self.rollovers) = (0, 0);
        self.epoch += 1;
        let Segment { slots: before, capacity, .. } = *self.current();
        if before != slots {
            self.roll_over(slots, capacity);
        }
    }

    fn act(&mut self, action: Action) -> TestCaseResult {
        match action {
            Action::Write(len) => {
                let message = message(self.current().next, len);
                self.writer().write(&message).unwrap();
                self.make_room(len);
                self.current().publish(message);
                self.published += 1;
            }
            Action::Reserve { len, used, publish } => {
                let message = message(self.current().next, used);
                let mut slot = self.writer().reserve(len).unwrap();
                slot.write_all(&message).unwrap();
                if publish {
                    slot.publish().unwrap();
                }
                self.make_room(len);
                self.current().claim();
                if publish {
                    self.current().publish(message);
                    self.published += 1;
                }
            }
            Action::Grow => {
                let len = self.current().capacity + 1;
                // Twice as large each time is soon enough.
                if len < 1 << 14 {
                    return self.act(Action::Write(len));
                }
            }
            Action::Read(index, way) => {
                if !self.readers.is_empty() {
                    let index = index % self.readers.len();
                    self.readers[index].read(&self.segments, way)?;
                }
            }
            Action::Attach(start, on_overrun, register) => {
                self.attach(start, on_overrun, register)?;
            }
            Action::Detach(index) => {
                if !self.readers.is_empty() {
                    self.readers.remove(index % self.readers.len());
                }
            }
            Action::TakeOver => {
                let slots = self.current().slots;
                self.take_over(slots);
            }
            Action::TakeOverWithSlots(slots) => self.take_over(slots),
        }
        self.check()
    }

    fn attach(&mut self, start: Start, on_overrun: OnOverrun, register: bool) -> TestCaseResult {
        if self.readers.len() == 6 {
            return Ok(());
        }
        let options = ReaderOptions::new().attach_timeout_ms(0).start(start);
        let options = options.on_overrun(on_overrun).register(register);
        let reader = options
            .attach(self.name.name())
            .map_err(|error| TestCaseError::fail(format!("attaching: {error}")))?;
        let segment = self.segments.len() - 1;
        let kept = &self.segments[segment].kept;
        let next = self.segments[segment].next;
        let position = match start {
            Start::Oldest => kept.front().map_or(next, |(position, _)| *position),
            Start::Newest => kept.back().map_or(next, |(position, _)| *position),
            Start::Next => next,
        };
        self.readers.push(Attached {
            reader,
            on_overrun,
            segment,
            position,
            before: position,
            consumed: 0,
            lost: 0,
            overruns: 0,
            timeouts: 0,
        });
        Ok(())
    }

    fn check(&mut self) -> TestCaseResult {
        let next = self.current().next;
        let (slots, capacity) = (self.current().slots, self.current().capacity);
        let (published, rollovers, epoch) = (self.published, self.rollovers, self.epoch);
        let writer = self.writer();
        let stats = writer.stats();
        prop_assert_eq!((writer.slot_count() as u64, writer.slot_capacity()), (slots, capacity));
        prop_assert_eq!(
            (stats.published, stats.message_count, stats.position),
            (published, next, next)
        );
        prop_assert_eq!((stats.rollovers, stats.epoch), (rollovers, epoch));
        for attached in &self.readers {
            attached.check(next, self.segments.len() - 1)?;
        }
        Ok(())
    }
}

impl Attached {
    fn check(&self, next: u64, newest: usize) -> TestCaseResult {
        let stats = self.reader.stats();
        let found = (stats.position, stats.consumed, stats.lost, stats.overruns, stats.timeouts);
        prop_assert_eq!(
            found,
            (self.position, self.consumed, self.lost, self.overruns, self.timeouts)
        );
        prop_assert_eq!(stats.position, self.before + stats.consumed + stats.lost);
        if self.segment == newest {
            prop_assert_eq!(stats.lag, next - stats.position);
        }
        Ok(())
    }

    fn read(&mut self, segments: &[Segment], way: Way) -> TestCaseResult {
        // What its segment has no more of, or never had, it looks for in the one that has the name now.
        let home = &segments[self.segment];
        if home.kept.back().is_none_or(|(position, _)| *position < self.position) {
            self.segment = segments.len() - 1;
        }
        let home = &segments[self.segment];
        let exact = home.find(self.position).is_some();
        let lapped = !exact && home.kept.iter().any(|(p, _)| *p > self.position);

        let mut buffer = vec![0; 300];
        let result = match &way {
            Way::Read => self.reader.read(0),
            Way::ReadTo => self.reader.read_to(&mut buffer, 0).map(|read| read.then_some(buffer)),
            Way::ReadInto(size) => {
                let read = self.reader.read_into(&mut buffer[..*size], 0);
                read.map(|len| len.map(|len| buffer[..len].to_vec()))
            }
            Way::Skip => self.reader.skip().map(|skipped| skipped.then(Vec::new)),
        };

        // How far it went before it came to what it gave back.
        let consumed = u64::from(matches!(result, Ok(Some(_))));
        let found = self.reader.stats().position - consumed;
        let lost = found - self.position;
        if lost != 0 {
            // (In a ring of one slot there may be nothing left to go on with.)
            let gone = !exact && self.position < home.next;
            prop_assert!(gone, "passed over {} that was there", self.position);
            self.lost += lost;
            // Once in its segment and once more in the next one, where the ring has moved.
            let overruns = self.reader.stats().overruns - self.overruns;
            prop_assert!((1..=2).contains(&overruns), "{overruns} overruns");
            self.overruns += overruns;
        }
        self.position = found;

        if let Err(QADataSwapError::Overrun { lost: told }) = &result {
            prop_assert_eq!(self.on_overrun, OnOverrun::Error);
            prop_assert_eq!((*told, lost != 0), (lost, true));
            prop_assert!(home.find(found).is_some(), "{found} is overwritten too");
            return Ok(());
        }
        prop_assert!(lost == 0 || self.on_overrun == OnOverrun::Resume, "not told of {lost} lost");
        match result {
            Ok(Some(bytes)) => {
                let expected = home.find(found);
                prop_assert!(expected.is_some(), "{found} is overwritten");
                prop_assert!(matches!(way, Way::Skip) || Some(&bytes) == expected);
                self.position += 1;
                self.consumed += 1;
            }
            Ok(None) => {
                prop_assert!(!exact && !lapped, "missed {}", self.position);
                self.timeouts += 1;
            }
            Err(QADataSwapError::BufferTooSmall { needed_bytes, available_bytes }) => {
                prop_assert_eq!(home.find(found).map(Vec::len), Some(needed_bytes));
                prop_assert!(matches!(way, Way::ReadInto(size) if size == available_bytes));
                prop_assert!(available_bytes < needed_bytes);
            }
            Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
        Ok(())
    }
}

fn play(slots: u64, overrun: &[OnOverrun], actions: Vec<Action>) -> TestCaseResult {
    let mut world = World::new(slots);
    for (register, on_overrun) in [true, false].into_iter().zip(overrun.iter().cycle()) {
        world.attach(Start::Oldest, *on_overrun, register)?;
    }
    for action in actions {
        world.act(action)?;
    }
    // Whatever happened, everybody gets the next message in the end.
    world.act(Action::Write(1))?;
    let last = world.current().next;
    for reader in &mut world.readers {
        while reader.position < last {
            let before = reader.position;
            reader.read(&world.segments, Way::Read)?;
            prop_assert!(reader.position > before, "stuck at {before}");
        }
    }
    Ok(())
}

const BOTH: [OnOverrun; 2] = [OnOverrun::Resume, OnOverrun::Error];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_ring_is_a_bounded_queue_that_every_reader_sees(
        slots in 2u64..6,
        actions in prop::collection::vec(action(2..6, BOTH.to_vec()), 1..120),
    ) {
        play(slots, &BOTH, actions)?;
    }

    // In a ring of one slot a reservation takes the last message away, and nothing is left to go on
    // with. When readers are told of that is left open here.
    #[test]
    fn rings_of_one_slot_are_no_different(
        slots in 1u64..3,
        actions in prop::collection::vec(action(1..4, vec![OnOverrun::Resume]), 1..120),
    ) {
        play(slots, &[OnOverrun::Resume], actions)?;
    }
}
