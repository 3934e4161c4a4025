"""A cloud and an edge node on one machine, to look at and to prove that they work (`ci/demo`).

`site` starts the three programs as ordinary child processes with files that it writes, `check` goes through every
promise step by step, `show` draws what happens on the terminal. Nothing here is used by the programs themselves.
"""
