"""The commands that talk to the server: jobs, schedules, queues.

calls        a call as it is typed
jobs         enqueue, job, cancel
schedules    schedule, list-scheduled, job-control
queues       list-queues, pause-queue, resume-queue, purge, list-workers, metrics
topology     topology
deadletters  list-failed, requeue, delete-failed
"""
