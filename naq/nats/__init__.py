"""The link to the server, and what is asked over it. Nothing here knows what a job is.

* ``connection`` — the one client: publish, store, ask, listen; the same on asyncio and on Trio
* ``streams`` — what is kept in JetStream: read it, page through it, replace it if nobody else did
* ``jetstream`` — JetStream's own words: subjects, headers, error codes, answers
* ``watch`` — waiting for something, so that it cannot be missed
* ``pull`` — standing requests for the messages of one consumer
* ``urls`` — server urls as people write them
* ``locate`` — which server, and with which credentials
* ``protocol`` — the bytes of the NATS protocol, without I/O
* ``link/`` — what a connection is made of
"""
