cimport cython
from kubeedge._speedups.scan cimport Scanner

cdef int _KIND
cdef int _API_VERSION
cdef int _METADATA


cdef class Identity:
    cdef public str api_version
    cdef public str kind
    cdef public str namespace
    cdef public str name
    cdef public str uid
    cdef public str resource_version
    cdef public bint is_deleting


@cython.locals(identity=Identity, scan=Scanner, found=int)
cpdef Identity identify(bytes content)
cdef void _read_metadata(Scanner scan, Identity identity) except *
