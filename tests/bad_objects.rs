//! What has a ring's name and is no ring: of the wrong size, full of other bytes, not even a file.

mod support;

use std::sync::Arc;

use qadataswap::{QADataSwapError, ReaderOptions, Start, WriterOptions};
use support::RingName;
use support::damage::{MESSAGES, Ring, exercise, is_about_the_segment, reader, writer};
use support::raw::{self, Random, Raw};
use support::threads::{Thread, must_return, wait_until};

#[test]
fn a_segment_of_another_size_is_damage() {
    let ring = Ring::new("size", MESSAGES);
    let whole = ring.data.len() as u64;
    let stride = ring.restore().u64(raw::SLOT_STRIDE);
    let shorter = [1, 7, 8, 12, 95, 96, 128, 136, 383, 384, 385, 4095, 4096, 4097];
    let slots =
        [4096 + 24, 4096 + stride, 4096 + stride + 100, whole - stride, whole - 8, whole - 1];
    let longer = [whole + 1, whole + 8, whole + stride, whole + 4096, 1 << 30, 1 << 40];
    let huge = [(1 << 40) + 1, 1 << 41, 1 << 62];
    for size in shorter.into_iter().chain(slots).chain(longer).chain(huge) {
        let raw = ring.restore();
        raw.set_len(size);
        // Huge ones cannot be compared byte by byte, and a sparse file need not be.
        if size <= 2 * whole {
            ring.assert_damaged(&format!("{size} bytes"), &["segment size"]);
        } else {
            for error in [reader(&ring.name).err(), writer(&ring.name).err()] {
                let Some(QADataSwapError::Damaged { field: "segment size", found, .. }) = error
                else {
                    panic!("{size} bytes: {error:?}");
                };
                assert_eq!(found, size);
            }
            assert_eq!(raw.len(), size);
        }
    }
    ring.restore();
    ring.assert_harmless("its own size");
}

#[test]
fn an_empty_object_is_a_ring_never_finished() {
    let ring = Ring::new("empty", MESSAGES);
    ring.restore().set_len(0);
    ring.assert_started_over("zero bytes");
    // So is one that has its size and nothing in it yet.
    let raw = ring.restore();
    raw.set_bytes(0, &vec![0; ring.data.len()]);
    ring.assert_started_over("zeroes");
}

#[test]
fn a_ring_never_finished_can_be_unlinked() {
    let ring = Ring::new("unlink-empty", MESSAGES);
    ring.restore().set_len(0);
    qadataswap::unlink(ring.name.name()).unwrap();
    assert!(!std::fs::exists(ring.name.data_path()).unwrap());
    assert!(!std::fs::exists(ring.name.control_path()).unwrap());
}

#[test]
fn random_bytes_are_not_a_ring_and_can_be_unlinked() {
    let ring = Ring::new("random", MESSAGES);
    let mut random = Random(3);
    for size in [1, 8, 100, 384, 1000, 4096, 5000, 100_000] {
        let what = format!("{size} random bytes");
        std::fs::write(ring.name.data_path(), random.bytes(size)).unwrap();
        ring.assert_damaged(&what, &["segment size", "magic"]);
        qadataswap::unlink(ring.name.name()).unwrap();
        let writer = writer(&ring.name).unwrap();
        ring.assert_works(&what, &writer, reader(&ring.name).unwrap());
    }
}

#[test]
fn random_bytes_behind_a_plausible_start_crash_and_hang_nobody() {
    let ring = Arc::new(Ring::new("plausible", MESSAGES));
    let mut random = Random(4);
    for round in 0..300 {
        // As much of the true header as this, then noise; and the checksum right in every other.
        let kept = [8, 12, 16, 24, 32, 40, 48, 96, 128, 256, 384, 4096][round % 12];
        let raw = ring.restore();
        raw.set_bytes(kept as u64, &random.bytes(ring.data.len() - kept));
        if random.below(2) == 0 {
            raw.fix_checksum();
        }
        let what = format!("round {round}, {kept} bytes kept");
        let ring = ring.clone();
        must_return(&what.clone(), move || exercise(&ring.name, &what));
    }
}

#[test]
fn a_reader_finds_out_that_all_slots_are_overwritten_however_many_there_are() {
    let name = RingName::new("all-slots");
    let writer = WriterOptions::new(1 << 16).slot_capacity(1).create(name.name()).unwrap();
    for _ in 0..1 << 16 {
        writer.write(b"x").unwrap();
    }
    let raw = Raw::data(&name);
    raw.set_bytes(raw::HEADER_BYTES, &vec![0xff; (raw.len() - raw::HEADER_BYTES) as usize]);
    for start in [Start::Oldest, Start::Newest, Start::Next] {
        let options = ReaderOptions::new().attach_timeout_ms(0).start(start);
        let ring = name.name().to_owned();
        let attached = must_return("attaching", move || options.attach(&ring).map(drop));
        assert!(matches!(attached, Err(QADataSwapError::Damaged { .. })), "{start:?}");
    }
}

#[test]
fn a_directory_in_place_of_the_segment_is_an_error() {
    let ring = RingName::new("directory");
    let directory = Directory(ring.data_path());
    std::fs::create_dir(&directory.0).unwrap();
    // A directory's size is a matter of how much is in it.
    for entries in [0, 100] {
        for entry in 0..entries {
            std::fs::write(format!("{}/{entry}", directory.0), b"").unwrap();
        }
        assert_refused_somehow(&ring);
        assert!(matches!(
            qadataswap::unlink(ring.name()),
            Err(QADataSwapError::SystemCall { errno: libc::EISDIR | libc::EINVAL, .. })
        ));
        assert!(std::fs::metadata(&directory.0).unwrap().is_dir());
    }
}

#[test]
fn a_symlink_in_place_of_the_segment_is_not_followed() {
    let real = RingName::new("real");
    let other = writer(&real).unwrap();
    other.write(b"of another ring").unwrap();
    drop(other);
    let ring = RingName::new("symlink");
    for target in [real.data_path(), ring.data_path(), "/dev/shm/no-such-object".to_owned()] {
        std::os::unix::fs::symlink(&target, ring.data_path()).unwrap();
        for error in [reader(&ring).unwrap_err(), writer(&ring).unwrap_err()] {
            assert!(
                matches!(error, QADataSwapError::SystemCall { errno: libc::ELOOP, .. }),
                "{target}: {error:?}"
            );
        }
        assert!(std::fs::symlink_metadata(ring.data_path()).unwrap().is_symlink());
        std::fs::remove_file(ring.data_path()).unwrap();
    }
    assert_eq!(reader(&real).unwrap().read(0).unwrap(), Some(b"of another ring".to_vec()));
}

#[test]
fn a_pipe_in_place_of_the_segment_blocks_nobody() {
    let ring = RingName::new("pipe");
    let path = std::ffi::CString::new(ring.data_path()).unwrap();
    // SAFETY: the path is a NUL-terminated string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let (tell, hear) = std::sync::mpsc::channel();
    let attaching = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            tell.send(Thread::current()).unwrap();
            reader(&ring).map(drop)
        });
        let thread = hear.recv().unwrap();
        wait_until(|| worker.is_finished() || thread.sleeps_in(libc::SYS_openat));
        let blocked = !worker.is_finished();
        // Lets a reader go that waits for somebody to open the other end.
        let options = std::fs::OpenOptions::new().read(true).write(true).open(ring.data_path());
        let error = worker.join().unwrap().unwrap_err();
        drop(options);
        assert!(!blocked, "opening the object waited for somebody to write to the pipe");
        error
    });
    assert!(is_about_the_segment(&attaching), "{attaching:?}");
    // It has no bytes, so to a writer it may count as a ring never finished.
    if let Ok(writer) = writer(&ring) {
        writer.write(b"instead").unwrap();
        assert_eq!(reader(&ring).unwrap().read(0).unwrap().as_deref(), Some(&b"instead"[..]));
    }
}

/// Removes a directory with all that is in it.
struct Directory(String);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn assert_refused_somehow(ring: &RingName) {
    for error in [reader(ring).unwrap_err(), writer(ring).unwrap_err()] {
        assert!(
            matches!(
                error,
                QADataSwapError::Damaged { .. }
                    | QADataSwapError::SystemCall {
                        errno: libc::EISDIR | libc::EINVAL | libc::ENODEV,
                        ..
                    }
            ),
            "{error:?}"
        );
    }
}
