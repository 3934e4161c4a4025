cimport cython


cdef class FrameReader:
    cdef bint _is_server
    cdef long long _max_message
    cdef bytes _head
    cdef bytes _key
    cdef long long _left
    cdef long long _have
    cdef int _opcode
    cdef bint _final
    cdef int _message_opcode
    cdef bytearray _body
    cdef bint _done
    cdef readonly int failure_code
    cdef readonly str failure

    @cython.locals(
        source="const unsigned char *", pos=Py_ssize_t, stop=Py_ssize_t, take=Py_ssize_t, is_whole=bint, events=list,
        payload=bytes)
    cpdef list feed(self, bytearray data, Py_ssize_t size)
    @cython.locals(
        start=Py_ssize_t, stop=Py_ssize_t, i=Py_ssize_t, length="long long", first=int, second=int, may_be_broken=bint, payload=bytes)
    cdef Py_ssize_t _whole_message(
        self, const unsigned char *source, Py_ssize_t pos, Py_ssize_t size, list events) except -1
    @cython.locals(
        kept=Py_ssize_t, stop=Py_ssize_t, have=Py_ssize_t, need=Py_ssize_t, i=Py_ssize_t,
        head=bytes, first=int, second=int, opcode=int, length="long long")
    cdef Py_ssize_t _read_head(self, const unsigned char *source, Py_ssize_t pos, Py_ssize_t size) except -1
    @cython.locals(opcode=int)
    cdef void _check_head(self, int first, int second) except *
    @cython.locals(opcode=int, payload=bytes)
    cdef void _finish_frame(self, list events) except *
    cdef void _finish_message(self, list events, int opcode, bytes payload) except *
    @cython.locals(code=int)
    cdef void _check_close(self, bytes payload) except *
    cdef void _fail(self, int code, str reason) except *


cdef class MaskingKeys:
    cdef object _random
    cdef bytes _block
    cdef Py_ssize_t _used

    cpdef bytes next(self)


@cython.locals(
    size=Py_ssize_t, mask_bit=int, first=int, stop=Py_ssize_t, i=Py_ssize_t, head="unsigned char[14]",
    mask="const unsigned char *", target="unsigned char *", out=bytes)
cpdef bytes frame(int opcode, bytes payload, bytes key=*, bint is_final=*)
cpdef bint is_utf8(bytes data)
cpdef bytes masked(bytes payload, bytes key)
@cython.locals(out=bytes, mask="const unsigned char *", byte=int)
cdef bytes _unmasked(const unsigned char *source, Py_ssize_t pos, Py_ssize_t size, bytes key, Py_ssize_t phase)
@cython.locals(
    seen="unsigned long long", word="unsigned long long", words="unsigned long long *", pattern="unsigned char *",
    whole=Py_ssize_t, i=Py_ssize_t, j=Py_ssize_t)
cdef bint _mask(unsigned char *target, Py_ssize_t size, const unsigned char *key, Py_ssize_t phase) noexcept
