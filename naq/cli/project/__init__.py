"""Commands about a project and its services.

* ``up``: run a project, in the foreground or the background
* ``services``: ask a running project for something
* ``watch``: show its output, its events and its table
* ``file``: check, describe and draw the file; run a service's command once
* ``options``: what these commands share
"""
