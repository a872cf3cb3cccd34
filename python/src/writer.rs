//! [`Writer`]: the publishing handle.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use qadataswap::{OnSlowReader, QADataSwapError, WriterOptions, WriterStats};

use crate::errors::{self, Failure};
use crate::handle::{Handle, Patience};
use crate::{arrow_in, buffer, options};

/// The one writer of a ring; see qadataswap.Writer.
#[pyclass(subclass, frozen, module = "qadataswap._native")]
pub struct Writer {
    handle: Handle<Inner>,
    name: String,
    on_slow_reader: OnSlowReader,
}

struct Inner {
    writer: qadataswap::Writer,
    /// Tries beyond the first that writes which waited took: the core counts each.
    extra_stalls: u64,
}

impl Writer {
    /// Has `publish` publish, in as many tries as it takes or the options allow.
    fn publish(
        &self,
        py: Python<'_>,
        publish: impl Fn(&qadataswap::Writer) -> Result<(), QADataSwapError> + Sync,
    ) -> PyResult<()> {
        let patience = Patience::new(self.on_slow_reader);
        let mut stalled = false;
        loop {
            let (action, last) = patience.next();
            let published = self.handle.with(py, |inner| {
                inner.writer.set_on_slow_reader(action);
                let before = inner.writer.stats().stalls;
                let published = publish(&inner.writer);
                let stalls = inner.writer.stats().stalls - before;
                inner.extra_stalls += if stalled { stalls } else { 0 };
                stalled |= stalls > 0;
                match published {
                    Err(QADataSwapError::WouldBlock { .. }) if !last => Ok(false),
                    result => result.map(|()| true).map_err(Failure::from),
                }
            })?;
            if published {
                return Ok(());
            }
            py.check_signals()?;
        }
    }
}

#[pymethods]
impl Writer {
    #[new]
    #[pyo3(signature = (name, slot_count, *, slot_capacity, rollover, mode, control_mode, on_slow_reader,
                        slow_reader_ms, holds, prefault, lock_memory, huge_pages))]
    #[expect(clippy::too_many_arguments, reason = "keyword options")]
    fn new(
        py: Python<'_>,
        name: &str,
        slot_count: &Bound<'_, PyAny>,
        slot_capacity: Option<&Bound<'_, PyAny>>,
        rollover: bool,
        mode: &Bound<'_, PyAny>,
        control_mode: Option<&Bound<'_, PyAny>>,
        on_slow_reader: &str,
        slow_reader_ms: Option<&Bound<'_, PyAny>>,
        holds: bool,
        prefault: bool,
        lock_memory: bool,
        huge_pages: bool,
    ) -> PyResult<Self> {
        let rule = "a ring has 1 to 16,777,216 slots";
        let slots = options::number(py, "buffer_count", rule, Some(slot_count))?.unwrap_or(0);
        let mut builder = WriterOptions::new(slots as usize)
            .rollover(rollover)
            .holds(holds)
            .prefault(prefault)
            .lock_memory(lock_memory)
            .huge_pages(huge_pages);
        let rule = "bytes, 1 to 4,294,963,200";
        if let Some(bytes) = options::number(py, "slot_capacity", rule, slot_capacity)? {
            builder = builder.slot_capacity(bytes as usize);
        }
        if let Some(mode) = options::mode(py, "mode", Some(mode))? {
            builder = builder.mode(mode);
        }
        if let Some(mode) = options::mode(py, "control_mode", control_mode)? {
            builder = builder.control_mode(mode);
        }
        let limit_ms = options::milliseconds(py, "slow_reader_ms", slow_reader_ms)?;
        let on_slow_reader = options::on_slow_reader(py, on_slow_reader, limit_ms)?;
        let patience = Patience::new(on_slow_reader);
        loop {
            let (action, last) = patience.next();
            let builder = builder.clone().on_slow_reader(action);
            match py.detach(|| builder.create(name)) {
                Err(QADataSwapError::WouldBlock { .. }) if !last => py.check_signals()?,
                Err(error) => return Err(errors::raise(py, &error)),
                Ok(writer) => {
                    let inner = Inner { writer, extra_stalls: 0 };
                    let handle = Handle::new("writer", inner);
                    return Ok(Self { handle, name: name.to_owned(), on_slow_reader });
                }
            }
        }
    }

    /// Publishes a table as one message.
    ///
    /// table: anything that exports the Arrow PyCapsule interface (__arrow_c_stream__ or __arrow_c_array__):
    /// a pyarrow Table, RecordBatch or RecordBatchReader, a polars or pandas DataFrame, a DuckDB relation.
    /// Its batches stay as they are; types are kept, string views included.
    ///
    /// Raises ArrowError if the table is not valid or cannot be carried, MessageTooLargeError, NoSpaceError,
    /// WouldBlockError (a lossless reader is in the way), AllSlotsLeasedError. Nothing was published then.
    fn write_arrow(&self, py: Python<'_>, table: &Bound<'_, PyAny>) -> PyResult<()> {
        let (schema, batches) = arrow_in::table(table)?;
        let published = self.publish(py, |writer| writer.write_batches(&schema, &batches));
        // Giving large tables back takes a while.
        py.detach(|| drop(batches));
        published
    }

    /// Publishes the bytes of a bytes-like object (bytes, bytearray, memoryview, mmap, array, a contiguous
    /// NumPy array, structured ones included) as one message.
    ///
    /// Raises as write_arrow.
    fn write(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<()> {
        let view = buffer::View::readable(message, "write")?;
        let bytes = view.bytes();
        self.publish(py, |writer| writer.write(bytes))
    }

    /// Publishes bytes that already are one Arrow IPC stream, as they are. Readers check what they decode.
    ///
    /// Raises as write_arrow.
    fn write_ipc(&self, py: Python<'_>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
        let view = buffer::View::readable(stream, "write_ipc")?;
        let bytes = view.bytes();
        self.publish(py, |writer| writer.write_ipc_stream(bytes))
    }

    /// Ends the ring: readers consume what is in it and are then told that it has ended. The memory stays, for
    /// readers that come later, and a new writer may reopen it. Does nothing if this writer is closed already.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.close(py, |inner| inner.writer.close())
    }

    /// Ends the ring like close and removes it. Readers that are attached still consume what is in it.
    /// Removes nothing if this writer is closed already; qadataswap.unlink(name) does.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.close(py, |inner| inner.writer.unlink())
    }

    /// Lets go of the ring without ending it: readers go on waiting, and another writer may continue it. That
    /// is also what happens when a writer is garbage collected or its process dies.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.close(py, |inner| {
            drop(inner);
            Ok(())
        })
    }

    /// Whether this writer has been closed, unlinked or released.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        !self.handle.is_open(py)
    }

    /// The ring's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Number of slots.
    #[getter]
    fn slot_count(&self, py: Python<'_>) -> PyResult<usize> {
        self.handle.with(py, |inner| Ok(inner.writer.slot_count()))
    }

    /// Largest message, in bytes, that fits without a rollover.
    #[getter]
    fn slot_capacity(&self, py: Python<'_>) -> PyResult<usize> {
        self.handle.with(py, |inner| Ok(inner.writer.slot_capacity()))
    }

    /// The counters, in the order of qadataswap.WriterStats.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let WriterStats {
            published,
            published_bytes,
            message_count,
            position,
            wakes,
            rollovers,
            epoch,
            lease_skips,
            stalls,
            evictions,
            reclaimed,
            ..
        } = self.handle.with(py, |inner| {
            let mut stats = inner.writer.stats();
            stats.stalls -= inner.extra_stalls;
            Ok(stats)
        })?;
        let counters = [
            published,
            published_bytes,
            message_count,
            position,
            wakes,
            rollovers,
            epoch,
            lease_skips,
            stalls,
            evictions,
            reclaimed,
        ];
        PyTuple::new(py, counters)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a writer cannot be pickled: a ring has only one; create it in the process that writes",
        ))
    }
}
