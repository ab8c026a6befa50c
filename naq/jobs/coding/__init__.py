"""Calls, values and messages as bytes, and back.

* ``codec`` — bytes and back, with signatures
* ``allowed`` — which functions may run where nothing is unpickled
* ``unpickle`` — what pickles of older releases name
* ``storable`` — what can always be written: plain text, whatever an exception says
"""
