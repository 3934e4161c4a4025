cimport cython
from kubeedge._speedups.scan cimport Scanner


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
@cython.locals(head=str, route=str)
cpdef bytes encode(Message message, str resource=*)
@cython.locals(is_plain=bint, char=Py_UCS4)
cdef str _quote(str text)
@cython.locals(digits=str, d=str, i=Py_ssize_t)
cpdef list message_ids(bytes random)
