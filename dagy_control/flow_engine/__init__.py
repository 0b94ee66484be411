"""Runs a flow: which task is next (`graph`, pure), how an attempt is performed (`calls`), and where (`processes`, `threads`).

A child process performs further attempts only while it is clean: `leftovers` says whether it is.

May touch: child processes and threads of its own, `model`, `errors`; of files only /proc, the container's control group, and large results
in a temporary folder. Must not: the network, the kernel, logging; what happens is told to a `Reporter`. This package imports nothing here:
the process that forks the tasks must stay small.
"""
