//! Several processes on one ring.

mod support;

use qadataswap::{create_reader, create_writer};
use support::{Child, RingName};

#[test]
fn child_process() {
    support::play(&[("echo", |parent, arguments| {
        let reader = create_reader(&arguments[0]).unwrap();
        parent.say("ready");
        let message = reader.read(u64::MAX).unwrap().unwrap();
        parent.say(String::from_utf8(message).unwrap());
    })]);
}

#[test]
fn a_message_reaches_another_process() {
    let ring = RingName::new("echo");
    let writer = create_writer(ring.name(), 4).unwrap();
    let mut reader = Child::spawn("echo", &[ring.name()]);
    assert_eq!(reader.hear(), "ready");
    writer.write(b"hello").unwrap();
    assert_eq!(reader.hear(), "hello");
    reader.finish();
}
