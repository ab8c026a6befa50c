"""The values a supervisor works with, and the decisions it makes about them. No I/O but ``rundir``.

::

    spec.py       what must run: services, with everything the file may say about one
    lifecycle.py  the states of a replica, the table of its moves, the decision about a restart
    causes.py     why a run ended, and how it was brought to its end
    board.py      what every replica is doing now, and how to wait for a change
    graph.py      dependencies: the order of starting and stopping, and whether one may start
    errors.py     errors in words, and requests that are refused
    rundir.py     ``.naq/run``: where things are, and the lock
"""
