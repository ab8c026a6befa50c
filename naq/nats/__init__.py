"""The link to the server, and what is asked over it. Nothing here knows what a job is.

What the rest of naq uses:

* ``connection`` — the one client: publish, store, ask, listen; the same on asyncio and on Trio
* ``streams`` — what is kept in JetStream: read it, page through it, replace it if nobody else did
* ``jetstream`` — JetStream's own words: subjects, headers, error codes, answers
* ``pull`` — standing requests for the messages of one consumer
* ``locate`` — which server, and with which credentials

What a connection is made of, from the caller inwards:

* ``seam`` — one event loop, or two threads
* ``client`` — losing the server and finding it again
* ``exchange`` — messages that wait for an answer
* ``bulk`` — many publishes at once
* ``outbox`` — what is to be written, in order
* ``protocol`` — the bytes of the NATS protocol, without I/O
* ``dial`` — nats-py, and opening one of its connections
"""
