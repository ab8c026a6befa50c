"""Where a job is, and how to stop it, from the stream, the records and the workers.

Nothing is stored about running jobs: the workers are asked.

- ``states``: which state a job is in that has not ended; the one place that decides
- ``info``: everything known of one job; cancel and forget it
- ``arguments``: what is shown of bytes that must not be executed
- ``backend``: what a ``Job`` asks through
"""
