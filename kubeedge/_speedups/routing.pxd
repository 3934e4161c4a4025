cimport cython
from kubeedge._speedups.envelope cimport Message


@cython.locals(operation=str, resource=str, source=str)
cpdef int upstream(Message message)
@cython.locals(group=str)
cpdef int downstream(Message message)
cpdef bint is_control(Message message)
@cython.locals(source=str, is_response=bint, first=str, rest=str, kind=str, name=str)
cpdef bint needs_ack(Message message, str wire_resource)
