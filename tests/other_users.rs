//! Readers that may not write: of another user, or under a file mode that says so.
//!
//! The parts with another user need root and are skipped, saying so, where there is none.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use qadataswap::{
    QADataSwapError, ReaderOptions, WaitStrategy, WriterOptions, create_reader, create_writer,
    unlink,
};
use support::inspect::{self, Mapping};
use support::{Child, Parent, RingName, numbered};

/// The user and group `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn child_process() {
    support::play(&[
        ("reader", read_as_nobody),
        ("refused", be_refused_as_nobody),
        ("register", register_as_nobody),
        ("attach", attach_as_nobody),
        ("create", create_under_a_strict_umask),
        ("chmod", change_modes),
    ]);
}

fn is_root() -> bool {
    // SAFETY: a plain system call without arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: only root can become another user");
    }
    root
}

fn become_nobody() {
    // SAFETY: plain system call; the list is empty.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, 0);
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
}

/// Reads to the end of the ring with the wait strategy it is told.
fn read_as_nobody(parent: Parent, arguments: &[String]) {
    become_nobody();
    let name = &arguments[0];
    let strategy = match arguments[1].as_str() {
        "spin" => WaitStrategy::Spin,
        "sleep" => WaitStrategy::Sleep,
        _ => WaitStrategy::default(),
    };
    let reader = ReaderOptions::new().wait(strategy).attach(name).unwrap();
    assert!(!reader.stats().registered);
    let file = format!("/dev/shm/qads_{name}");
    let mapping = Mapping { permissions: "r--s".to_owned(), file };
    assert_eq!(inspect::data_mappings(name), [mapping]);
    parent.say("ready");
    let mut next = 0;
    loop {
        match reader.read(u64::MAX) {
            Ok(message) => {
                let number = numbered::number_of(&message.unwrap());
                assert!(number >= next);
                next = number + 1;
                let stats = reader.stats();
                assert_eq!(stats.consumed + stats.lost, next);
            }
            Err(QADataSwapError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let stats = reader.stats();
    parent.say(stats.consumed + stats.lost);
}

#[track_caller]
fn denied<T>(result: Result<T, QADataSwapError>, name: &str) {
    match result {
        Err(QADataSwapError::PermissionDenied { name: of, .. }) => assert_eq!(of, name),
        Err(error) => panic!("expected PermissionDenied, got {error:?}"),
        Ok(_) => panic!("expected PermissionDenied"),
    }
}

fn be_refused_as_nobody(_: Parent, arguments: &[String]) {
    become_nobody();
    let [secret, public, dead] = [0, 1, 2].map(|n| arguments[n].as_str());
    // Not even when told to wait: waiting does not help.
    denied(create_reader(secret), secret);
    for name in [secret, public, dead] {
        denied(create_writer(name, 4), name);
        denied(unlink(name), name);
        assert_eq!(inspect::objects(name).len(), 2);
    }
    denied(ReaderOptions::new().writable_mapping(true).attach(public), public);
    assert_eq!(create_reader(public).unwrap().read(0).unwrap().as_deref(), Some(&b"public"[..]));
}

fn register_as_nobody(parent: Parent, arguments: &[String]) {
    become_nobody();
    let options = ReaderOptions::new().wait(WaitStrategy::Sleep);
    let reader = options.attach(&arguments[0]).unwrap();
    assert!(reader.stats().registered);
    assert_eq!(inspect::data_mappings(&arguments[0])[0].permissions, "r--s");
    parent.say("ready");
    assert_eq!(reader.read(u64::MAX).unwrap().as_deref(), Some(&b"wake up"[..]));
}

/// Tries to attach to one ring after the other until it is there.
fn attach_as_nobody(parent: Parent, _: &[String]) {
    become_nobody();
    let options = ReaderOptions::new().attach_timeout_ms(0);
    loop {
        let name = parent.hear();
        parent.say("trying");
        loop {
            match options.attach(&name) {
                Err(QADataSwapError::NotFound { .. } | QADataSwapError::ReadTimeout) => {}
                Err(error) => break parent.say(error),
                Ok(_) => break parent.say("attached"),
            }
        }
    }
}

fn create_under_a_strict_umask(parent: Parent, _: &[String]) {
    // SAFETY: a plain system call.
    unsafe { libc::umask(0o077) };
    loop {
        let name = parent.hear();
        let _writer = WriterOptions::new(4).mode(0o644).create(&name).unwrap();
        parent.say("created");
    }
}

/// A user who is not root meets the file modes of rings of its own.
fn change_modes(_: Parent, arguments: &[String]) {
    // SAFETY: a plain system call without arguments.
    if unsafe { libc::geteuid() } == 0 {
        become_nobody();
    }
    let name = &arguments[0];
    let set_mode = |object: &str, mode| {
        let path = format!("/dev/shm/qads_{name}{object}");
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let writer = create_writer(name, 4).unwrap();
    writer.write(b"readable").unwrap();
    set_mode("", 0o400);
    set_mode(".ctl", 0o400);
    let reader = create_reader(name).unwrap();
    assert!(!reader.stats().registered);
    set_mode("", 0);
    denied(create_reader(name), name);
    // Rights are asked for once: who is attached stays so, on both sides.
    writer.write(b"still").unwrap();
    for message in [&b"readable"[..], b"still"] {
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(message));
    }
    drop(writer);
    denied(create_writer(name, 4), name);
    denied(unlink(name), name);
    set_mode("", 0o600);
    // It cannot write to the control segment, so it makes another.
    assert_eq!(create_writer(name, 4).unwrap().stats().message_count, 2);
    assert!(create_reader(name).unwrap().stats().registered);
}

#[test]
fn file_modes_decide_who_reads_and_who_writes() {
    let ring = RingName::new("chmod");
    Child::spawn("chmod", &[ring.name()]).finish();
}

#[test]
fn another_user_is_not_denied_a_ring_that_is_just_being_made_public() {
    if !is_root() {
        return;
    }
    let (mut writer, mut reader) = (Child::spawn("create", &[]), Child::spawn("attach", &[]));
    for _ in 0..500 {
        let ring = RingName::new("becoming");
        reader.say(ring.name());
        assert_eq!(reader.hear(), "trying");
        writer.say(ring.name());
        assert_eq!(writer.hear(), "created");
        assert_eq!(reader.hear(), "attached");
    }
}

#[test]
fn another_user_reads_a_public_ring_and_counts_exactly() {
    if !is_root() {
        return;
    }
    let ring = RingName::new("public");
    let options = WriterOptions::new(64).slot_capacity(1000).mode(0o644);
    let writer = options.create(ring.name()).unwrap();
    let mut readers: Vec<Child> = ["spin", "sleep", "both"]
        .map(|strategy| Child::spawn("reader", &[ring.name(), strategy]))
        .into();
    for reader in &mut readers {
        assert_eq!(reader.hear(), "ready");
    }
    // Slowly, so that they wait, then at full speed, so that they lose some; then larger slots.
    for number in 0..20_000 {
        if number < 20 {
            inspect::wait_until_asleep(readers[1].pid());
        }
        let len = if number == 10_000 { 5_000 } else { 900 };
        writer.write(&numbered::message(number, len)).unwrap();
    }
    writer.close().unwrap();
    for mut reader in readers {
        assert_eq!(reader.hear(), "20000");
        reader.finish();
    }
}

#[test]
fn another_user_is_denied_a_private_ring_and_may_never_write() {
    if !is_root() {
        return;
    }
    let rings = ["secret", "public", "dead"].map(RingName::new);
    let [secret, public, dead] = &rings;
    let writer = create_writer(secret.name(), 4).unwrap();
    writer.write(b"secret").unwrap();
    let open = WriterOptions::new(4).mode(0o644).create(public.name()).unwrap();
    open.write(b"public").unwrap();
    drop(WriterOptions::new(4).mode(0o644).create(dead.name()).unwrap());
    Child::spawn("refused", &[secret.name(), public.name(), dead.name()]).finish();
    open.write(b"undisturbed").unwrap();
    assert_eq!(create_reader(dead.name()).unwrap().stats().position, 0);
}

#[test]
fn another_user_registers_where_only_the_control_segment_may_be_written() {
    if !is_root() {
        return;
    }
    let ring = RingName::new("control-mode");
    let options = WriterOptions::new(4).mode(0o644).control_mode(0o666);
    let writer = options.create(ring.name()).unwrap();
    let mut reader = Child::spawn("register", &[ring.name()]);
    assert_eq!(reader.hear(), "ready");
    inspect::wait_until_asleep(reader.pid());
    writer.write(b"wake up").unwrap();
    reader.finish();
}

#[test]
fn no_reader_maps_the_data_segment_for_writing() {
    let ring = RingName::new("read-only");
    drop(create_writer(ring.name(), 4).unwrap());
    let reader = create_reader(ring.name()).unwrap();
    assert!(reader.stats().registered);
    let maps = inspect::data_mappings(ring.name());
    assert_eq!(maps.iter().map(|map| map.permissions.as_str()).collect::<Vec<_>>(), ["r--s"]);
    // Nor after it has followed the ring to another segment.
    let writer = create_writer(ring.name(), 8).unwrap();
    writer.write(b"there").unwrap();
    drop(writer);
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"there"[..]));
    let maps = inspect::data_mappings(ring.name());
    assert_eq!(maps.iter().map(|map| map.permissions.as_str()).collect::<Vec<_>>(), ["r--s"]);
}
