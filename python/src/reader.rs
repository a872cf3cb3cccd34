//! [`Reader`]: the consuming handle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use qadataswap::{QADataSwapError, ReaderOptions, ReaderStats};

use crate::batches::Batches;
use crate::errors::{self, Failure};
use crate::handle::{Handle, SLICE_MS, TimeLimit};
use crate::ticket::Ticket;
use crate::{buffer, lease, options};

/// Messages up to this length are copied by way of the stack, so that one call is enough.
const SMALL_BYTES: usize = 1024;

/// A reader of a ring; see qadataswap.Reader.
#[pyclass(subclass, frozen, module = "qadataswap._native")]
pub struct Reader {
    shared: Arc<Shared>,
    name: String,
}

/// What a reader and its asynchronous reads share.
pub struct Shared {
    pub handle: Handle<qadataswap::Reader>,
    pending: Mutex<VecDeque<Result<Taken, QADataSwapError>>>,
    /// Whether there is something in `pending`: spares every read the lock.
    has_pending: AtomicBool,
}

/// A message that was taken, in the form that was asked for.
pub enum Taken {
    Bytes(Vec<u8>),
    Batches(qadataswap::Batches, bool),
    Lease(qadataswap::Lease),
}

/// The forms in which messages are read.
#[derive(Clone, Copy)]
pub enum Form {
    Bytes,
    Batches { zero_copy: bool },
    Lease,
}

impl Form {
    pub fn needs_lease(self) -> bool {
        matches!(self, Self::Lease | Self::Batches { zero_copy: true })
    }

    /// Whether this is what a read in this form gives.
    pub fn fits(self, taken: &Taken) -> bool {
        matches!(
            (self, taken),
            (Self::Bytes, Taken::Bytes(_))
                | (Self::Lease, Taken::Lease(_))
                | (Self::Batches { .. }, Taken::Batches(..))
        )
    }

    /// Takes the next message if there is one.
    pub fn take(self, reader: &qadataswap::Reader) -> Result<Option<Taken>, QADataSwapError> {
        match self {
            Self::Bytes => Ok(reader.read(0)?.map(Taken::Bytes)),
            Self::Lease => Ok(reader.lease(0)?.map(Taken::Lease)),
            Self::Batches { zero_copy } => {
                let table = if zero_copy {
                    reader.read_batches_zero_copy(0)
                } else {
                    reader.read_batches(0)
                };
                Ok(table?.map(|table| Taken::Batches(table, zero_copy)))
            }
        }
    }
}

impl Taken {
    pub fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Bytes(bytes) => {
                let copied =
                    buffer::new_bytes(py, bytes.len(), |copy| copy.copy_from_slice(&bytes));
                Ok(copied?.0.into_any().unbind())
            }
            Self::Batches(table, zero_copy) => {
                Ok(Py::new(py, Batches::new(table, zero_copy))?.into_any())
            }
            Self::Lease(lease) => lease::new(py, lease),
        }
    }
}

impl Shared {
    /// Keeps what an asynchronous read took and can no longer deliver, for the next read of that form.
    pub fn keep(&self, taken: Result<Taken, QADataSwapError>) {
        self.pending.lock().push_back(taken);
        // Release: pairs with the Acquire in `kept`.
        self.has_pending.store(true, Ordering::Release);
    }

    /// What was kept first, if `fits` says that it is of the form asked for.
    pub fn kept(&self, fits: impl Fn(&Taken) -> bool) -> Result<Option<Taken>, Failure> {
        if !self.has_pending.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut pending = self.pending.lock();
        match pending.front() {
            Some(Ok(taken)) if !fits(taken) => {
                return Err(Failure::Pending(match taken {
                    Taken::Bytes(_) => "read",
                    Taken::Batches(..) => "read_batches or read_arrow",
                    Taken::Lease(_) => "lease",
                }));
            }
            _ => {}
        }
        let first = pending.pop_front().transpose()?;
        self.has_pending.store(!pending.is_empty(), Ordering::Release);
        Ok(first)
    }
}

impl Reader {
    /// Waits for the next message in slices and has `take` take it, without waiting.
    fn receive<R: Send>(
        &self,
        py: Python<'_>,
        timeout_ms: Option<u64>,
        needs_lease: bool,
        mut take: impl FnMut(&qadataswap::Reader) -> Result<Option<R>, Failure> + Send,
    ) -> PyResult<Option<R>> {
        let limit = TimeLimit::new(timeout_ms);
        loop {
            let slice = limit.slice_ms(SLICE_MS);
            let taken = self.shared.handle.with(py, |reader| {
                if needs_lease {
                    reader.check_can_lease()?;
                }
                // The last look is the read's own, which counts that it found nothing.
                if slice > 0 && !reader.wait(slice)? {
                    return Ok(None);
                }
                take(reader)
            })?;
            if taken.is_some() || slice == 0 {
                return Ok(taken);
            }
            py.check_signals()?;
        }
    }

    /// The next message in the given form.
    fn receive_as(
        &self,
        py: Python<'_>,
        timeout_ms: Option<u64>,
        form: Form,
    ) -> PyResult<Option<Py<PyAny>>> {
        let kept = self.shared.kept(|taken| form.fits(taken));
        let taken = match kept.map_err(|failure| failure.raise(py))? {
            Some(kept) => Some(kept),
            None => {
                self.receive(py, timeout_ms, form.needs_lease(), |reader| Ok(form.take(reader)?))?
            }
        };
        taken.map(|taken| taken.into_python(py)).transpose()
    }

    /// Reads a message of `needed_bytes` that is there into a bytes object. None: it was overwritten meanwhile,
    /// and nothing else is there.
    fn read_large<'py>(
        &self,
        py: Python<'py>,
        mut needed_bytes: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        loop {
            let (bytes, read) = buffer::new_bytes(py, needed_bytes, |buffer| {
                self.shared.handle.locked(|reader| Ok(reader.read_into(buffer, 0)?))
            })?;
            match read {
                Ok(Some(length)) if length == needed_bytes => return Ok(Some(bytes)),
                // Another message, that came in place of the first.
                Ok(Some(length)) => return Ok(Some(PyBytes::new(py, &bytes.as_bytes()[..length]))),
                Ok(None) => return Ok(None),
                Err(Failure::Ring(QADataSwapError::BufferTooSmall {
                    needed_bytes: more, ..
                })) => {
                    needed_bytes = more;
                }
                Err(failure) => return Err(failure.raise(py)),
            }
        }
    }
}

#[pymethods]
impl Reader {
    #[new]
    #[pyo3(signature = (name, *, start, wait, spin_us, on_overrun, attach_timeout_ms, register, lossless,
                        max_leases, prefault, lock_memory, huge_pages, writable_mapping))]
    #[expect(clippy::too_many_arguments, reason = "keyword options")]
    fn new(
        py: Python<'_>,
        name: &str,
        start: &str,
        wait: &str,
        spin_us: &Bound<'_, PyAny>,
        on_overrun: &str,
        attach_timeout_ms: Option<&Bound<'_, PyAny>>,
        register: bool,
        lossless: bool,
        max_leases: &Bound<'_, PyAny>,
        prefault: bool,
        lock_memory: bool,
        huge_pages: bool,
        writable_mapping: bool,
    ) -> PyResult<Self> {
        let rule = "microseconds, 0 or more";
        let spin_us = options::number(py, "spin_us", rule, Some(spin_us))?.unwrap_or(0);
        let rule = "a reader has room for 0 to 8 leases";
        let leases = options::number(py, "max_leases", rule, Some(max_leases))?.unwrap_or(0);
        let builder = ReaderOptions::new()
            .start(options::start(py, start)?)
            .wait(options::wait(py, wait, spin_us)?)
            .on_overrun(options::on_overrun(py, on_overrun)?)
            .register(register)
            .lossless(lossless)
            .max_leases(leases as usize)
            .prefault(prefault)
            .lock_memory(lock_memory)
            .huge_pages(huge_pages)
            .writable_mapping(writable_mapping);
        let limit =
            TimeLimit::new(options::milliseconds(py, "attach_timeout_ms", attach_timeout_ms)?);
        loop {
            let slice = limit.slice_ms(SLICE_MS);
            let builder = builder.clone().attach_timeout_ms(slice);
            match py.detach(|| builder.attach(name)) {
                Err(QADataSwapError::NotFound { .. } | QADataSwapError::ReadTimeout)
                    if slice > 0 =>
                {
                    py.check_signals()?;
                }
                Err(error) => return Err(errors::raise(py, &error)),
                Ok(reader) => {
                    let shared = Shared {
                        handle: Handle::new("reader", reader),
                        pending: Mutex::default(),
                        has_pending: AtomicBool::new(false),
                    };
                    return Ok(Self { shared: Arc::new(shared), name: name.to_owned() });
                }
            }
        }
    }

    /// Reads the next message as its record batches, which export the Arrow PyCapsule interface; None if
    /// there is none within timeout_ms milliseconds (None: waits for ever). Does not need pyarrow.
    ///
    /// zero_copy: the buffers lie in shared memory, and the message stays leased (the writer passes over its
    /// slot) until everything made from the batches is gone.
    ///
    /// Raises ArrowError if the message is not a sound Arrow IPC stream (it has then been consumed),
    /// ClosedError when the ring has ended and everything is consumed, OverrunError if on_overrun="error",
    /// EvictedError; with zero_copy also TooManyLeasesError, HoldsUnavailableError and NotAlignedError, which
    /// consume nothing.
    #[pyo3(signature = (timeout_ms=None, *, zero_copy=false))]
    fn read_batches(
        &self,
        py: Python<'_>,
        timeout_ms: Option<&Bound<'_, PyAny>>,
        zero_copy: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        let timeout_ms = options::milliseconds(py, "timeout_ms", timeout_ms)?;
        self.receive_as(py, timeout_ms, Form::Batches { zero_copy })
    }

    /// Reads the next message as bytes; None if there is none within timeout_ms milliseconds (None: waits for
    /// ever).
    ///
    /// Raises ClosedError, OverrunError, EvictedError, CorruptMessageError.
    #[pyo3(signature = (timeout_ms=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        timeout_ms: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let timeout_ms = options::milliseconds(py, "timeout_ms", timeout_ms)?;
        let kept = self.shared.kept(|taken| matches!(taken, Taken::Bytes(_)));
        if let Some(Taken::Bytes(kept)) = kept.map_err(|failure| failure.raise(py))? {
            return Ok(Some(PyBytes::new(py, &kept)));
        }
        let limit = TimeLimit::new(timeout_ms);
        let mut small = [0; SMALL_BYTES];
        loop {
            let left = timeout_ms.map(|_| limit.slice_ms(u64::MAX));
            let read =
                self.receive(py, left, false, |reader| match reader.read_into(&mut small, 0) {
                    Ok(length) => Ok(length.map(Ok)),
                    Err(QADataSwapError::BufferTooSmall { needed_bytes, .. }) => {
                        Ok(Some(Err(needed_bytes)))
                    }
                    Err(error) => Err(error.into()),
                })?;
            match read {
                None => return Ok(None),
                Some(Ok(length)) => return Ok(Some(PyBytes::new(py, &small[..length]))),
                Some(Err(needed_bytes)) => {
                    if let Some(bytes) = self.read_large(py, needed_bytes)? {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Reads the next message into a writable bytes-like object (bytearray, memoryview, NumPy array) and gives
    /// its length in bytes; None if there is none within timeout_ms milliseconds (None: waits for ever).
    ///
    /// Raises BufferTooSmallError, and the message is not consumed; otherwise as read.
    #[pyo3(signature = (buffer, timeout_ms=None))]
    fn read_into(
        &self,
        py: Python<'_>,
        buffer: &Bound<'_, PyAny>,
        timeout_ms: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<usize>> {
        let timeout_ms = options::milliseconds(py, "timeout_ms", timeout_ms)?;
        // Nothing is kept for this kind of read: it would have to fit.
        self.shared.kept(|_| false).map_err(|failure| failure.raise(py))?;
        let mut view = buffer::View::writable(buffer, "read_into")?;
        let bytes = view.bytes_mut();
        self.receive(py, timeout_ms, false, |reader| Ok(reader.read_into(bytes, 0)?))
    }

    /// Reads the next message in place: gives read-only memory that stays as it is until the lease is released
    /// and the last view of it is gone; None if there is no message within timeout_ms milliseconds (None:
    /// waits for ever).
    ///
    /// Raises TooManyLeasesError and HoldsUnavailableError at once, whether there is a message or not;
    /// otherwise as read.
    #[pyo3(signature = (timeout_ms=None))]
    fn lease(
        &self,
        py: Python<'_>,
        timeout_ms: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let timeout_ms = options::milliseconds(py, "timeout_ms", timeout_ms)?;
        self.receive_as(py, timeout_ms, Form::Lease)
    }

    /// Passes over the next message without reading it; False if there is none. It counts as consumed.
    fn skip(&self, py: Python<'_>) -> PyResult<bool> {
        if self.shared.kept(|_| true).map_err(|failure| failure.raise(py))?.is_some() {
            return Ok(true);
        }
        self.shared.handle.with(py, |reader| Ok(reader.skip()?))
    }

    /// Makes a lossless reader that the writer gave up (EvictedError) lossless again, at the oldest message
    /// from its place on that is still there. Returns how many messages it lost besides those that the error
    /// told of.
    fn rejoin(&self, py: Python<'_>) -> PyResult<u64> {
        self.shared.handle.with(py, |reader| Ok(reader.rejoin()?))
    }

    /// Detaches from the ring. Leases and zero-copy tables stay valid. Does nothing if done before.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.handle.close(py, |reader| {
            drop(reader);
            Ok(())
        })
    }

    /// Whether this reader has been closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        !self.shared.handle.is_open(py)
    }

    /// The ring's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Begins an asynchronous read in the form "bytes", "batches", "batches in place" or "lease".
    fn _begin(
        &self,
        py: Python<'_>,
        form: &str,
        timeout_ms: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Ticket> {
        let form = match form {
            "bytes" => Form::Bytes,
            "batches" => Form::Batches { zero_copy: false },
            "batches in place" => Form::Batches { zero_copy: true },
            _ => Form::Lease,
        };
        let timeout_ms = options::milliseconds(py, "timeout_ms", timeout_ms)?;
        // Here, because the thread that would find it out is not in the child.
        self.shared.handle.check_fork().map_err(|failure| failure.raise(py))?;
        Ok(Ticket::new(self.shared.clone(), form, timeout_ms))
    }

    /// The counters, in the order of qadataswap.ReaderStats.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let ReaderStats {
            consumed,
            lost,
            overruns,
            timeouts,
            position,
            sequence,
            lag,
            registered,
            leases,
            evictions,
            ..
        } = self.shared.handle.with(py, |reader| Ok(reader.stats()))?;
        (consumed, lost, overruns, timeouts, position, sequence, lag, registered, leases, evictions)
            .into_pyobject(py)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a reader cannot be pickled; send its name and create one in the other process",
        ))
    }
}
