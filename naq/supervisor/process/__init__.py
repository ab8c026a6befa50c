"""One run on this machine, as a process or a task, and what is left when it or we die.

* ``run``: one run of a service as a process
* ``process``: one child process and its group; short commands
* ``task``: one run as a task in the supervisor's own process
* ``runner``: the program that runs a function as a process
* ``limits``: as which user it runs, and how much it may use
* ``health``: whether it is ready, alive, silent for too long
* ``probes``: one look at a service from outside
* ``notify_socket``: what it says itself (sd_notify)
* ``leftovers``: what the supervisor leaves behind, or an earlier one has
* ``guardian``: the program that cleans up after a supervisor that was killed
* ``system``: what the operating system tells about processes
"""
