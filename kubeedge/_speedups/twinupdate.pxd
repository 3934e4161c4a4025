cimport cython
from kubeedge._speedups.twin cimport Device, Side, Twin
from kubeedge._speedups.twinrequest cimport Request, Wanted


@cython.final
cdef class Changes:
    cdef readonly list dirty
    cdef readonly list marks


@cython.final
@cython.freelist(64)
cdef class Outcome:
    cdef readonly str reason
    cdef readonly bytes result
    cdef readonly bytes document
    cdef readonly bytes delta
    cdef readonly bint has_news


@cython.locals(
    outcome=Outcome, wanted=Wanted, twin=Twin, reason=str, results=str, documents=str, last=str,
    bits=int, is_news=bint)
cpdef Outcome report(Device device, Request request, long long now_ms, str delta_id, Changes changes)
@cython.locals(
    outcome=Outcome, wanted=Wanted, twin=Twin, documents=str, last=str, current=str, refused=int,
    is_changed=bint)
cpdef Outcome sync(Device device, Request request, long long now_ms, str delta_id, Changes changes)
@cython.locals(value_type=str, reason=str)
cdef str _refusal(Twin twin, Wanted wanted)
@cython.locals(value_type=str)
cdef bint _is_wrong(Twin twin, Wanted wanted, str value) except -1
cdef bint _is_addable(Wanted wanted) except -1
@cython.locals(twin=Twin)
cdef Twin _added(Device device, Wanted wanted)
cdef void _add_side(Side side, bint is_given, str value, long long now_ms) noexcept
cdef void _add_synced_side(Side side, str value, tuple version, long long now_ms) except *
@cython.locals(is_news=bint)
cdef bint _set_side(Side side, str value, long long now_ms) except -1
cdef void _set_value(Side side, str value, long long now_ms) noexcept
cdef bint _is_older(Side side, tuple version) except -1
cdef void _take_version(Side side, tuple version) except *
cdef void _delete(Twin twin) except *
cdef void _clear(Twin twin) except *
cdef void _clear_side(Side side) noexcept
cdef void _touch(Twin twin, Changes changes) except *
cdef void _note(Twin twin, int bits, bint is_news, long long now_ms, Changes changes, Outcome outcome) except *
