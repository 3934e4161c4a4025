cimport cython


@cython.final
cdef class Side:
    cdef public str value
    cdef public long long timestamp_ms
    cdef public long long cloud
    cdef public long long edge
    cdef public bint is_set
    cdef public bint has_version


@cython.final
cdef class Twin:
    cdef readonly str device
    cdef readonly str name
    cdef public str type
    cdef readonly Side expected
    cdef readonly Side actual
    cdef public long long row
    cdef public long long sent_ms
    cdef public unsigned char unsent
    cdef public unsigned char in_flight
    cdef public bint is_optional
    cdef public bint is_dirty
    cdef public bint is_marked

    cpdef str member(self, str value)
    @cython.locals(text=str)
    cpdef str entry(self, int bits, bint with_versions)
    @cython.locals(expected=Side, actual=Side, nothing=str)
    cpdef tuple columns(self)
    cpdef void mark(self) except *

@cython.final
cdef class Device:
    cdef readonly str id
    cdef public str name
    cdef public str description
    cdef public str state
    cdef public str last_online
    cdef readonly dict twins
    cdef public dict attributes
    cdef list _ordered

    cpdef void add(self, Twin twin) except *
    cpdef list ordered(self)
    cpdef bytes document(self, str event_id, long long now_ms, str members)
    @cython.locals(entries=str, twin=Twin)
    cpdef bytes twins_payload(self, str event_id, long long now_ms)
    @cython.locals(entries=str, twin=Twin)
    cpdef bytes news_payload(self, str event_id, long long now_ms)
    @cython.locals(is_needed=bint, entries=str, deltas=str, head=str, expected=str, twin=Twin)
    cpdef bytes delta_payload(self, str event_id, long long now_ms)
    @cython.locals(twin=Twin)
    cpdef void arrived(self) except *
    @cython.locals(is_unsent=bint, twin=Twin)
    cpdef bint lost(self) except -1
    @cython.locals(twin=Twin)
    cpdef list settled(self, long long before_ms)


cdef str _side(Side side)
cdef str _version(Side side)
@cython.locals(is_plain=bint, char=Py_UCS4)
cdef str _quoted(str text)
cpdef str quote(str text)
