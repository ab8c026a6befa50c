"""The control socket: a running supervisor is asked things and told what to do.

* ``protocol``: what goes over the socket, for both ends; no I/O
* ``arguments``: what each command takes
* ``commands``: those that are answered at once
* ``streams``: those that take their time
* ``server``: the supervisor's end, on Trio
* ``client``: the command line's end, without an event loop
* ``metrics``: the same numbers for Prometheus, over HTTP
"""
