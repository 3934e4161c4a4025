cimport cython
from kubeedge._speedups.envelope cimport Message

cdef list _NO_NUMBERS
cdef list _NO_TEXTS


# It holds nothing that could hold it.
@cython.no_gc
@cython.freelist(64)
cdef class Record:
    cdef readonly int verb
    cdef readonly int detail
    cdef readonly unsigned int number
    cdef readonly list more
    cdef readonly list texts
    cdef readonly bytes tail

    @cython.locals(texts=list, message=Message)
    cpdef Message message(self)


cdef class RecordReader:
    cdef long long _max_record
    cdef bytearray _held
    cdef long long _need

    @cython.locals(source="const unsigned char *", pos=Py_ssize_t, length="long long", records=list)
    cpdef list feed(self, bytearray data, Py_ssize_t size)


@cython.locals(
    joined=bytes, head=bytes, target="unsigned char *", text_count=Py_ssize_t, number_count=Py_ssize_t,
    joined_size=Py_ssize_t, size=Py_ssize_t, what="unsigned int", number="unsigned int", text=str)
cpdef bytes pack(int verb, int detail=*, object numbers=*, tuple texts=*, bytes tail=*)
@cython.locals(text=str)
cdef bytes _joined(tuple texts)
cpdef bytes pack_message(int verb, int detail, object number, Message message, str resource)
@cython.locals(
    what="unsigned int", number_count="long long", joined_size="long long", text_count="long long", begin="long long",
    start="long long", at="long long", record=Record)
cdef Record _read(const unsigned char *source, Py_ssize_t pos, Py_ssize_t length)
@cython.locals(joined=str, texts=list, total=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t)
cdef list _texts(const unsigned char *source, Py_ssize_t pos, Py_ssize_t count, Py_ssize_t begin, Py_ssize_t size)
cdef unsigned int _u32(const unsigned char *source, Py_ssize_t pos) noexcept
cdef void _put(unsigned char *target, unsigned int value) noexcept
