"""The supervisor file: read, checked, completed, shown.

* ``read``: from a file to a topology, or to all its problems
* ``recipe``: how a topology was asked for, so that it can be read again
* ``services``: from the ``[services]`` table to service specs
* ``keys``: all keys, one line each
* ``subtables``: keys of a service that are tables of their own
* ``checks``: what no single key can tell
* ``advice``: what is not wrong but may not do what its author expects
* ``show``: the file as a graph, as values, as a JSON Schema
"""
