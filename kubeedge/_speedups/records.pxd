cimport cython
from kubeedge._speedups.envelope cimport Message


@cython.freelist(64)
cdef class Record:
    cdef public int verb
    cdef public int detail
    cdef public list numbers
    cdef public list texts
    cdef public bytes tail

    @cython.locals(texts=list, message=Message)
    cpdef Message message(self)


cdef class RecordReader:
    cdef long long _max_record
    cdef bytearray _held
    cdef long long _need

    @cython.locals(pos=Py_ssize_t, length="long long", records=list)
    cpdef list feed(self, bytearray data, Py_ssize_t size)


@cython.locals(
    joined=bytes, head=bytes, target="unsigned char *", text_count=Py_ssize_t, number_count=Py_ssize_t,
    joined_size=Py_ssize_t, size=Py_ssize_t, what="unsigned int", number="unsigned int", text=str)
cpdef bytes pack(int verb, int detail=*, object numbers=*, tuple texts=*, bytes tail=*)
cpdef bytes pack_message(int verb, int detail, object number, Message message, str resource)
@cython.locals(
    what="unsigned int", number_count="long long", joined_size="long long", text_count="long long",
    start="long long", joined=str, texts=list, begin=Py_ssize_t, end=Py_ssize_t, text_length=Py_ssize_t,
    numbers=list)
cdef Record _read(bytearray data, Py_ssize_t pos, Py_ssize_t length)
@cython.locals(numbers=list)
cdef list _u32s(bytearray data, Py_ssize_t pos, Py_ssize_t count)
cdef unsigned int _u32(bytearray data, Py_ssize_t pos)
cdef void _put(unsigned char *target, unsigned int value)
