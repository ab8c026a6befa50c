"""One job: what it is, where it is kept, and how to ask about it.

- ``job``: the values, as they are queued, stored and held by callers
- ``calls``: what may be enqueued, and with which options; arguments as JSON
- ``coding/``: calls, values and messages to bytes and back; signatures
- ``message``: from a call to the message that queues it
- ``layout``: the streams and consumers on the server
- ``results``: how a job ended: read it, wait for it, write it
- ``deadletters``: jobs that will not be tried again
- ``inspect``: where a job is, how to stop it and how to forget it
- ``presence``: what workers say of themselves, and are told
- ``shared``: which connection a call uses, and the one each event loop shares
- ``sync``: the twins of async functions for code without an event loop
- ``runtime``: the thread on which those run
"""
