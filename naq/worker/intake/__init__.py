"""How jobs come to a worker.

* ``intake`` — standing requests to its queues
* ``demand`` — how many jobs to ask each queue for, and whose starts next; pure
"""
