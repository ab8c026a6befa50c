"""All services of a project together.

::

    crew.py         every replica, and everything that may be asked of them
    roster.py       the replicas that exist: made, found, scaled, removed
    groups.py       services that are restarted together
    reload.py       takes over a changed file
    plan.py         the smallest change from one topology to another
    running.py      what all of these share: topology, board, history, output
    events.py       what has happened, and what is going on, as clients are given it
    hooks.py        commands that are run when something happens
    preparation.py  the kinds of the project, and what they export
"""
