"""What is measured.

* ``workloads`` — what all contestants do
* ``own`` — what only naq can be asked for: ``startup``, ``schedules``, ``dashboard``, ``web``
* ``scene`` — a server and naq's programs for those
* ``jobs`` — what they run
* ``no_uvloop``, ``with_dashboard`` — naq started in another way
"""
