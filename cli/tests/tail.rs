//! `qads tail`: formats, conditions, columns, bytes, following.

mod support;

use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use qadataswap::arrow_array::types::Int64Type;
use qadataswap::arrow_array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampSecondArray, UnionArray,
};
use qadataswap::arrow_schema::{DataType, Field};
use support::qads::{Running, TestRing, batch, command, qads};

/// The numbers in the CSV that comes of a condition.
fn numbers(ring: &TestRing, condition: &str) -> Vec<i64> {
    let arguments =
        ["tail", ring.name(), "--columns", "n", "--format", "csv", "--where", condition];
    let out = qads(&arguments).ok();
    out.lines().filter(|line| *line != "n").map(|line| line.parse().expect("a number")).collect()
}

#[test]
fn the_newest_messages_as_tables_with_the_schema() {
    let ring = TestRing::with_numbers(0..20);
    let shown = qads(&["tail", "-n", "2", ring.name()]).ok();
    assert!(shown.starts_with("ts: Timestamp(ns, \"UTC\"), n: Int64"), "{shown}");
    assert_eq!(shown.matches("message ").count(), 2, "{shown}");
    assert!(shown.contains("message 18, 2 rows") && shown.contains("message 19, 2 rows"));
    assert!(shown.contains("| 1970-01-01T00:00:00.020Z | 20 | 5.0   | name 20 |"), "{shown}");
    assert!(shown.contains("null"), "{shown}");
    // More than there are.
    assert_eq!(qads(&["tail", "-n", "500", ring.name()]).ok().matches("message ").count(), 20);
    assert_eq!(qads(&["tail", "-n", "0", ring.name()]).ok(), "");
}

#[test]
fn columns_and_rows_can_be_chosen() {
    let ring = TestRing::with_numbers(0..10);
    assert_eq!(numbers(&ring, "price > 2"), [9, 9, 10]);
    assert_eq!(numbers(&ring, "n >= 3 and n < 4.5"), [3, 3, 4, 4]);
    assert_eq!(numbers(&ring, "n = 0 or (n > 9 and not n = 11)"), [0, 10]);
    assert_eq!(numbers(&ring, "name = 'name 4'"), [4, 4]);
    assert_eq!(numbers(&ring, "name is null and n != 3 and n < 7"), [0, 6, 6]);
    assert_eq!(numbers(&ring, "\"ts\" >= '1970-01-01T00:00:00.010Z'"), [10]);
    assert_eq!(numbers(&ring, "ts = 10000000"), [10]);
    // Null is neither: those rows are not there.
    assert_eq!(numbers(&ring, "name != 'name 1' and n < 4"), [2, 2]);
    let both = ["tail", "-n", "1", ring.name(), "--columns", "price,n", "--format", "csv"];
    assert_eq!(qads(&both).ok(), "price,n\n2.25,9\n2.5,10\n");
    let wrong = |arguments: &[&str]| qads(&[&["tail", ring.name()], arguments].concat()).failed(1);
    assert!(
        wrong(&["--columns", "cost"]).contains("no column 'cost'; there are: ts, n, price, name")
    );
    assert!(wrong(&["--where", "cost > 1"]).contains("there is no column 'cost'"));
    assert!(
        wrong(&["--where", "price > 'high'"]).contains("cannot be compared with column 'price'")
    );
    assert!(wrong(&["--where", "name > true"]).contains("cannot be compared with column 'name'"));
}

#[test]
fn conditions_that_are_none_are_said_to_be() {
    for (condition, said) in [
        ("price", "'is' expected, not the end"),
        ("price > ", "not the end"),
        ("> 3", "a column expected, not an operator"),
        ("price > 3 4", "4 after the end"),
        ("(price > 3", "')' expected"),
        ("price > 3 and", "a column expected, not the end"),
        ("price ~ 3", "'~' means nothing"),
        ("price > 1x", "'1x' is not a number"),
        ("name = 'x", "a ' is not closed"),
        ("name is 3", "'null' expected"),
        (&"(".repeat(1000), "nested too deeply"),
    ] {
        let error = qads(&["tail", "no-such-ring", "--where", condition]).failed(2);
        assert!(error.contains(said), "{condition}: {error}");
    }
}

#[test]
fn json_and_arrow_for_programs() {
    let ring = TestRing::with_numbers(0..3);
    let lines = qads(&["tail", ring.name(), "--format", "json"]).ok();
    let rows: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 6);
    assert_eq!((&rows[0]["n"], &rows[0]["name"]), (&0.into(), &serde_json::Value::Null));
    assert_eq!(rows[1]["price"], 0.25);
    let output = command(&["tail", ring.name(), "--format", "arrow"]).output().unwrap();
    let reader = StreamReader::try_new(output.stdout.as_slice(), None).expect("a stream");
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.expect("whole")).collect();
    assert_eq!(batches, [batch(0, 2), batch(1, 2), batch(2, 2)]);
}

#[test]
fn bytes_are_shown_in_hex() {
    let ring = TestRing::new(8);
    ring.writer().write(b"hello, ring\0\x1b[31m\xff").unwrap();
    let shown = qads(&["tail", ring.name()]).ok();
    assert!(shown.contains("message 0, 18 bytes"), "{shown}");
    assert!(shown.contains("68 65 6c 6c 6f 2c 20 72"), "{shown}");
    assert!(shown.contains("|hello, ring..[31|") && !shown.contains('\x1b'), "{shown}");
    ring.writer().write(&[7; 2000]).unwrap();
    assert!(qads(&["tail", ring.name()]).ok().contains("... 1488 more bytes"));
    let rows = qads(&["tail", "-n", "2", ring.name(), "--format", "json"]).ok();
    let first: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    assert_eq!(first["message"], "68656c6c6f2c2072696e67001b5b33316dff");
    assert!(!qads(&["tail", ring.name(), "--where", "sequence > 0"]).ok().contains("message 0"));
}

#[test]
fn following_shows_what_comes_until_the_ring_ends() {
    let mut ring = TestRing::new(64);
    ring.writer().write_arrow(&batch(0, 1)).unwrap();
    let arguments =
        ["tail", "-f", "-n", "0", ring.name(), "--format", "csv", "--columns", "n", "--lossless"];
    let mut tail = Running::start(&arguments);
    support::qads::await_readers(ring.name(), 1);
    ring.writer().write_arrow(&batch(7, 2)).unwrap();
    assert_eq!([tail.line(), tail.line(), tail.line()], ["n", "7", "8"]);
    ring.writer().write_arrow(&batch(9, 1)).unwrap();
    assert_eq!(tail.line(), "9");
    ring.close();
    let ended = tail.finish();
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
}

#[test]
fn following_ends_with_whoever_reads_it() {
    // Nothing comes any more, so that it has nothing to write.
    let ring = TestRing::with_numbers(0..1);
    let mut tail = command(&["tail", "-f", ring.name()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = tail.stdout.take().expect("piped");
    std::io::Read::read_exact(&mut out, &mut [0; 10]).unwrap();
    drop(out);
    assert_eq!(tail.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_ends_it_with_130() {
    let ring = TestRing::with_numbers(0..1);
    let mut tail = Running::start(&["tail", "-f", ring.name(), "--format", "csv"]);
    tail.line();
    tail.signal(libc::SIGINT);
    let ended = tail.finish();
    assert_eq!((ended.code, ended.err.as_str()), (Some(130), ""), "{ended:?}");
}

/// The values of this column in the rows for which `condition` holds.
fn values(ring: &TestRing, column: &str, condition: &str) -> Vec<String> {
    let out =
        qads(&["tail", ring.name(), "--columns", column, "--format", "csv", "--where", condition]);
    out.ok().lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn nothing_is_rounded_before_it_is_compared() {
    let ring = TestRing::new(8);
    let prices = Decimal128Array::from(vec![100, 101, 102]).with_precision_and_scale(10, 2);
    let columns: [(&str, ArrayRef); 5] = [
        ("price", Arc::new(prices.unwrap())),
        ("id", Arc::new(Int64Array::from(vec![1 << 53, (1 << 53) + 1, (1 << 53) + 2]))),
        ("change", Arc::new(Float64Array::from(vec![0.0, -0.0, 1.0]))),
        ("second", Arc::new(TimestampSecondArray::from(vec![9, 10, 11]))),
        ("size", Arc::new(StringArray::from(vec!["99", "100", "101"]))),
    ];
    ring.writer().write_arrow(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    assert_eq!(values(&ring, "price", "price = 1.005"), [""; 0]);
    assert_eq!(values(&ring, "price", "price >= 1.005"), ["1.01", "1.02"]);
    assert_eq!(values(&ring, "price", "price = 1.010"), ["1.01"]);
    assert_eq!(values(&ring, "price", "price < 10.15e-1"), ["1.00", "1.01"]);
    assert_eq!(values(&ring, "id", "id > 9007199254740992.5").len(), 2);
    assert_eq!(values(&ring, "id", "id < 1e3").len(), 0);
    // Both are zero.
    assert_eq!(values(&ring, "change", "change = 0"), ["0.0", "-0.0"]);
    assert_eq!(values(&ring, "change", "change < 0"), [""; 0]);
    assert_eq!(values(&ring, "second", "second < '1970-01-01T00:00:10.5Z'").len(), 2);
    // Not in the order of text, which has 100 before 99.
    let wrong = qads(&["tail", ring.name(), "--where", "size > 100"]).failed(1);
    assert!(wrong.contains("'100' cannot be compared with column 'size', which is Utf8"));
}

#[test]
fn a_long_chain_of_conditions_is_no_deep_one() {
    let ring = TestRing::with_numbers(0..2);
    let condition = format!("{}n = 1", "n = 7 or ".repeat(10_000));
    assert_eq!(numbers(&ring, &condition), [1, 1]);
    let condition = format!("{}n = 1", "n != 7 and ".repeat(10_000));
    assert_eq!(numbers(&ring, &condition), [1, 1]);
}

#[test]
fn messages_of_other_schemas_are_others_affair() {
    let ring = TestRing::new(8);
    ring.writer().write(b"bytes").unwrap();
    ring.writer().write_arrow(&batch(1, 1)).unwrap();
    ring.writer().write_arrow(&batch(2, 1).project(&[0]).unwrap()).unwrap();
    ring.writer().write_arrow(&batch(3, 1)).unwrap();
    let arguments = ["tail", ring.name(), "--where", "n > 0", "--columns", "n", "--format", "csv"];
    let ran = qads(&arguments);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "n\n1\n3\n"), "{ran:?}");
    assert!(ran.err.contains("no column 'n'; there are: sequence, message"), "{ran:?}");
    assert!(ran.err.contains("no column 'n'; there are: ts "), "{ran:?}");
}

#[test]
fn a_message_without_batches_has_a_schema_all_the_same() {
    let ring = TestRing::new(8);
    let schema = batch(0, 1).schema();
    ring.writer().write_batches(&schema, &[]).unwrap();
    ring.writer().write_arrow(&batch(1, 1)).unwrap();
    let tail = |format: &str| {
        command(&["tail", ring.name(), "--columns", "n", "--format", format]).output().unwrap()
    };
    assert_eq!(tail("csv").stdout, b"n\n1\n");
    let output = tail("arrow").stdout;
    let reader = StreamReader::try_new(output.as_slice(), None).expect("a stream");
    let rows: usize = reader.map(|batch| batch.expect("whole").num_rows()).sum();
    assert_eq!(rows, 1);
    let shown = qads(&["tail", ring.name()]).ok();
    assert!(shown.contains("message 0, 0 rows") && shown.contains("message 1, 1 row"), "{shown}");
}

#[test]
fn csv_says_which_column_it_cannot_write() {
    let ring = TestRing::new(8);
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), Some(2)])]);
    let columns: [(&str, ArrayRef); 2] =
        [("id", Arc::new(Int64Array::from(vec![7]))), ("levels", Arc::new(lists))];
    ring.writer().write_arrow(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    let csv = ["tail", ring.name(), "--format", "csv"];
    let said = qads(&csv).failed(1);
    assert!(said.contains("column 'levels' is List(") && said.contains("--format json"), "{said}");
    assert_eq!(qads(&[&csv[..], &["--columns", "id"]].concat()).ok(), "id\n7\n");
}

#[test]
fn json_says_which_column_it_cannot_write() {
    let ring = TestRing::new(8);
    let fields = [(0, Arc::new(Field::new("n", DataType::Int64, true)))].into_iter().collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let union =
        UnionArray::try_new(fields, vec![0_i8].into(), None, vec![numbers.clone()]).unwrap();
    let columns: [(&str, ArrayRef); 2] = [("id", numbers), ("either", Arc::new(union))];
    ring.writer().write_arrow(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    let json = ["tail", ring.name(), "--format", "json"];
    let said = qads(&json).failed(1);
    assert!(said.contains("column 'either' is Union") && said.contains("--columns"), "{said}");
    assert_eq!(qads(&[&json[..], &["--columns", "id"]].concat()).ok(), "{\"id\":7}\n");
}

#[test]
fn a_table_shows_the_beginning_of_a_long_cell() {
    let ring = TestRing::new(8);
    let text = "\u{e9}".repeat(2000);
    let column: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
    ring.writer().write_arrow(&RecordBatch::try_from_iter([("text", column)]).unwrap()).unwrap();
    let shown = qads(&["tail", ring.name()]).ok();
    assert!(shown.contains("\u{e9}... 1,488 more (--bytes)"), "{shown}");
    assert_eq!(shown.matches('\u{e9}').count(), 512);
    assert!(qads(&["tail", ring.name(), "--bytes", "2000"]).ok().contains(&text));
    assert!(qads(&["tail", ring.name(), "--format", "csv"]).ok().contains(&text));
}

/// What a terminal gets, the command running in it.
fn on_a_terminal(arguments: &[&str]) -> String {
    use portable_pty::{CommandBuilder, PtySize, native_pty_system};
    let size = PtySize { rows: 30, cols: 110, pixel_width: 0, pixel_height: 0 };
    let pair = native_pty_system().openpty(size).expect("a terminal");
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qads"));
    command.args(arguments);
    command.env("NO_COLOR", "1");
    let mut child = pair.slave.spawn_command(command).expect("started");
    drop(pair.slave);
    let mut from = pair.master.try_clone_reader().expect("readable");
    let mut got = Vec::new();
    // The end of a terminal is an error.
    let _ = std::io::Read::read_to_end(&mut from, &mut got);
    child.wait().expect("it ends");
    String::from_utf8(got).expect("text")
}

#[test]
fn what_moves_the_cursor_is_escaped_on_a_terminal_and_nowhere_else() {
    let ring = TestRing::new(8);
    let evil = "a\u{1b}]0;owned\u{7}b\u{9b}2Jc\u{7f}d\re";
    let text: ArrayRef = Arc::new(StringArray::from(vec![evil]));
    ring.writer()
        .write_arrow(&RecordBatch::try_from_iter([("t\u{1b}[7m\u{9b}", text)]).unwrap())
        .unwrap();
    let is_wild = |text: &str| text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r'));
    for format in ["table", "csv", "json"] {
        let shown = on_a_terminal(&["tail", ring.name(), "--format", format]);
        assert!(!is_wild(&shown) && shown.contains("1b]0;owned"), "{format}: {shown:?}");
        // The terminal puts one before each end of a line.
        assert_eq!(shown.matches('\r').count(), shown.matches('\n').count(), "{format}: {shown:?}");
    }
    let csv = on_a_terminal(&["tail", ring.name(), "--format", "csv"]);
    assert!(csv.contains(r"a\x1b]0;owned\x07b\x9b2Jc\x7fd\x0de"), "{csv:?}");
    let table = on_a_terminal(&["tail", ring.name()]);
    assert!(
        table.contains(r"| t\x1b[7m\x9b ") && table.contains(r"| a\x1b]0;owned\x07b"),
        "{table}"
    );
    for verb in ["schema", "ls", "inspect"] {
        let shown = on_a_terminal(&[verb, ring.name()]);
        assert!(!is_wild(&shown), "{verb}: {shown:?}");
    }
    let json = on_a_terminal(&["schema", "--json", ring.name()]);
    assert!(!is_wild(&json), "{json:?}");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON all the same");
    assert_eq!(json["fields"][0]["name"], "t\u{1b}[7m\u{9b}");
    let json = on_a_terminal(&["tail", ring.name(), "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON all the same");
    assert_eq!(json["t\u{1b}[7m\u{9b}"], evil);
    assert!(
        on_a_terminal(&["tail", ring.name(), "--format", "arrow"]).contains("not for a terminal")
    );
    // As it is, elsewhere.
    let csv = qads(&["tail", ring.name(), "--format", "csv"]).ok();
    assert!(csv.contains(evil), "{csv:?}");
}

#[test]
fn ls_takes_a_line_for_a_ring_on_a_terminal() {
    let ring = TestRing::with_numbers(0..1);
    let shown = on_a_terminal(&["ls", ring.name()]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    // The name of this ring is so long that only the beginning of the schema is left.
    assert!(lines[1].ends_with('…') && !lines[1].contains("price"), "{shown}");
    // A program gets all of it.
    assert!(qads(&["ls", ring.name()]).ok().trim_end().ends_with("name: Utf8?"));
}
