"""What the peers have in common.

* ``driver`` — serves the commands of a run
* ``jobs`` — what they run
* ``flood``, ``bare_worker`` — loops over nats-py without a queue
* ``taskiq`` — both brokers of taskiq
"""
