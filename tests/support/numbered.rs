//! Messages that carry their own number, and a pattern by which one that is torn, cut short or made up
//! gives itself away: every word depends on the number.

/// Shortest message: the number itself.
pub const SHORTEST: usize = 8;

/// Message `number` of `len` bytes, at least [`SHORTEST`].
pub fn message(number: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut out, number, len);
    out
}

/// [`message`] into memory that is there already.
pub fn fill(out: &mut Vec<u8>, number: u64, len: usize) {
    assert!(len >= SHORTEST);
    out.clear();
    out.extend_from_slice(&number.to_le_bytes());
    let mut index = 1;
    while out.len() < len {
        let left = (len - out.len()).min(8);
        out.extend_from_slice(&word(number, len, index).to_le_bytes()[..left]);
        index += 1;
    }
}

/// The number in `message`, every byte of which must be the one it was made with.
#[track_caller]
pub fn number_of(message: &[u8]) -> u64 {
    let (head, rest) = message.split_at(SHORTEST);
    let number = u64::from_le_bytes(head.try_into().expect("eight bytes"));
    for (index, bytes) in (1..).zip(rest.chunks(8)) {
        let expected = word(number, message.len(), index).to_le_bytes();
        assert_eq!(bytes, &expected[..bytes.len()], "message {number} is torn at word {index}");
    }
    number
}

fn word(number: u64, len: usize, index: u64) -> u64 {
    (number ^ (len as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(index as u32 % 63)
        ^ index
}

/// Numbers without a pattern (xorshift64*), the same for the same seed.
pub struct Random(u64);

impl Random {
    /// A seed that changes from run to run, said on the terminal so that a failure can be repeated
    /// with `QADATASWAP_TEST_SEED`.
    pub fn new() -> Self {
        let given = std::env::var("QADATASWAP_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.expect("after 1970").as_nanos() as u64 ^ u64::from(std::process::id()) << 32
        });
        println!("QADATASWAP_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % limit
    }

    /// Does nothing for a moment of varying length.
    pub fn dawdle(&mut self, longest: u64) {
        for _ in 0..self.below(longest) {
            std::hint::spin_loop();
        }
    }
}
