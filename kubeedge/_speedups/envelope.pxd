cimport cython
from kubeedge._speedups.scan cimport Scanner

cdef Py_ssize_t _PLAIN_BYTES
cdef unsigned char[1024] _plain


@cython.freelist(64)
cdef class Message:
    cdef public str id
    cdef public str parent_id
    cdef public long long timestamp_ms
    cdef public str resource_version
    cdef public str source
    cdef public str group
    cdef public str operation
    cdef public str resource
    cdef public bytes content
    cdef public str destination


@cython.locals(message=Message, scan=Scanner)
cpdef Message decode(bytes data)
@cython.locals(message=Message)
cdef Message _empty()
cdef bint _read_member(Scanner scan, Message message) except -1
cdef bint _read_header(Scanner scan, Message message) except -1
cdef bint _read_route(Scanner scan, Message message) except -1
@cython.locals(head=str, route=str, size=Py_ssize_t)
cpdef bytes encode(Message message, str resource=*)
@cython.locals(size=Py_ssize_t, start=Py_ssize_t)
cdef Py_ssize_t _plain_head(unsigned char *target, Message message, str resource) except -2
@cython.locals(char=Py_UCS4)
cdef Py_ssize_t _member(unsigned char *target, Py_ssize_t pos, bytes name, str text) except -2
@cython.locals(byte="unsigned char")
cdef Py_ssize_t _bytes(unsigned char *target, Py_ssize_t pos, bytes data) except -2
@cython.locals(is_plain=bint, char=Py_UCS4)
cdef str _quote(str text)
@cython.locals(
    digits=str, d=str, i=Py_ssize_t, j=int, pos=int, source="const unsigned char *", last="const unsigned char *",
    hexadecimal="const unsigned char *", ids=list)
cpdef list message_ids(bytes random)
