//! What an Arrow read gives: objects that export the Arrow PyCapsule interface, without pyarrow.

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, RecordBatch, RecordBatchIterator, StructArray};
use arrow_schema::{ArrowError, SchemaRef};
use parking_lot::Mutex;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::errors;

/// A schema as the capsule of the interface. Names with a NUL byte cannot be exported: this tells so here, where
/// it can be told.
fn schema_capsule<'py>(py: Python<'py>, schema: &SchemaRef) -> PyResult<Bound<'py, PyCapsule>> {
    let exported = FFI_ArrowSchema::try_from(schema.as_ref());
    let exported = exported.map_err(|error| errors::arrow(py, &error.to_string()))?;
    PyCapsule::new_with_value(py, exported, c"arrow_schema")
}

fn array_capsule<'py>(py: Python<'py>, batch: &RecordBatch) -> PyResult<Bound<'py, PyCapsule>> {
    let exported = FFI_ArrowArray::new(&StructArray::from(batch.clone()).to_data());
    PyCapsule::new_with_value(py, exported, c"arrow_array")
}

fn stream_capsule(
    py: Python<'_>,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
) -> PyResult<Bound<'_, PyCapsule>> {
    // The stream's callbacks must not fail for want of a schema: tried here first.
    schema_capsule(py, &schema)?;
    let batches = batches.into_iter().map(Ok::<_, ArrowError>);
    let stream = FFI_ArrowArrayStream::new(Box::new(RecordBatchIterator::new(batches, schema)));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

/// A consumer may ask for other types of the same columns; giving it those that are there is allowed. Other
/// columns cannot be had.
fn check_requested(requested: Option<&Bound<'_, PyAny>>, schema: &SchemaRef) -> PyResult<()> {
    let Some(requested) = requested else { return Ok(()) };
    let capsule = requested.cast::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name holds a valid schema struct, which stays the caller's; nothing else runs
    // while it is looked at.
    let wanted = unsafe { pointer.as_ref() }.children().count();
    if wanted == schema.fields().len() {
        return Ok(());
    }
    let has = schema.fields().len();
    Err(PyValueError::new_err(format!(
        "a schema of {wanted} columns was asked for, but the table has {has}"
    )))
}

/// The record batches of one message.
///
/// Exports the Arrow PyCapsule interface: polars.DataFrame(it), duckdb.from_arrow(it), pyarrow.table(it) and
/// pandas.DataFrame.from_arrow(it) take it without a copy. len(it) is the number of rows; iterating gives the
/// batches.
///
/// After a zero-copy read the memory is that of the ring, and read-only: the message stays leased until this
/// object and everything that was made from it are gone.
#[pyclass(frozen, weakref, module = "qadataswap")]
pub struct Batches {
    /// None: released.
    table: Mutex<Option<qadataswap::Batches>>,
    zero_copy: bool,
}

impl Batches {
    pub fn new(table: qadataswap::Batches, zero_copy: bool) -> Self {
        Self { table: Mutex::new(Some(table)), zero_copy }
    }

    fn with<R>(&self, act: impl FnOnce(&qadataswap::Batches) -> R) -> PyResult<R> {
        match &*self.table.lock() {
            Some(table) => Ok(act(table)),
            None => Err(PyValueError::new_err("these batches have been released")),
        }
    }
}

#[pymethods]
impl Batches {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let (schema, batches) = self.with(|table| (table.schema.clone(), table.batches.clone()))?;
        check_requested(requested_schema, &schema)?;
        stream_capsule(py, schema, batches)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.with(|table| table.schema.clone())?)
    }

    /// The schema, as an object that exports __arrow_c_schema__.
    #[getter]
    fn schema(&self) -> PyResult<Schema> {
        Ok(Schema(self.with(|table| table.schema.clone())?))
    }

    /// Names of the columns.
    #[getter]
    fn column_names(&self) -> PyResult<Vec<String>> {
        self.with(|table| names(&table.schema))
    }

    /// Number of columns.
    #[getter]
    fn num_columns(&self) -> PyResult<usize> {
        self.with(|table| table.schema.fields().len())
    }

    /// Number of rows of all batches together.
    #[getter]
    fn num_rows(&self) -> PyResult<usize> {
        self.with(|table| table.batches.iter().map(RecordBatch::num_rows).sum())
    }

    /// Number of record batches, as they were published.
    #[getter]
    fn num_batches(&self) -> PyResult<usize> {
        self.with(|table| table.batches.len())
    }

    /// Whether the buffers lie in shared memory.
    #[getter]
    fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// The batch at `index`, as an object that exports __arrow_c_array__. Negative ones count from the end.
    fn batch(&self, index: isize) -> PyResult<Batch> {
        let batch = self.with(|table| {
            let from = if index < 0 { table.batches.len() } else { 0 };
            table.batches.get(from.checked_add_signed(index)?).cloned()
        })?;
        batch.map(Batch).ok_or_else(|| PyIndexError::new_err("there is no such batch"))
    }

    /// Drops this object's own hold on the memory. What was made from it keeps its own.
    fn release(&self) {
        let table = self.table.lock().take();
        drop(table);
    }

    /// The message as a pyarrow.Table, which shares the memory. Needs pyarrow.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("qadataswap._arrow")?.call_method1("to_table", (slf,))
    }

    /// The message as a polars.DataFrame, which shares the memory: what polars.DataFrame(it) gives. (Of an object
    /// that is not pyarrow's, polars.from_arrow makes a Series of structs.) Needs polars.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("polars")?.getattr("DataFrame")?.call1((slf,))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) {
        self.release();
    }

    fn __len__(&self) -> PyResult<usize> {
        self.num_rows()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let batches = self.with(|table| table.batches.clone())?;
        let batches: Vec<_> = batches.into_iter().map(Batch).collect();
        pyo3::types::PyList::new(
            py,
            batches.into_iter().map(|b| Py::new(py, b)).collect::<PyResult<Vec<_>>>()?,
        )?
        .call_method0("__iter__")
    }

    fn __repr__(&self) -> String {
        let told = self.with(|table| {
            let rows: usize = table.batches.iter().map(RecordBatch::num_rows).sum();
            let place = if self.zero_copy { ", in shared memory" } else { "" };
            let batches = table.batches.len();
            format!("{rows} rows in {batches} batches{place}: {}", describe(&table.schema))
        });
        format!("<qadataswap.Batches {}>", told.unwrap_or_else(|_| "(released)".to_owned()))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("these cannot be pickled; pickle to_pyarrow() instead"))
    }
}

/// One record batch, which exports the Arrow PyCapsule interface.
#[pyclass(frozen, weakref, module = "qadataswap")]
pub struct Batch(RecordBatch);

#[pymethods]
impl Batch {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        check_requested(requested_schema, self.0.schema_ref())?;
        Ok((schema_capsule(py, self.0.schema_ref())?, array_capsule(py, &self.0)?))
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        check_requested(requested_schema, self.0.schema_ref())?;
        stream_capsule(py, self.0.schema(), vec![self.0.clone()])
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, self.0.schema_ref())
    }

    /// The schema, as an object that exports __arrow_c_schema__.
    #[getter]
    fn schema(&self) -> Schema {
        Schema(self.0.schema())
    }

    /// Number of rows.
    #[getter]
    fn num_rows(&self) -> usize {
        self.0.num_rows()
    }

    /// Number of columns.
    #[getter]
    fn num_columns(&self) -> usize {
        self.0.num_columns()
    }

    fn __len__(&self) -> usize {
        self.0.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("<qadataswap.Batch {} rows: {}>", self.0.num_rows(), describe(self.0.schema_ref()))
    }
}

/// The schema of a message, which exports the Arrow PyCapsule interface.
#[pyclass(frozen, weakref, module = "qadataswap")]
pub struct Schema(SchemaRef);

#[pymethods]
impl Schema {
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.0)
    }

    /// Names of the columns.
    #[getter]
    fn names(&self) -> Vec<String> {
        names(&self.0)
    }

    fn __len__(&self) -> usize {
        self.0.fields().len()
    }

    fn __repr__(&self) -> String {
        format!("<qadataswap.Schema {}>", describe(&self.0))
    }
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn describe(schema: &SchemaRef) -> String {
    /// More would not be read.
    const SHOWN: usize = 20;
    let fields = schema.fields();
    let shown =
        fields.iter().take(SHOWN).map(|field| format!("{} {}", field.name(), field.data_type()));
    let mut shown: Vec<_> = shown.collect();
    if fields.len() > SHOWN {
        shown.push(format!("and {} more", fields.len() - SHOWN));
    }
    shown.join(", ")
}
