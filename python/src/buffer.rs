//! The buffer protocol.
//!
//! It entered Python's stable ABI with 3.11, and pyo3 offers it from there on only. The functions and the
//! struct have been there unchanged since 3.3, in every build of CPython, so they are declared here and the
//! package runs from 3.9 on.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use pyo3::{PyTypeInfo, ffi};

/// `Py_buffer` of `cpython/Include/pybuffer.h`.
#[repr(C)]
pub struct Py_buffer {
    buf: *mut c_void,
    obj: *mut ffi::PyObject,
    len: ffi::Py_ssize_t,
    itemsize: ffi::Py_ssize_t,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut ffi::Py_ssize_t,
    strides: *mut ffi::Py_ssize_t,
    suboffsets: *mut ffi::Py_ssize_t,
    internal: *mut c_void,
}

const PYBUF_SIMPLE: c_int = 0;
const PYBUF_WRITABLE: c_int = 1;
/// The format with the shape that it is of: memoryviews give it only so. Contiguous, as the others.
const PYBUF_FORMAT_AND_SHAPE: c_int = 4 | 8;

unsafe extern "C" {
    fn PyObject_GetBuffer(object: *mut ffi::PyObject, view: *mut Py_buffer, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut Py_buffer);
    fn PyBuffer_FillInfo(
        view: *mut Py_buffer,
        exporter: *mut ffi::PyObject,
        buf: *mut c_void,
        len: ffi::Py_ssize_t,
        readonly: c_int,
        flags: c_int,
    ) -> c_int;
}

/// The memory of a bytes-like object, held until this is dropped.
///
/// While it is held the object cannot move or free it, but other threads may store to it, as with every call
/// that releases the interpreter (`file.write`, `hashlib`): what is then copied is undetermined, no more.
pub struct View<'py> {
    view: Box<Py_buffer>,
    py: PhantomData<Python<'py>>,
}

impl<'py> View<'py> {
    /// Memory to read from; `what` is what the call does with it.
    pub fn readable(object: &Bound<'py, PyAny>, what: &str) -> PyResult<Self> {
        Self::new(object, PYBUF_SIMPLE, what)
    }

    /// Memory to store to.
    pub fn writable(object: &Bound<'py, PyAny>, what: &str) -> PyResult<Self> {
        Self::new(object, PYBUF_WRITABLE, what)
    }

    fn new(object: &Bound<'py, PyAny>, flags: c_int, what: &str) -> PyResult<Self> {
        // NumPy shows arrays of objects as memory, too; and some that have none, it shows without a format only.
        let (view, objects) = match Self::request(object, flags | PYBUF_FORMAT_AND_SHAPE) {
            Ok(view) => {
                let objects = view.has_objects();
                (view, objects)
            }
            Err(_) => {
                let view = Self::request(object, flags);
                let view = view.map_err(|cause| refusal(object, flags, what, cause))?;
                (view, dtype_has_objects(object)?)
            }
        };
        if objects {
            return Err(PyTypeError::new_err(format!(
                "{what} takes memory that has the values in it, not an array of Python objects, which has only \
                 their addresses"
            )));
        }
        Ok(view)
    }

    fn request(object: &Bound<'py, PyAny>, flags: c_int) -> PyResult<Self> {
        let mut view = Box::new(Py_buffer {
            buf: std::ptr::null_mut(),
            obj: std::ptr::null_mut(),
            len: 0,
            itemsize: 0,
            readonly: 0,
            ndim: 0,
            format: std::ptr::null_mut(),
            shape: std::ptr::null_mut(),
            strides: std::ptr::null_mut(),
            suboffsets: std::ptr::null_mut(),
            internal: std::ptr::null_mut(),
        });
        // SAFETY: the object is alive, the interpreter attached (both as `object` says), and the view is on
        // the heap, so that it stays where it is: exporters may point into it.
        if unsafe { PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags) } == 0 {
            return Ok(Self { view, py: PhantomData });
        }
        Err(PyErr::fetch(object.py()))
    }

    /// Whether the memory's format, as the `struct` module has it, has references to Python objects in it.
    fn has_objects(&self) -> bool {
        if self.view.format.is_null() {
            return false;
        }
        // SAFETY: not null, and then a string that the exporter keeps until the release.
        let format = unsafe { CStr::from_ptr(self.view.format) };
        // Names of fields stand between colons.
        format.to_bytes().split(|byte| *byte == b':').step_by(2).any(|part| part.contains(&b'O'))
    }

    pub fn bytes(&self) -> &[u8] {
        let Some((start, len)) = self.range() else { return &[] };
        // SAFETY: PYBUF_SIMPLE and PYBUF_WRITABLE give `len` contiguous readable bytes, held until the
        // release in `drop`. That others may store to them meanwhile is told above; the copy that is made of
        // them depends on no value in them.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Of a [`writable`](Self::writable) view.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        debug_assert_eq!(self.view.readonly, 0);
        let Some((start, len)) = self.range() else { return &mut [] };
        // SAFETY: as in `bytes`; the exporter said that the memory is writable.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    fn range(&self) -> Option<(*mut u8, usize)> {
        let len = usize::try_from(self.view.len).unwrap_or(0);
        (!self.view.buf.is_null() && len > 0).then_some((self.view.buf.cast(), len))
    }
}

/// As NumPy tells it.
fn dtype_has_objects(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Some(dtype) = object.getattr_opt("dtype")? else { return Ok(false) };
    dtype.getattr_opt("hasobject")?.map_or(Ok(false), |has| has.is_truthy())
}

/// What to raise for an object whose memory cannot be had.
fn refusal(object: &Bound<'_, PyAny>, flags: c_int, what: &str, cause: PyErr) -> PyErr {
    let py = object.py();
    let kind = object.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string());
    let has = |method| object.hasattr(method).unwrap_or(false);
    let error = if cause.is_instance_of::<PyTypeError>(py) {
        let table = has("__arrow_c_stream__") || has("__arrow_c_array__");
        let hint = if table { "; tables are written with write_arrow" } else { "" };
        PyTypeError::new_err(format!("{what} takes a bytes-like object, not {kind}{hint}"))
    } else {
        let need = if flags == PYBUF_WRITABLE { "contiguous writable" } else { "contiguous" };
        PyBufferError::new_err(format!("{what} takes {need} memory, which {kind} is not: {cause}"))
    };
    error.set_cause(py, Some(cause));
    error
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // SAFETY: the view was filled by PyObject_GetBuffer and is released once; the interpreter is
        // attached, because the view has the lifetime of an attachment and is not Send.
        unsafe { PyBuffer_Release(&raw mut *self.view) };
    }
}

/// A bytes object of `len` bytes that `fill` stores while other threads run. Unlike `PyBytes::new_with`, which first
/// fills it with zeros and keeps the interpreter: most of what a large one takes is to have its memory at all.
///
/// What `fill` leaves out is undetermined, and must not be shown to anybody.
pub fn new_bytes<'py, R: Send>(
    py: Python<'py>,
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> R + Send,
) -> PyResult<(Bound<'py, PyBytes>, R)> {
    let size = ffi::Py_ssize_t::try_from(len)?;
    // SAFETY: attached; null has it make an object whose bytes are to be stored by the caller.
    let object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
    // SAFETY: a new reference, or null with an exception set.
    let bytes = unsafe { Bound::from_owned_ptr_or_err(py, object) }?.cast_into::<PyBytes>()?;
    if len == 0 {
        // The one empty object, which everybody has.
        return Ok((bytes, fill(&mut [])));
    }
    // SAFETY: a bytes object, made above.
    let start = unsafe { ffi::PyBytes_AsString(bytes.as_ptr()) };
    // SAFETY: its `len` bytes, which nobody else has seen yet and `bytes` keeps. They may be uninitialised: they are
    // only stored to.
    let buffer = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), len) };
    let filled = py.detach(|| fill(buffer));
    Ok((bytes, filled))
}

/// Memory that a class shows through the buffer protocol, read-only.
pub trait Export: PyTypeInfo {
    /// The bytes, which must stay where and as they are until [`unexport`](Self::unexport).
    fn export(slf: &Bound<'_, Self>) -> PyResult<(*const u8, usize)>;
    /// One export less.
    fn unexport(slf: &Bound<'_, Self>);
}

/// A subclass of `T`, named `name`, that has the buffer protocol.
pub fn exporting_class<'py, T: Export>(
    py: Python<'py>,
    name: &'static std::ffi::CStr,
) -> PyResult<Bound<'py, PyAny>> {
    /// Slot numbers from `cpython/Include/typeslots.h`; CPython takes them from a specification since 3.9.
    const BF_GETBUFFER: c_int = 1;
    const BF_RELEASEBUFFER: c_int = 2;
    let mut slots = [
        ffi::PyType_Slot { slot: BF_GETBUFFER, pfunc: get_buffer::<T> as *mut c_void },
        ffi::PyType_Slot { slot: BF_RELEASEBUFFER, pfunc: release_buffer::<T> as *mut c_void },
        ffi::PyType_Slot::default(),
    ];
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        // As the base has it.
        basicsize: 0,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as _,
        slots: slots.as_mut_ptr(),
    };
    // In a tuple: Python 3.9 takes nothing else.
    let bases = PyTuple::new(py, [T::type_object(py)])?;
    // SAFETY: the specification is complete, its name is static, its functions have the types that the two
    // slots want, and the interpreter is attached; the bases are a tuple of one type.
    let class = unsafe { ffi::PyType_FromSpecWithBases(&mut spec, bases.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, class) }
}

unsafe extern "C" fn get_buffer<T: Export>(
    object: *mut ffi::PyObject,
    view: *mut Py_buffer,
    flags: c_int,
) -> c_int {
    // SAFETY: Python calls slots attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: a live object, borrowed for the call.
    let object = unsafe { Bound::from_borrowed_ptr(py, object) };
    if view.is_null() {
        PyBufferError::new_err("no Py_buffer to fill in").restore(py);
        return -1;
    }
    let filled = object.cast::<T>().map_err(PyErr::from).and_then(|exporter| {
        let (start, len) = T::export(exporter)?;
        // SAFETY: the view is Python's to be filled; the memory stays until `release_buffer`, and the view
        // keeps the exporter.
        let result = unsafe {
            PyBuffer_FillInfo(
                view,
                object.as_ptr(),
                start.cast_mut().cast(),
                len as ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if result == 0 {
            return Ok(());
        }
        T::unexport(exporter);
        Err(PyErr::fetch(py))
    });
    match filled {
        Ok(()) => 0,
        Err(error) => {
            // SAFETY: not null, and Python's to be filled; the protocol has it so for what is refused.
            unsafe { (*view).obj = std::ptr::null_mut() };
            error.restore(py);
            -1
        }
    }
}

unsafe extern "C" fn release_buffer<T: Export>(object: *mut ffi::PyObject, _view: *mut Py_buffer) {
    // SAFETY: Python calls slots attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: a live object, borrowed for the call.
    let object = unsafe { Bound::from_borrowed_ptr(py, object) };
    if let Ok(exporter) = object.cast::<T>() {
        T::unexport(exporter);
    }
}
