cimport cython

cdef Py_ssize_t MAX_DEPTH
cdef object _INTEGER


cdef class Scanner:
    cdef readonly bytes data
    cdef const unsigned char *_bytes
    cdef Py_ssize_t _end
    cdef bint _is_first
    cdef bint _is_plain
    cdef const unsigned char *_key
    cdef Py_ssize_t _key_size
    cdef bytes _key_text
    cdef public Py_ssize_t pos
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t stop

    cdef int peek(self) noexcept
    @cython.locals(byte=int)
    cdef bint enter_object(self, str what) except -1
    @cython.locals(byte=int)
    cdef bint next_member(self) except -1
    @cython.locals(wanted="const unsigned char *", i=Py_ssize_t)
    cdef bint is_key(self, bytes name) noexcept
    cdef void fold_key(self) except *
    @cython.locals(token=bytes)
    cdef str key(self)
    cdef bytes value(self)
    @cython.locals(stop=Py_ssize_t)
    cdef void skip(self) except *
    @cython.locals(byte=int)
    cdef str text(self, str default, str what)
    @cython.locals(number="long long", pos=Py_ssize_t, token=bytes)
    cdef long long integer(self, long long default, str what) except? -1
    @cython.locals(byte=int)
    cdef void boolean(self, str what) except *
    @cython.locals(stop=Py_ssize_t)
    cdef void _check_value(self) except *
    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t)
    cdef void _pass_key(self) except *
    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, byte="unsigned char", i=Py_ssize_t)
    cdef Py_ssize_t _string_end(self, Py_ssize_t pos) noexcept
    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, i=Py_ssize_t)
    cdef Py_ssize_t _number_end(self, Py_ssize_t pos) noexcept
    @cython.locals(byte=int)
    cdef Py_ssize_t _space_end(self, Py_ssize_t pos) noexcept
    @cython.locals(byte="unsigned char")
    cdef Py_ssize_t _scalar_end(self, Py_ssize_t pos) noexcept
    @cython.locals(depth=Py_ssize_t, byte=int, opener=int, openers="unsigned char[1024]")
    cdef Py_ssize_t _value_end(self, Py_ssize_t pos) noexcept
    cdef Py_ssize_t _key_end(self, Py_ssize_t pos) noexcept


cpdef str unquote(bytes token)
cpdef bytes fold(bytes key)
@cython.locals(scanner=Scanner)
cpdef Py_ssize_t value_end(bytes data, Py_ssize_t start=*) except -1
