cimport cython
from kubeedge._speedups.scan cimport Scanner


@cython.final
@cython.freelist(64)
cdef class Wanted:
    cdef readonly str name
    cdef readonly bint is_null
    cdef readonly bint has_expected
    cdef readonly bint has_actual
    cdef readonly str expected
    cdef readonly str actual
    cdef readonly int optional
    cdef readonly str type
    cdef readonly tuple expected_version
    cdef readonly tuple actual_version


@cython.final
@cython.freelist(64)
cdef class Request:
    cdef readonly str event_id
    cdef readonly long long timestamp_ms
    cdef readonly list twins


@cython.locals(request=Request, twins=dict, scan=Scanner, wanted=Wanted)
cpdef Request parse(bytes payload, bint is_checked=*)
cpdef str event_id_of(bytes payload)
cdef bint _read_base(Scanner scan, Request request) except -1
@cython.locals(wanted=Wanted)
cdef dict _read_twins(Scanner scan, dict twins)
@cython.locals(first=int)
cdef bint _read_wanted(Scanner scan, Wanted wanted) except -1
cdef str _read_value(Scanner scan, str value)
cdef str _read_type(Scanner scan, str value_type)
@cython.locals(cloud="long long", edge="long long")
cdef tuple _read_version(Scanner scan, tuple version)
@cython.locals(char=Py_UCS4)
cdef bint _is_plain(str text) except -1
cdef bint _is_fit(str value) except -1
cpdef str check_value(str value_type, str value)
@cython.locals(digits=Py_ssize_t, points=Py_ssize_t, char=Py_UCS4)
cdef bint _is_decimal(str text) except -1
