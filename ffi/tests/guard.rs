//! No panic leaves a function of the interface, and whatever text there is can be told to C.

// A part of the library, tested from inside: nothing that C can do is known to make it panic.
#[allow(dead_code)]
#[path = "../src/status.rs"]
mod status;

use std::ffi::CStr;

use ring::QADataSwapError;

fn last_error() -> String {
    // SAFETY: never NULL, and kept until the next failure.
    let text = unsafe { CStr::from_ptr(status::qads_last_error()) };
    text.to_str().expect("UTF-8").to_owned()
}

#[test]
fn panics_become_errors() {
    assert_eq!(last_error(), "");
    assert_eq!(status::call(|| panic!("plain")), status::QADS_INTERNAL);
    assert_eq!(last_error(), "internal failure: plain");
    let number = 3;
    assert_eq!(status::call(|| panic!("with\0NUL {number}")), status::QADS_INTERNAL);
    assert_eq!(last_error(), "internal failure: with\\0NUL 3");
    assert_eq!(status::reference_call(|| std::panic::panic_any(7)), status::QADS_ERROR);
    assert_eq!(last_error(), "internal failure: of an unknown kind");
    // What succeeds leaves the text as it is.
    assert_eq!(status::call(|| Ok(())), status::QADS_OK);
    assert_eq!(last_error(), "internal failure: of an unknown kind");
}

#[test]
fn a_panic_that_panics_when_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    assert_eq!(status::call(|| std::panic::panic_any(Bomb)), status::QADS_INTERNAL);
}

#[test]
fn nul_in_an_error() {
    let error = QADataSwapError::NotFound { name: "a\0b".to_owned() };
    assert_eq!(status::call(|| Err(error.into())), status::QADS_NOT_FOUND);
    assert!(last_error().contains("'a\\0b'"));
}

#[test]
fn the_six_calls_know_four_codes() {
    let reference = |error: QADataSwapError| status::reference_call(|| Err(error.into()));
    assert_eq!(status::reference_call(|| Ok(())), 0);
    assert_eq!(reference(QADataSwapError::Closed), -1);
    assert_eq!(reference(QADataSwapError::InvalidName), -1);
    assert_eq!(reference(QADataSwapError::Forked), -1);
    assert_eq!(reference(QADataSwapError::ReadTimeout), -2);
    assert_eq!(reference(QADataSwapError::MemoryMapFailed), -3);
    let (needed_bytes, available_bytes) = (2, 1);
    assert_eq!(reference(QADataSwapError::MessageTooLarge { needed_bytes, available_bytes }), -3);
    assert_eq!(reference(QADataSwapError::BufferTooSmall { needed_bytes, available_bytes }), -3);
}
