"""What services print, on its way to people, files and machines; no service ever waits for it.

* ``lines``: from bytes to lines that are safe to show
* ``hub``: from pipes to sinks, and the lines that are kept
* ``writer``: onto standard output, by a thread
* ``files``: into log files, by another thread
* ``rotation``: one log file and its predecessors
"""
