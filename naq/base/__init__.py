"""What every layer may use and what knows none of them.

* ``names`` — what things are called on the server, and which names users may give
* ``text`` — what people write: durations, addresses, ``module:function``, templates
* ``backoff`` — how long to wait before trying again
* ``local`` — private files and free ports of this machine
* ``version`` — which version this is
"""
