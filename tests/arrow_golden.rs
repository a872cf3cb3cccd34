//! Streams written by other Arrow implementations, as the Arrow project keeps them for compatibility.

#[path = "arrow/support.rs"]
mod support;

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, SchemaRef};
use support::{assert_same, decode, roundtrip};

/// What arrow-rs' own reader, with compression, makes of it.
fn expected(bytes: &[u8]) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    Ok((schema, reader.collect::<Result<Vec<_>, _>>()?))
}

fn refusal(path: &Path, bytes: &[u8]) -> String {
    match decode(bytes) {
        Ok(_) => panic!("{} was not refused", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn golden_streams() {
    let Some(folder) = support::data("arrow-golden") else {
        return;
    };
    let files = support::files(folder);
    assert!(!files.is_empty());
    for (path, bytes) in files {
        let what = path.display().to_string();
        if what.contains("bigendian") {
            let error = refusal(&path, &bytes);
            assert!(error.contains("big-endian"), "{what}: {error}");
            continue;
        }
        let (schema, batches) = expected(&bytes).expect(&what);
        let ours = roundtrip(&schema, &batches).expect(&what);
        assert_same(&what, &schema, &batches, &ours);
        if what.contains("compression") {
            let error = refusal(&path, &bytes);
            assert!(error.contains("compressed"), "{what}: {error}");
        } else {
            let theirs = decode(&bytes).expect(&what);
            assert_same(&what, &schema, &batches, &theirs);
        }
        let one = support::join(ours).expect(&what);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(one.num_rows(), rows, "{what}");
    }
}
