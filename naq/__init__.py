"""naq: a job queue on NATS JetStream, and the structured-concurrency supervisor that runs it.

The layers, highest first; a module imports only from lower ones (import-linter checks it)::

    __main__                                 python -m naq
    cli/                                     what a person types
    services                                 the service kinds of supervisor.toml
    supervisor/                              runs services; knows nothing of queues or NATS
    worker                                   compositions: tasks, deadlines
    queue  _executor  _settle                one job's life
    results  presence  deadletters           one NATS resource each
    server  connection  _topology            the edge: nats-server process, nats-py, streams
    serializers  job                         values and pure decisions
    _names  settings
    exceptions  _backoff                     words: no I/O, no async

Public names are loaded on first use, so that ``naq --version`` does not import an event loop.
"""

from __future__ import annotations

__version__ = "0.1.0"
