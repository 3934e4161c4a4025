"""The node itself in the API: its registration, status and lease (spec 05 §4.4, §4.5).

`hardware` and `pressure` read the machine, `status` builds what is told of it, `keeper` and `lease` tell it.
"""
