//! The bodies of the fuzz targets, which are the project's tests too.

#[path = "../../tests/fuzz/mod.rs"]
pub mod fuzz;
#[path = "../../tests/model/mod.rs"]
pub mod model;
#[path = "../../tests/support/mod.rs"]
pub mod support;
