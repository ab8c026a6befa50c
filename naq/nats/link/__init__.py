"""What a connection is made of, from the caller inwards.

* ``seam`` — one event loop, or two threads
* ``client`` — losing the server and finding it again
* ``exchange`` — messages that wait for an answer
* ``bulk`` — many publishes at once
* ``outbox`` — what is to be written, in order
* ``dial`` — nats-py, and opening one of its connections
"""
