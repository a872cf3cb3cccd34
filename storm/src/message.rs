//! Messages that say which they are, how long they are, and a checksum over all of it.
//!
//! Every third is a record batch, the others are bytes.

use std::io::Cursor;
use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use qadataswap::arrow_array::cast::AsArray;
use qadataswap::arrow_array::types::UInt64Type;
use qadataswap::arrow_array::{Array, RecordBatch, StringArray, UInt64Array};
use qadataswap::arrow_buffer::{Buffer, OffsetBuffer};

/// Number, length, checksum.
pub const HEAD_BYTES: usize = 24;
/// Longest message of bytes.
pub const MOST_BYTES: usize = 32 << 10;
/// Rows whose words say number, rows and checksum.
const HEAD_ROWS: usize = 3;
/// Bytes of text in each row.
const TEXT: usize = 4;

/// Whether message `number` is a record batch.
pub fn is_arrow(number: u64) -> bool {
    number.is_multiple_of(3)
}

/// Makes messages.
pub struct Maker {
    /// Letters without a pattern.
    letters: Vec<u8>,
    out: Vec<u8>,
}

impl Maker {
    pub fn new(random: &mut fastrand::Rng) -> Self {
        let letters = (0..2 * MOST_BYTES).map(|_| random.u8(b' '..=b'~')).collect();
        Self { letters, out: Vec::new() }
    }

    /// So many letters, other ones for another message.
    fn letters(&self, number: u64, len: usize) -> &[u8] {
        let start = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % MOST_BYTES;
        &self.letters[start..start + len]
    }

    /// Message `number` of `len` bytes, at least [`HEAD_BYTES`].
    pub fn bytes(&mut self, number: u64, len: usize) -> &[u8] {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        for word in [number, len as u64, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(self.letters(number, len - HEAD_BYTES));
        let checksum = checksum([number, len as u64], &[&out[HEAD_BYTES..]]);
        out[16..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        self.out = out;
        &self.out
    }

    /// Message `number` as a record batch whose columns have about `len` bytes.
    pub fn batch(&self, number: u64, len: usize) -> RecordBatch {
        let rows = (len / (8 + TEXT)).max(HEAD_ROWS);
        let text = self.letters(number, rows * TEXT);
        let noise = self.letters(!number, (rows - HEAD_ROWS) * 8);
        let noise = noise.chunks_exact(8).map(word);
        let mut words: Vec<u64> = [number, rows as u64, 0].into_iter().chain(noise).collect();
        words[2] = batch_checksum(&words, text);
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(TEXT, rows));
        let text = StringArray::new(offsets, Buffer::from(text), None);
        let columns: [(&str, Arc<dyn Array>); 2] =
            [("words", Arc::new(UInt64Array::from(words))), ("text", Arc::new(text))];
        RecordBatch::try_from_iter(columns).expect("columns of one length")
    }
}

/// Number of the message with these bytes, of either sort, if they are whole.
pub fn check(bytes: &[u8]) -> Result<u64, String> {
    // How an Arrow IPC stream begins; no number does.
    if bytes.starts_with(&[0xff; 4]) {
        let mut stream =
            StreamReader::try_new(Cursor::new(bytes), None).map_err(|e| e.to_string())?;
        let batch = stream.next().ok_or("a stream without a batch")?.map_err(|e| e.to_string())?;
        return check_batch(&batch);
    }
    if bytes.len() < HEAD_BYTES {
        return Err(format!("{} bytes", bytes.len()));
    }
    let (head, rest) = bytes.split_at(HEAD_BYTES);
    let [number, len, found] = [0, 8, 16].map(|at| word(&head[at..at + 8]));
    if len != bytes.len() as u64 {
        return Err(format!("message {number} of {len} bytes has {}", bytes.len()));
    }
    match checksum([number, len], &[rest]) {
        right if right == found => Ok(number),
        right => Err(format!("message {number} of {len} bytes: checksum {found:x}, not {right:x}")),
    }
}

/// Number of the message that this batch is, if it is whole.
pub fn check_batch(batch: &RecordBatch) -> Result<u64, String> {
    let [words, text] = batch.columns() else { return Err("wrong columns".to_owned()) };
    let words = words.as_primitive_opt::<UInt64Type>().ok_or("no words")?.values();
    let text = text.as_string_opt::<i32>().ok_or("no text")?;
    let [number, rows, found, ..] = words[..] else { return Err("too few rows".to_owned()) };
    if rows != words.len() as u64 {
        return Err(format!("message {number} of {rows} rows has {}", words.len()));
    }
    if !text.iter().all(|text| text.is_some_and(|text| text.len() == TEXT)) {
        return Err(format!("message {number} of {rows} rows: wrong offsets"));
    }
    let (start, end) = (text.offsets()[0] as usize, text.offsets()[words.len()] as usize);
    match batch_checksum(words, &text.values()[start..end]) {
        right if right == found => Ok(number),
        right => Err(format!("message {number} of {rows} rows: checksum {found:x}, not {right:x}")),
    }
}

/// Of the words before and after the place for the checksum, and the text.
fn batch_checksum(words: &[u64], text: &[u8]) -> u64 {
    let noise: Vec<u8> = words[HEAD_ROWS..].iter().flat_map(|word| word.to_le_bytes()).collect();
    checksum([words[0], words[1]], &[&noise, text])
}

fn checksum(head: [u64; 2], parts: &[&[u8]]) -> u64 {
    let mut sum = crc32fast::Hasher::new();
    head.iter().for_each(|word| sum.update(&word.to_le_bytes()));
    parts.iter().for_each(|part| sum.update(part));
    sum.finalize().into()
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}
