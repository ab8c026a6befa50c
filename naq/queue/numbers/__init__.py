"""What is counted.

- ``stats``: how many jobs each queue has, by state
- ``tally``: what has happened to jobs, as a worker counts it
- ``counters``: the same added up on the server
- ``metrics``: all of it as Prometheus reads it
"""
