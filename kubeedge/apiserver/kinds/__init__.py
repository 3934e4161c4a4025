"""The table of kinds: everything the embedded API knows about each kind of object, as data and small pure functions.

`spec` says what there is to know about a kind, `table` lists the built-in kinds, `registry` finds them by path; custom
resource definitions add theirs at run time (`apiserver.crd`). Nothing here does I/O or reads a clock.
"""
