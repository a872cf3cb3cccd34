//! A ring with living readers of all kinds, and what they and those who come later must find after a death.

use std::sync::Arc;

use qadataswap::arrow_array::cast::AsArray;
use qadataswap::arrow_array::types::UInt64Type;
use qadataswap::arrow_array::{Array, RecordBatch, UInt64Array};
use qadataswap::{Lease, QADataSwapError, Reader, ReaderOptions, Result, WaitStrategy, Writer};

use super::act::{self, Act, at_once};
use crate::support::numbered;
use crate::support::threads::must_return;
use crate::support::{Child, Parent, RingName, inspect};

/// What messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Bytes,
    Arrow,
}

/// A message in place.
pub enum Held {
    Bytes(Lease),
    Batch(RecordBatch),
}

impl Held {
    /// Its number, if it is whole.
    pub fn number(&self) -> u64 {
        match self {
            Self::Bytes(lease) => numbered::number_of(lease),
            Self::Batch(batch) => number_of(batch),
        }
    }
}

/// All rows of a batch are its number.
#[track_caller]
fn number_of(batch: &RecordBatch) -> u64 {
    let rows = batch.column(0).as_primitive::<UInt64Type>().values();
    assert!(rows.iter().all(|row| *row == rows[0]), "torn: {rows:?}");
    rows[0]
}

impl Form {
    pub fn named(name: &str) -> Self {
        if name == "Arrow" { Self::Arrow } else { Self::Bytes }
    }

    /// Publishes message `number`, of about `len` bytes.
    pub fn write(self, writer: &Writer, number: u64, len: usize) -> Result<()> {
        match self {
            Self::Bytes => writer.write(&numbered::message(number, len.max(numbered::SHORTEST))),
            Self::Arrow => {
                let rows = UInt64Array::from_value(number, (len / 8).max(1));
                let rows: Arc<dyn Array> = Arc::new(rows);
                writer.write_arrow(&RecordBatch::try_from_iter([("number", rows)])?)
            }
        }
    }

    /// Number of the next message; `None` if there is none.
    #[track_caller]
    pub fn read(self, reader: &Reader, timeout_ms: u64) -> Result<Option<u64>> {
        Ok(match self {
            Self::Bytes => reader.read(timeout_ms)?.map(|message| numbered::number_of(&message)),
            Self::Arrow => reader.read_arrow(timeout_ms)?.map(|batch| number_of(&batch)),
        })
    }

    /// The next message, in place.
    pub fn hold(self, reader: &Reader) -> Option<Held> {
        match self {
            Self::Bytes => reader.lease(0).unwrap().map(Held::Bytes),
            Self::Arrow => reader.read_arrow_zero_copy(0).unwrap().map(Held::Batch),
        }
    }
}

/// A reader, attached before the first message, that checks what it reads.
pub struct Checked {
    reader: Reader,
    form: Form,
    lossless: bool,
    /// Number of the message to come.
    next: u64,
}

impl Checked {
    fn attach(name: &str, form: Form, options: ReaderOptions, lossless: bool) -> Self {
        let reader = options.lossless(lossless).attach(name).unwrap();
        Self { reader, form, lossless, next: 0 }
    }

    /// The next message; `None` if there is none or the ring has ended.
    #[track_caller]
    fn read(&mut self, timeout_ms: u64) -> Option<u64> {
        let number = match self.form.read(&self.reader, timeout_ms) {
            Err(QADataSwapError::Closed) => None,
            result => result.unwrap(),
        }?;
        assert!(number >= self.next, "message {number} instead of {}", self.next);
        assert!(!self.lossless || number == self.next, "message {number} instead of {}", self.next);
        self.next = number + 1;
        let stats = self.reader.stats();
        assert_eq!(stats.consumed + stats.lost, self.next, "{stats:?}");
        assert_eq!(stats.sequence, self.next, "{stats:?}");
        Some(number)
    }

    /// Reads what is there.
    #[track_caller]
    fn drain(&mut self) {
        while self.read(0).is_some() {}
    }

    /// Waits for message `number`, which has been published, and is the next but for what was lost before.
    #[track_caller]
    fn wait_for(&mut self, number: u64) {
        while self.next <= number {
            assert!(self.read(u64::MAX).is_some(), "the ring has ended before message {number}");
        }
        assert_eq!(self.next, number + 1);
    }
}

/// A reader process that sleeps until messages come, and says how many there were when the ring ends.
pub fn follow(parent: Parent, arguments: &[String]) {
    let options = at_once().wait(WaitStrategy::Sleep);
    let mut own = Checked::attach(&arguments[0], Form::named(&arguments[1]), options, false);
    parent.say("ready");
    while own.read(u64::MAX).is_some() {}
    parent.say(own.next);
    parent.hear();
}

/// Where those are that live on.
pub struct Scene {
    ring: RingName,
    form: Form,
    slots: u64,
    lossy: Checked,
    unregistered: Checked,
    lossless: Checked,
    /// A message in place, where there are enough slots.
    held: Option<Held>,
    follower: Child,
    /// Messages after which the follower was told of the end, and left.
    ended: Option<u64>,
    /// Writers so far.
    epoch: u64,
}

impl Scene {
    /// A ring in its second lap, with living readers and without a writer.
    pub fn new(form: Form, slots: u64) -> Self {
        let ring = RingName::new("crash");
        let writer = act::impatient(slots).create(ring.name()).unwrap();
        let attach = |options, lossless| Checked::attach(ring.name(), form, options, lossless);
        let lossy = attach(at_once(), false);
        let unregistered = attach(at_once().register(false), false);
        let lossless = attach(at_once(), true);
        let mut follower = Child::spawn("follow", &[ring.name(), &format!("{form:?}")]);
        assert_eq!(follower.hear(), "ready");
        let (held, ended, epoch) = (None, None, 1);
        let mut scene =
            Self { ring, form, slots, lossy, unregistered, lossless, held, follower, ended, epoch };
        (0..slots).for_each(|number| scene.publish(&writer, number));
        if slots >= 5 {
            let holder = at_once().attach(scene.ring.name()).unwrap();
            assert!(holder.skip().unwrap());
            scene.held = form.hold(&holder);
            assert_eq!(scene.held.as_ref().map(Held::number), Some(1));
        }
        (slots..slots + 2).for_each(|number| scene.publish(&writer, number));
        scene
    }

    /// Publishes message `number`, which must be next, and sees it arrive.
    #[track_caller]
    fn publish(&mut self, writer: &Writer, number: u64) {
        assert_eq!(writer.stats().message_count, number);
        // A writer that refuses, so that nothing but the readers that are here could be in its way.
        self.form.write(writer, number, 8 + number as usize * 53 % 900).unwrap();
        for reader in [&mut self.lossy, &mut self.unregistered, &mut self.lossless] {
            reader.wait_for(number);
        }
        if let Some(held) = &self.held {
            assert_eq!(held.number(), 1);
        }
    }

    fn start(&self, act: Act, point: &str, count: u64) -> Child {
        act::start(act, point, count, self.ring.name(), self.form, self.slots)
    }

    /// A writer that dies.
    #[track_caller]
    pub fn kill_writer(&mut self, act: Act, point: &str, count: u64) {
        if act == Act::Reclaim {
            let mut dead = self.start(Act::Hold, point, 1);
            assert_eq!(dead.hear(), "holding");
            dead.kill();
        }
        if self.ended.is_none() {
            // The follower has been told of everything so far, and wakes only if it is woken.
            inspect::wait_until_asleep(self.follower.pid());
        }
        let child = self.start(act, point, count);
        act::die(child, || {
            if act != Act::WaitForGate {
                self.lossy.drain();
                self.unregistered.drain();
                self.lossless.drain();
            }
        });
        if act != Act::Unlink {
            self.epoch += 1;
        }
        let ends = matches!(act, Act::Close | Act::UnlinkOwn);
        if ends {
            self.lossless.drain();
            let said = self.follower.hear().parse().unwrap();
            assert_eq!(said, self.lossless.next);
            self.ended = Some(said);
        }
    }

    /// A reader that dies, and the writer that was there goes on.
    #[track_caller]
    pub fn kill_reader(&mut self, act: Act, point: &str, count: u64) {
        let writer = act::impatient(self.slots).create(self.ring.name()).unwrap();
        self.epoch += 1;
        self.kill_reader_only(act, point, count);
        let next = writer.stats().message_count;
        (next..next + 3 * self.slots).for_each(|number| self.publish(&writer, number));
    }

    #[track_caller]
    pub fn kill_reader_only(&mut self, act: Act, point: &str, count: u64) {
        act::die(self.start(act, point, count), || {});
    }

    /// Nobody who lives is held up by the death, nor are those who come later.
    #[track_caller]
    pub fn go_on(mut self) {
        let (name, slots) = (self.ring.name().to_owned(), self.slots);
        self.lossless.drain();
        let published = self.lossless.next;
        let writer = must_return("takeover", move || act::impatient(slots).create(&name).unwrap());
        let stats = writer.stats();
        // What the lossless reader was given is all that there was.
        assert_eq!(stats.message_count, published, "{stats:?}");
        assert!(stats.position >= published && stats.epoch > 1, "{stats:?}");
        assert!(stats.epoch <= self.epoch + 1, "{stats:?} after {} writers", self.epoch);
        self.lossless.drain();
        assert_eq!(self.lossless.next, published);
        assert_eq!(writer.slot_count() as u64, slots);

        let mut next = published;
        let mut publish = |scene: &mut Self, count| {
            (next..next + count).for_each(|number| scene.publish(&writer, number));
            next += count;
        };
        publish(&mut self, 3 * slots + 2);
        // Whatever the dead have held: every slot can be had again, and everybody can hold messages again.
        self.held = None;
        publish(&mut self, slots);
        let before = writer.stats();
        publish(&mut self, 2 * slots);
        assert_eq!(writer.stats().lease_skips, before.lease_skips);
        assert_eq!(writer.stats().position, before.position + 2 * slots);
        let last = writer.stats().message_count;
        let mut late = Checked::attach(self.ring.name(), self.form, at_once(), true);
        late.next = last - slots;
        let first = late.reader.stats();
        assert_eq!((first.sequence, first.lag), (last - slots, slots));
        let numbers: Vec<u64> =
            std::iter::from_fn(|| self.form.read(&late.reader, 0).unwrap()).collect();
        assert_eq!(numbers, (last - slots..last).collect::<Vec<_>>());
        drop(late);
        assert_eq!(inspect::objects(self.ring.name()).len(), 2);

        writer.close().unwrap();
        for reader in [&mut self.lossy, &mut self.unregistered, &mut self.lossless] {
            assert_eq!((reader.read(u64::MAX), reader.next), (None, last));
        }
        if self.ended.is_none() {
            // It may have slept on a segment whose writer died before it woke anybody.
            assert_eq!(self.follower.hear(), last.to_string());
        }
        qadataswap::unlink(self.ring.name()).unwrap();
        assert!(inspect::objects(self.ring.name()).is_empty());
        self.follower.say("end");
        self.follower.finish();
    }
}
