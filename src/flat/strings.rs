//! Whether the offsets and bytes of a column of strings are valid, as strictly as arrow-rs has it, in a pass over each.
//!
//! A column is checked in blocks of rows, so that what one check loads is still in the cache for the next. The strings
//! are valid UTF-8, each of them, if and only if their bytes are as a whole and each begins where a character does; the
//! same holds of any run of rows, which is why blocks can be checked alone.

use arrow_array::OffsetSizeTrait;
use arrow_array::types::ByteArrayType;
use arrow_schema::{ArrowError, DataType};

use crate::codec::fault;

/// Rows of a block: offsets and short strings of so many stay in a core's own cache.
const BLOCK_ROWS: usize = 4096;

/// Whether offsets, of which there is one at least, and bytes are those of an array of `T`: bytes, or strings. What is
/// before the first offset or after the last may be anything.
///
/// # Errors
/// If offsets are negative, go backwards or beyond the end; if strings are not UTF-8, each of them.
pub(super) fn check_contents<T: ByteArrayType>(
    offsets: &[T::Offset],
    values: &[u8],
) -> Result<(), ArrowError> {
    match T::DATA_TYPE {
        DataType::Utf8 | DataType::LargeUtf8 => check_blocks(offsets, values, check_text),
        _ => check_blocks(offsets, values, |_, _| Ok(())),
    }
}

/// Whether what is between each two of these offsets is UTF-8; `text` is from the first to the last.
#[inline(always)]
fn check_text<O: OffsetSizeTrait>(offsets: &[O], text: &[u8]) -> Result<(), ArrowError> {
    if text.is_ascii() {
        return Ok(());
    }
    if simdutf8::basic::from_utf8(text).is_err() {
        return Err(fault("strings that are not UTF-8"));
    }
    let first = offsets[0].as_usize();
    // Valid UTF-8 does not end within a character.
    let begins = |offset: &O| text.get(offset.as_usize() - first).is_none_or(begins_character);
    if !offsets.iter().fold(true, |all, offset| all & begins(offset)) {
        return Err(fault("strings that begin within a character"));
    }
    Ok(())
}

/// Checks offsets block by block, and has `check` check each block's offsets with the bytes between them.
#[inline(always)]
fn check_blocks<O: OffsetSizeTrait>(
    offsets: &[O],
    values: &[u8],
    check: impl Fn(&[O], &[u8]) -> Result<(), ArrowError>,
) -> Result<(), ArrowError> {
    if offsets[0] < O::default() {
        return Err(fault("offsets that are negative"));
    }
    let mut rest = offsets;
    loop {
        // The last offset of a block is the first of the next.
        let block = &rest[..rest.len().min(BLOCK_ROWS + 1)];
        if !is_ascending(block) {
            return Err(fault("offsets that go backwards"));
        }
        let (first, last) = (block[0].as_usize(), block[block.len() - 1].as_usize());
        let Some(bytes) = values.get(first..last) else {
            return Err(fault(format!("offsets beyond the {} bytes there are", values.len())));
        };
        check(block, bytes)?;
        rest = &rest[block.len() - 1..];
        if rest.len() == 1 {
            return Ok(());
        }
    }
}

/// Whether no offset is less than the one before. Looks at all of them, so that it is done several at a time.
fn is_ascending<O: OffsetSizeTrait>(offsets: &[O]) -> bool {
    offsets.iter().zip(&offsets[1..]).fold(true, |all, (one, next)| all & (one <= next))
}

/// Whether a byte is not the second or a later one of a character.
fn begins_character(byte: &u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use arrow_array::types::{BinaryType, LargeBinaryType, LargeUtf8Type, Utf8Type};
    use arrow_buffer::{ArrowNativeType, Buffer};
    use arrow_data::ArrayData;

    use super::*;

    /// Strings of one to four bytes a character, and without any.
    const TEXTS: [&str; 8] =
        ["ES1", "", "\u{e9}t\u{e9}", "\u{4e0a}\u{8bc1}", "x", "\u{1f600}", "", "ab\u{20ac}"];
    /// Rows at the borders of blocks, and beside them.
    const ROWS: [usize; 9] = [
        1,
        2,
        BLOCK_ROWS - 1,
        BLOCK_ROWS,
        BLOCK_ROWS + 1,
        2 * BLOCK_ROWS - 1,
        2 * BLOCK_ROWS,
        2 * BLOCK_ROWS + 1,
        2 * BLOCK_ROWS + 77,
    ];

    /// Offsets and bytes of a column.
    #[derive(Clone, Debug)]
    struct Column {
        offsets: Vec<i64>,
        values: Vec<u8>,
    }

    impl Column {
        /// So many rows, between bytes that are no UTF-8.
        fn new(rows: usize, text: impl Fn(usize) -> &'static str) -> Self {
            let mut column = Self { offsets: vec![2], values: vec![0xff, 0x80] };
            for row in 0..rows {
                column.values.extend_from_slice(text(row).as_bytes());
                column.offsets.push(column.values.len() as i64);
            }
            column.values.extend_from_slice(&[0x80, 0xff]);
            column
        }

        fn mixed(rows: usize) -> Self {
            Self::new(rows, |row| TEXTS[row % TEXTS.len()])
        }

        /// What is found of it as a column of `T`, which must be what arrow-rs finds.
        fn is_valid<T: ByteArrayType>(&self) -> bool {
            let of = |offset: &i64| T::Offset::usize_as(*offset as usize);
            let offsets: Vec<T::Offset> = self.offsets.iter().map(of).collect();
            let found = check_contents::<T>(&offsets, &self.values).is_ok();
            let array = ArrayData::builder(T::DATA_TYPE)
                .len(offsets.len() - 1)
                .add_buffer(Buffer::from_slice_ref(&offsets))
                .add_buffer(Buffer::from_slice_ref(&self.values));
            assert_eq!(found, array.build().is_ok(), "{} rows", offsets.len() - 1);
            found
        }

        fn expect(&self, bytes: bool, text: bool, what: &str) {
            let found = [self.is_valid::<BinaryType>(), self.is_valid::<LargeBinaryType>()];
            assert_eq!(found, [bytes; 2], "{what}");
            let found = [self.is_valid::<Utf8Type>(), self.is_valid::<LargeUtf8Type>()];
            assert_eq!(found, [text; 2], "{what}");
        }
    }

    #[test]
    fn columns_of_every_length_about_those_of_blocks_are_valid() {
        Column::new(0, |_| "").expect(true, true, "no rows");
        for rows in ROWS {
            Column::mixed(rows).expect(true, true, "mixed");
            Column::new(rows, |_| "ES").expect(true, true, "ASCII");
            Column::new(rows, |_| "").expect(true, true, "empty");
        }
    }

    #[test]
    fn a_byte_that_is_no_utf_8_is_found_wherever_it_is() {
        for ascii in [false, true] {
            let text = |row| if ascii { "abcd" } else { TEXTS[row % TEXTS.len()] };
            let column = Column::new(2 * BLOCK_ROWS + 77, text);
            for row in ROWS {
                let range = column.offsets[row - 1] as usize..column.offsets[row] as usize;
                for at in range {
                    for byte in [0xff, 0xc3, 0x80, 0xed] {
                        let mut spoilt = column.clone();
                        spoilt.values[at] = byte;
                        // It may happen to be what was there, or to be one character less.
                        let text = std::str::from_utf8(&spoilt.values[2..spoilt.values.len() - 2]);
                        if text.is_err() {
                            spoilt.expect(true, false, &format!("byte {at} is {byte:x}"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn strings_that_divide_a_character_are_found_wherever_they_are() {
        for row in ROWS {
            let mut column = Column::new(2 * BLOCK_ROWS + 78, |_| "\u{4e0a}\u{8bc1}");
            column.expect(true, true, "whole");
            for offset in 1..=5 {
                column.offsets[row] += 1;
                // The text is the same as a whole.
                column.expect(true, offset == 3, &format!("row {row} ends {offset} later"));
            }
        }
    }

    #[test]
    fn offsets_that_are_no_offsets_are_found_wherever_they_are() {
        // The last one, and one in the middle.
        for (row, more) in ROWS.iter().flat_map(|row| [(*row, 0), (*row, 5)]) {
            let column = Column::mixed(row + more);
            for (offset, what) in [
                (column.offsets[row - 1] - 1, "backwards"),
                (column.values.len() as i64 + 1, "beyond the end"),
                (-1, "negative"),
                (i64::from(i32::MIN), "most negative"),
                (i64::from(i32::MAX), "largest"),
            ] {
                let mut spoilt = column.clone();
                spoilt.offsets[row] = offset;
                spoilt.expect(false, false, &format!("offset {row} of {}: {what}", row + more));
            }
            let mut spoilt = column.clone();
            spoilt.offsets[0] = -1;
            spoilt.expect(false, false, "the first offset is negative");
            spoilt.offsets[0] = column.values.len() as i64;
            spoilt.expect(false, false, "the first offset is the largest");
        }
    }
}
