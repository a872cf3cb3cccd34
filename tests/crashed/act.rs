//! What a child does until it kills itself.

use qadataswap::{OnSlowReader, ReaderOptions, Start, WaitStrategy, WriterOptions, crash};

use super::scene::Form;
use crate::support::{Child, Parent};

/// Largest message of a new ring.
pub const CAPACITY: usize = 2048;

/// What leads to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    // Writers.
    Create,
    TakeOver,
    Publish,
    PassOver,
    Wake,
    WaitForGate,
    Reclaim,
    RollOver,
    Reshape,
    Close,
    UnlinkOwn,
    /// By somebody who is not the writer.
    Unlink,
    // Readers.
    ReadLossless,
    Lease,
    Sleep,
    /// Lives until it is killed from outside: a lossless reader that holds a message.
    Hold,
}

const ALL: [Act; 16] = [
    Act::Create,
    Act::TakeOver,
    Act::Publish,
    Act::PassOver,
    Act::Wake,
    Act::WaitForGate,
    Act::Reclaim,
    Act::RollOver,
    Act::Reshape,
    Act::Close,
    Act::UnlinkOwn,
    Act::Unlink,
    Act::ReadLossless,
    Act::Lease,
    Act::Sleep,
    Act::Hold,
];

/// A child that is to die at `point`, the `count`-th time that it comes there.
pub fn start(act: Act, point: &str, count: u64, ring: &str, form: Form, slots: u64) -> Child {
    let (act, form) = (format!("{act:?}"), format!("{form:?}"));
    let (point, slots) = (format!("{point}:{count}"), slots.to_string());
    Child::spawn("act", &[&act, &point, ring, &form, &slots])
}

/// Whether it has ended, in whatever way.
pub fn has_ended(child: &Child) -> bool {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).expect("not waited for");
    // proc_pid_stat(5): the state follows the name, which is in parentheses.
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

/// Waits for the end of a child, which must be that it has killed itself, and has `meanwhile` go on.
#[track_caller]
pub fn die(child: Child, mut meanwhile: impl FnMut()) {
    while !has_ended(&child) {
        meanwhile();
        std::thread::yield_now();
    }
    // It has ended already, so that this signal is nobody's death; it asks for that of SIGKILL.
    child.kill();
}

/// A writer that gives no reader up, and waits for each for as long as it lives.
pub fn patient(slots: u64) -> WriterOptions {
    options(slots).on_slow_reader(OnSlowReader::Wait { limit_ms: u64::MAX })
}

/// A writer that waits for nobody: only what is in the way of the living refuses its writes.
pub fn impatient(slots: u64) -> WriterOptions {
    options(slots).on_slow_reader(OnSlowReader::Refuse)
}

fn options(slots: u64) -> WriterOptions {
    WriterOptions::new(slots as usize).slot_capacity(CAPACITY)
}

/// The child. If it does not die it ends well, which the parent takes amiss.
pub fn play(parent: Parent, arguments: &[String]) {
    let [act, point, ring, form, slots] = arguments else { panic!("{arguments:?}") };
    let act = ALL.into_iter().find(|known| format!("{known:?}") == *act).expect("an act");
    let form = Form::named(form);
    let slots: u64 = slots.parse().unwrap();
    match act {
        Act::Create | Act::TakeOver => {
            crash::arm(point);
            drop(patient(slots).create(ring).unwrap());
        }
        Act::Reshape => {
            crash::arm(point);
            drop(patient(2 * slots + 1).create(ring).unwrap());
        }
        Act::Unlink => {
            crash::arm(point);
            qadataswap::unlink(ring).unwrap();
        }
        Act::Publish
        | Act::PassOver
        | Act::Wake
        | Act::WaitForGate
        | Act::Reclaim
        | Act::RollOver
        | Act::Close
        | Act::UnlinkOwn => {
            let writer = patient(slots).create(ring).unwrap();
            crash::arm(point);
            let first = writer.stats().message_count;
            if act == Act::RollOver {
                form.write(&writer, first, 2 * CAPACITY).unwrap();
            } else if act == Act::Close {
                writer.close().unwrap();
            } else if act == Act::UnlinkOwn {
                writer.unlink().unwrap();
            } else {
                for number in first..first + 8 * slots {
                    form.write(&writer, number, 8 + number as usize * 37 % 600).unwrap();
                }
            }
        }
        Act::ReadLossless => {
            crash::arm(point);
            let reader = at_once().lossless(true).attach(ring).unwrap();
            while form.read(&reader, 0).unwrap().is_some() {}
        }
        Act::Lease => {
            crash::arm(point);
            let reader = at_once().max_leases(3).attach(ring).unwrap();
            let held: Vec<_> = (0..3).map(|_| form.hold(&reader).expect("a message")).collect();
            drop(reader);
            drop(held);
        }
        Act::Sleep => {
            let options = at_once().start(Start::Next).wait(WaitStrategy::Sleep);
            let reader = options.attach(ring).unwrap();
            crash::arm(point);
            form.read(&reader, u64::MAX).unwrap();
        }
        Act::Hold => {
            let reader = at_once().lossless(true).attach(ring).unwrap();
            let _held = form.hold(&reader).expect("a message");
            parent.say("holding");
            parent.hear();
        }
    }
}

/// A reader of what is there now.
pub fn at_once() -> ReaderOptions {
    ReaderOptions::new().attach_timeout_ms(0)
}
