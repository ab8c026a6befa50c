"""What a type of service is written with.

* ``kind``: the base class, and what it is given
* ``schema``: how tables of a supervisor file are described
* ``values``: what their keys may hold
* ``environment``: the variables of a service, and files with variables
* ``topology``: a whole project as a value
"""
