"""Runs a flow: which task is next (`graph`, pure), how an attempt is performed (`calls`), where (`processes`, `threads`).

May touch: child processes and threads of its own, `model`, `errors`. Must not: the network, files, the kernel, logging; what
happens is told to a `Reporter`. This package imports nothing here: the process that forks the tasks must stay small.
"""
