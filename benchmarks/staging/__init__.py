"""What stands ready before anything is measured.

* ``contestants`` — naq, its revisions and its peers
* ``venvs`` — an environment for each
* ``revisions`` — naq as it was at a commit
* ``brokers`` — NATS and Redis
* ``processes`` — programs that are started, watched and ended
* ``stage`` — a contestant with its broker and workers
* ``runs`` — rounds in turn
"""
