//! What creators, takeovers and rollovers leave when they are killed half-way, made by hand.

mod support;

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use qadataswap::{
    QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions, create_reader, unlink,
};
use support::{Child, Parent, RingName, inspect};

#[test]
fn child_process() {
    support::play(&[("reader", reader)]);
}

/// Waits for the ring, then says its first message.
fn reader(parent: Parent, arguments: &[String]) {
    parent.say("attaching");
    let reader = ReaderOptions::new().attach_timeout_ms(u64::MAX).attach(&arguments[0]).unwrap();
    let message = reader.read(u64::MAX).unwrap().unwrap();
    parent.say(String::from_utf8(message).unwrap());
}

fn open(ring: &RingName) -> Writer {
    WriterOptions::new(4).slot_capacity(100).create(ring.name()).unwrap()
}

fn attach(ring: &RingName) -> Result<Reader, QADataSwapError> {
    ReaderOptions::new().attach_timeout_ms(0).attach(ring.name())
}

/// The bytes of a whole ring, data and control segment, that held one message.
fn whole_ring() -> (Vec<u8>, Vec<u8>) {
    let ring = RingName::new("whole");
    open(&ring).write(b"from another ring").unwrap();
    (fs::read(ring.data_path()).unwrap(), fs::read(ring.control_path()).unwrap())
}

/// A segment whose magic number, which is stored last, is missing.
fn without_magic(mut segment: Vec<u8>) -> Vec<u8> {
    segment[..8].fill(0);
    segment
}

/// Every state in which a creator can have left its data segment before it was ready.
fn half_made_data() -> Vec<Vec<u8>> {
    let (data, _) = whole_ring();
    vec![vec![], vec![0; data.len()], without_magic(data)]
}

/// Every state of a control segment that does not belong to the ring, and none at all.
fn foreign_control() -> Vec<Option<Vec<u8>>> {
    let (_, control) = whole_ring();
    let (empty, zeroes, short) = (vec![], vec![0; control.len()], control[..100].to_vec());
    let noise = (0..control.len()).map(|byte| (byte * 31 + 7) as u8).collect();
    let found = [empty, zeroes, without_magic(control.clone()), short, noise, control];
    [None].into_iter().chain(found.map(Some)).collect()
}

/// Takes the owner lock on a segment, as a creator does first.
fn lock(file: &File) {
    // SAFETY: `flock` is a plain C struct for which all zeroes is a value.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = libc::F_WRLCK as libc::c_short;
    request.l_len = 1;
    // SAFETY: the descriptor is open and `request` outlives the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &mut request) };
    assert_eq!(done, 0);
}

#[test]
fn ring_is_created_over_every_half_made_one() {
    for (number, data) in half_made_data().into_iter().enumerate() {
        for (other, control) in foreign_control().into_iter().enumerate() {
            let state = format!("data {number}, control {other}");
            let ring = RingName::new("half");
            fs::write(ring.data_path(), &data).unwrap();
            if let Some(control) = control {
                fs::write(ring.control_path(), control).unwrap();
            }
            assert!(matches!(attach(&ring), Err(QADataSwapError::ReadTimeout)), "{state}");

            let writer = open(&ring);
            let stats = writer.stats();
            assert_eq!((stats.epoch, stats.position, stats.message_count), (1, 0, 0), "{state}");
            let reader = attach(&ring).unwrap();
            assert!(reader.stats().registered, "{state}");
            writer.write(b"first").unwrap();
            assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"first"[..]), "{state}");
            assert_eq!(inspect::objects(ring.name()).len(), 2, "{state}");
        }
    }
}

#[test]
fn dead_ring_is_taken_over_whatever_is_left_of_its_control_segment() {
    for (number, control) in foreign_control().into_iter().enumerate() {
        let ring = RingName::new("control");
        open(&ring).write(b"before").unwrap();
        let attached = attach(&ring).unwrap();
        fs::remove_file(ring.control_path()).unwrap();
        if let Some(control) = control {
            fs::write(ring.control_path(), control).unwrap();
        }
        // Nobody may register there, but reading needs no control segment.
        let between = attach(&ring).unwrap();
        assert!(!between.stats().registered, "control {number}");

        let writer = open(&ring);
        assert_eq!((writer.stats().epoch, writer.stats().message_count), (2, 1));
        writer.write(b"after").unwrap();
        let late = attach(&ring).unwrap();
        assert!(late.stats().registered, "control {number}");
        for reader in [attached, between, late] {
            for message in [&b"before"[..], b"after"] {
                assert_eq!(reader.read(u64::MAX).unwrap().as_deref(), Some(message));
            }
        }
    }
}

#[test]
fn reader_whose_control_segment_was_replaced_registers_again() {
    let ring = RingName::new("control-replaced");
    let writer = open(&ring);
    let reader = attach(&ring).unwrap();
    drop(writer);
    fs::remove_file(ring.control_path()).unwrap();
    let writer = open(&ring);
    // It looks when it has been idle for a while; entry 0 of the table says that it has.
    let entry_kind = || fs::read(ring.control_path()).unwrap()[4096];
    while entry_kind() == 0 {
        assert_eq!(reader.read(1).unwrap(), None);
    }
    assert!(reader.stats().registered);
    writer.write(b"seen").unwrap();
    assert_eq!(reader.read(u64::MAX).unwrap().as_deref(), Some(&b"seen"[..]));
}

#[test]
fn segment_left_by_a_rollover_that_was_cut_short_is_removed_by_the_next_writer() {
    let (data, _) = whole_ring();
    for next in [vec![], vec![0; data.len()], without_magic(data.clone()), data] {
        let ring = RingName::new("next");
        open(&ring).write(b"kept").unwrap();
        fs::write(ring.next_path(), &next).unwrap();
        let reader = attach(&ring).unwrap();
        let writer = open(&ring);
        assert_eq!(inspect::objects(ring.name()).len(), 2);
        writer.write(&[b'x'; 1000]).unwrap();
        assert_eq!(writer.stats().rollovers, 1);
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"kept"[..]));
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(&[b'x'; 1000][..]));
        assert_eq!(inspect::objects(ring.name()).len(), 2);
    }
}

#[test]
fn stray_next_segment_does_not_keep_a_ring_from_being_made_or_growing() {
    let (data, _) = whole_ring();
    let ring = RingName::new("next-stray");
    fs::write(ring.next_path(), data).unwrap();
    let writer = open(&ring);
    writer.write(&[b'x'; 1000]).unwrap();
    assert_eq!(attach(&ring).unwrap().read(0).unwrap().unwrap().len(), 1000);
    assert_eq!(inspect::objects(ring.name()).len(), 2);
}

#[test]
fn reader_waits_at_a_half_made_ring_until_a_creator_finishes() {
    for data in half_made_data() {
        let ring = RingName::new("half-wait");
        fs::write(ring.data_path(), data).unwrap();
        let mut reader = Child::spawn("reader", &[ring.name()]);
        assert_eq!(reader.hear(), "attaching");
        inspect::wait_until_asleep(reader.pid());
        let short = ReaderOptions::new().attach_timeout_ms(20).attach(ring.name());
        assert!(matches!(short, Err(QADataSwapError::ReadTimeout)));
        let writer = open(&ring);
        writer.write(b"at last").unwrap();
        assert_eq!(reader.hear(), "at last");
        reader.finish();
    }
}

#[test]
fn creator_that_is_still_at_work_is_left_alone() {
    for data in half_made_data() {
        let ring = RingName::new("half-alive");
        fs::write(ring.data_path(), &data).unwrap();
        let creator = File::options().read(true).write(true).open(ring.data_path()).unwrap();
        lock(&creator);
        let error = WriterOptions::new(4).create(ring.name()).unwrap_err();
        // It has not said yet who it is.
        assert!(matches!(error, QADataSwapError::WriterAlive { pid: 0, .. }), "{error:?}");
        let error = unlink(ring.name()).unwrap_err();
        assert!(matches!(error, QADataSwapError::WriterAlive { pid: 0, .. }), "{error:?}");
        assert!(matches!(attach(&ring), Err(QADataSwapError::ReadTimeout)));
        assert_eq!(fs::read(ring.data_path()).unwrap(), data);
        drop(creator);
        open(&ring).write(b"mine now").unwrap();
        assert_eq!(create_reader(ring.name()).unwrap().read(0).unwrap().unwrap(), b"mine now");
    }
}

#[test]
fn half_made_ring_can_be_unlinked() {
    for data in half_made_data() {
        let ring = RingName::new("half-unlink");
        fs::write(ring.data_path(), data).unwrap();
        fs::write(ring.control_path(), "").unwrap();
        fs::write(ring.next_path(), "").unwrap();
        unlink(ring.name()).unwrap();
        assert_eq!(inspect::objects(ring.name()), [""; 0]);
    }
}
