//! The extension module `qadataswap._native`: the core's handles as Python objects.
//!
//! The layer of Python above it (`lib/qadataswap/`) adds what is easier said there: pyarrow, asyncio, iteration
//! and the dataclasses of counters. What is here waits with the interpreter released and in slices
//! (`handle`), takes tables through the Arrow PyCapsule interface (`arrow_in`) and gives them the same way
//! (`batches`), and shows memory through the buffer protocol (`buffer`, `lease`).

mod arrow_in;
mod batches;
mod buffer;
mod errors;
mod handle;
mod lease;
mod options;
mod reader;
mod ticket;
mod writer;

use pyo3::prelude::*;

/// Removes the ring `name`. Readers that are attached keep their memory, drain it, and are then told that the
/// ring has ended.
///
/// Raises NotFoundError if there is none, and WriterAliveError if it has a live writer (which can unlink it
/// itself: Writer.unlink).
#[pyfunction]
fn unlink(py: Python<'_>, name: &str) -> PyResult<()> {
    py.detach(|| qadataswap::unlink(name)).map_err(|error| errors::raise(py, &error))
}

/// Names of the rings on this machine, sorted.
#[pyfunction]
fn list(py: Python<'_>) -> PyResult<Vec<String>> {
    py.detach(qadataswap::list).map_err(|error| errors::raise(py, &error))
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<writer::Writer>()?;
    module.add_class::<reader::Reader>()?;
    module.add_class::<ticket::Ticket>()?;
    module.add_class::<batches::Batches>()?;
    module.add_class::<batches::Batch>()?;
    module.add_class::<batches::Schema>()?;
    module.add("Lease", lease::class(module.py())?)?;
    module.add_function(wrap_pyfunction!(unlink, module)?)?;
    module.add_function(wrap_pyfunction!(list, module)?)?;
    module.add_function(wrap_pyfunction!(ticket::cancel_all, module)?)?;
    Ok(())
}
