"""A supervisor started by ``naq up``: on a terminal, in the background, under systemd.

* ``foreground``: from a topology to an exit code
* ``background``: a parent, or systemd, that waits until it is up
* ``signals``: Ctrl-C counted; reload, reopen, dump
* ``terminal``: the terminal stays quiet and its status bar up to date
* ``statusbar``: what the status bar says
* ``diagnose``: what the supervisor is doing, when its loop is stuck or when asked
"""
