"""What every layer may use and what knows none of them.

* ``names`` — what things are called on the server, and which names users may give
* ``text`` — what people write: durations, addresses, ``module:function``, templates
* ``imports`` — where modules are imported from, and how naq's own programs are started
* ``backoff`` — how long to wait before trying again
* ``local`` — private files and free ports of this machine
* ``unix`` — who is at the other end of a Unix socket
* ``http`` — one request, one answer, over h11
* ``exposition`` — numbers as Prometheus reads them
* ``exits`` — what an exit code says
* ``public`` — the names under which pickles know naq's own classes
* ``fork`` — what a forked child must not inherit
* ``version`` — which version this is
"""
