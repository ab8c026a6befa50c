"""The figures as a table, a chart and targets.

* ``rows`` — the table
* ``targets`` — what naq is to reach
* ``chart`` — a picture of it
* ``machine`` — where it was measured
"""
