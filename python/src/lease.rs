//! [`Lease`]: one message in place, as read-only memory.

use parking_lot::Mutex;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::buffer::{Export, exporting_class, new_bytes};

/// One message, in place in shared memory: read-only memory that memoryview, numpy.frombuffer, struct and
/// everything else that takes bytes-like objects can use.
///
/// The writer passes over its slot until this is released and the last view of it is gone; the memory does not
/// change before that. A lease may outlive its reader.
#[pyclass(subclass, frozen, weakref, name = "Lease", module = "qadataswap")]
pub struct Lease {
    state: Mutex<State>,
    position: u64,
    len: usize,
}

struct State {
    lease: Option<qadataswap::Lease>,
    exports: usize,
    /// Release with the last export.
    closing: bool,
}

/// What a lease is made from: keeps Python code from making one.
#[pyclass(frozen)]
struct Origin(Mutex<Option<qadataswap::Lease>>);

static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The class of leases.
pub fn class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let make = || exporting_class::<Lease>(py, c"qadataswap.Lease").map(Bound::unbind);
    Ok(CLASS.get_or_try_init(py, make)?.bind(py).clone())
}

/// A lease of the core as a Python object.
pub fn new(py: Python<'_>, lease: qadataswap::Lease) -> PyResult<Py<PyAny>> {
    let origin = Py::new(py, Origin(Mutex::new(Some(lease))))?;
    Ok(class(py)?.call1((origin,))?.unbind())
}

#[pymethods]
impl Lease {
    #[new]
    fn new(origin: &Bound<'_, PyAny>) -> PyResult<Self> {
        let lease = origin.cast::<Origin>().ok().and_then(|origin| origin.get().0.lock().take());
        let lease = lease.ok_or_else(|| {
            PyTypeError::new_err("leases are made by Reader.lease, not by calling the class")
        })?;
        let (position, len) = (lease.position(), lease.len());
        Ok(Self {
            state: Mutex::new(State { lease: Some(lease), exports: 0, closing: false }),
            position,
            len,
        })
    }

    /// Position of the message in the ring.
    #[getter]
    fn position(&self) -> u64 {
        self.position
    }

    /// Length of the message in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.len
    }

    /// Whether the lease has been released.
    #[getter]
    fn released(&self) -> bool {
        let state = self.state.lock();
        state.closing || state.lease.is_none()
    }

    /// Gives the slot back to the writer. Raises BufferError while views of the memory exist (memoryviews,
    /// arrays); does nothing if it has been released before.
    fn release(&self) -> PyResult<()> {
        let mut state = self.state.lock();
        if state.exports > 0 {
            return Err(PyBufferError::new_err(format!(
                "{} views of this lease exist; delete or release them first",
                state.exports
            )));
        }
        state.lease = None;
        Ok(())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Releases the lease, or has it released with the last view that exists.
    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        let mut state = self.state.lock();
        state.closing = true;
        state.release_if_done();
    }

    fn __len__(&self) -> usize {
        self.len
    }

    fn __bytes__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, pyo3::types::PyBytes>> {
        let (start, len) = Self::export(slf)?;
        // SAFETY: the export keeps the memory readable and unchanged until it is released below.
        let bytes = unsafe { std::slice::from_raw_parts(start, len) };
        let copied = new_bytes(slf.py(), bytes.len(), |copy| copy.copy_from_slice(bytes));
        Self::unexport(slf);
        Ok(copied?.0)
    }

    fn __repr__(&self) -> String {
        let released = if self.released() { ", released" } else { "" };
        format!("<qadataswap.Lease of {} bytes, position {}{released}>", self.len, self.position)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a lease cannot be pickled; send bytes(lease)"))
    }
}

impl Export for Lease {
    fn export(slf: &Bound<'_, Self>) -> PyResult<(*const u8, usize)> {
        let mut state = slf.get().state.lock();
        let Some(lease) = state.lease.as_ref().filter(|_| !state.closing) else {
            return Err(PyBufferError::new_err("this lease has been released"));
        };
        let range = (lease.as_ptr(), lease.len());
        state.exports += 1;
        Ok(range)
    }

    fn unexport(slf: &Bound<'_, Self>) {
        let mut state = slf.get().state.lock();
        state.exports -= 1;
        state.release_if_done();
    }
}

impl State {
    fn release_if_done(&mut self) {
        if self.closing && self.exports == 0 {
            self.lease = None;
        }
    }
}
