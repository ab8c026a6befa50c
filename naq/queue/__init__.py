"""What a program uses: queues, functions to enqueue with, tasks; and what is counted.

- ``queue``: ``Queue``
- ``functions``: ``naq.enqueue`` and the other module functions
- ``task``: ``@naq.task``
- ``send``: prepared jobs on their way to the server
- ``chosen``: ids that callers choose: which are known, and who queued what is there
- ``admin``: all queues, their numbers, pausing and purging
- ``delayed``: jobs that wait for their time; one rule for them and for schedules
- ``scheduled``: schedules and waiting jobs in one list
- ``tally``: what a worker counts
- ``counters``: the same added up on the server
- ``metrics``: the same as Prometheus reads it
- ``tracing``: spans of OpenTelemetry
"""
