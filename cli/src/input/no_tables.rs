//! In the place of `tables` where there is no Parquet and no CSV: says so.

use std::fs::File;

use super::{Input, NEEDS_FULL};
use crate::failure::{Outcome, failed};

pub fn open_parquet(_: File, _: usize) -> Outcome<Input> {
    Err(failed(format!("it is Parquet ({NEEDS_FULL})")))
}

pub fn open_csv(_: File, _: usize) -> Outcome<Input> {
    Err(failed(format!("not an Arrow IPC stream or file; if it is CSV, {NEEDS_FULL}")))
}
