cimport cython
from kubeedge._speedups.frames cimport FrameReader, MaskingKeys, frame

cdef Py_ssize_t _RECORD_BYTES
cdef Py_ssize_t _SEALED_BYTES
cdef Py_ssize_t _ARRIVED_BYTES


cdef class Duplex:
    cdef public object _loop
    cdef public object _transport
    cdef public object _receiver
    cdef public object _tls
    cdef public object _incoming
    cdef public object _outgoing
    cdef readonly MaskingKeys _keys
    cdef readonly FrameReader _reader
    cdef readonly list _pending
    cdef bint _flush_is_due
    cdef public bint _is_shaking
    cdef public bint _is_open
    cdef public bint is_closed
    cdef public bint is_writable
    cdef public double received_at

    cpdef send(self, bytes payload)
    cpdef send_binary(self, bytes payload)
    cpdef send_frame(self, bytes framed)
    cpdef send_frame_now(self, bytes framed)
    cpdef _flush(self)
    @cython.locals(size=Py_ssize_t, start=Py_ssize_t)
    cpdef _write(self, bytes data)
    @cython.locals(total=Py_ssize_t, count=Py_ssize_t, has_ended=bint)
    cdef _unseal(self, Py_ssize_t nbytes)
    cdef _arrived(self, Py_ssize_t nbytes)
    @cython.locals(opcode=int, payload=bytes)
    cpdef _take(self, list events)
    cpdef bytes _key(self)
