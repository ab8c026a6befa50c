"""What keeps a worker's jobs its own while it lives, and gives them back when it dies.

* ``leases`` — which jobs are certainly still this worker's; pure
* ``deaths`` — what the deaths of its workers say about a job; pure
* ``renewal`` — renews the lease of what is held, from outside of the loop that runs the jobs
* ``stall`` — which job blocks that loop, since when, and the end of a process where it goes on
* ``ledger`` — what a worker holds, in a file that outlives the process
* ``guardian`` — who starts the aftermath of a worker that nobody else watches
* ``aftermath`` — the program that gives back what a dead worker held, and writes down how it died
"""
