//! What errors say: what happened, with the figures, and what to do.

use qadataswap::{HoldsReason, QADataSwapError};

#[test]
fn every_error_says_what_happened_to_what() {
    use QADataSwapError::*;
    let name = || "ticks".to_owned();
    let said: Vec<(QADataSwapError, &[&str])> = vec![
        (NotFound { name: name() }, &["ticks"]),
        (BufferTooSmall { needed_bytes: 123, available_bytes: 45 }, &["123", "45"]),
        (SizeMismatch { found_bytes: 123, expected_bytes: 45 }, &["123", "45"]),
        (MessageTooLarge { needed_bytes: 123, available_bytes: 45 }, &["123", "45"]),
        (Overrun { lost: 123 }, &["123"]),
        (Evicted { lost: 123 }, &["123"]),
        (WouldBlock { name: name(), pid: 123, behind: 45 }, &["ticks", "123", "45"]),
        (AllSlotsLeased { name: name(), pids: vec![123, 45] }, &["ticks", "123", "45"]),
        (WriterAlive { name: name(), pid: 123 }, &["ticks", "(pid 123)"]),
        (WriterAlive { name: name(), pid: 0 }, &["ticks", "just starting"]),
        (Obstructed { name: name(), pid: 123 }, &["ticks", "process 123 holds"]),
        (Obstructed { name: name(), pid: 0 }, &["ticks", "lslocks"]),
        (TooManyLeases { limit: 123 }, &["123"]),
        (NotOneBatch { found: 123 }, &["123"]),
    ];
    for (error, words) in said {
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(!text.contains("0:"), "{text}");
    }
    for reason in [
        HoldsReason::NotRegistered,
        HoldsReason::NoWriteAccess,
        HoldsReason::NoControlSegment,
        HoldsReason::NoFreeEntry,
        HoldsReason::Disabled,
    ] {
        let text = HoldsUnavailable { name: name(), reason }.to_string();
        assert!(text.contains("ticks") && text.contains(&reason.to_string()), "{text}");
    }
}
