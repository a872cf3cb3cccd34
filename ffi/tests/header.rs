//! `include/qadataswap.h` is what cbindgen writes from the sources (`make header` writes it).

use std::path::{Path, PathBuf};

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/qadataswap.h")
}

/// What the header should be.
fn generated() -> String {
    let bindings =
        cbindgen::generate(env!("CARGO_MANIFEST_DIR")).expect("cbindgen reads the sources");
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).expect("UTF-8");
    // Rust's sections for who calls this from Rust.
    text.lines()
        .filter(|line| !matches!(line.trim_end(), "// # Safety" | "//  # Safety"))
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// Set by `make header`: the header is written before it is compared.
const WRITE: &str = "QADATASWAP_WRITE_HEADER";

#[test]
fn header_is_up_to_date() {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(header(), generated()).expect("header is written");
    }
    let committed = std::fs::read_to_string(header()).unwrap_or_default();
    assert!(committed == generated(), "include/qadataswap.h is out of date: make header");
}
