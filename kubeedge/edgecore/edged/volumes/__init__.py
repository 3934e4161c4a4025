"""Volumes of a pod on the node's file system: what they hold, where they are mounted, how they are cleared away.

`payload` gathers the files of projected kinds, `atomic` swaps them in, `mounts` speaks to the kernel, `mounter` keeps
the volumes of one pod (spec 05 §5.6).
"""
