"""How jobs come to a worker.

* ``intake`` — standing requests to its queues
* ``demand`` — how many jobs to ask each queue for, and whose starts next; pure
* ``fence`` — which deliveries may be repetitions although the server says that they are none
* ``lookups`` — the records of jobs that may have one, read for many at once
"""
