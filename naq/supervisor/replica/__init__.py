"""One replica of a service, from its first start to its removal.

::

    replica.py      what others may want of it, and ask about it
    owner.py        the one task that acts on that: a loop over the table of states
    looks.py        what can happen to it
    runs.py         its current run, and those that are ending
    incarnation.py  one run with its context, its checks and its limits
    state.py        its values: status, history, output
    wish.py         what is wanted of it
    host.py         what all replicas share, and the environment of their runs
    announce.py     the lines the supervisor prints about it
"""
