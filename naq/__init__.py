"""naq: a job queue on NATS JetStream, and the structured-concurrency supervisor that runs it.

What is named here is public. It is loaded on first use, so that ``naq --version`` does not import
an event loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from naq.base.version import __version__ as __version__

if TYPE_CHECKING:
    from naq.exceptions import ConfigurationError as ConfigurationError
    from naq.exceptions import EnqueueError as EnqueueError
    from naq.exceptions import JobCancelledError as JobCancelledError
    from naq.exceptions import JobError as JobError
    from naq.exceptions import JobExecutionError as JobExecutionError
    from naq.exceptions import JobExpiredError as JobExpiredError
    from naq.exceptions import JobNotFoundError as JobNotFoundError
    from naq.exceptions import JobTimeoutError as JobTimeoutError
    from naq.exceptions import NaqConnectionError as NaqConnectionError
    from naq.exceptions import NaqException as NaqException
    from naq.exceptions import PayloadTooLargeError as PayloadTooLargeError
    from naq.exceptions import QueueNotFoundError as QueueNotFoundError
    from naq.exceptions import SerializationError as SerializationError
    from naq.exceptions import ServerRefusedError as ServerRefusedError
    from naq.exceptions import SupervisorError as SupervisorError
    from naq.jobs.calls import Call as Call
    from naq.jobs.calls import call as call
    from naq.jobs.job import CurrentJob as CurrentJob
    from naq.jobs.job import Job as Job
    from naq.jobs.job import JobInfo as JobInfo
    from naq.jobs.job import JobStatus as JobStatus
    from naq.jobs.job import current_job as current_job
    from naq.jobs.results import Results as Results
    from naq.nats.connection import connect as connect
    from naq.queue.functions import cancel_scheduled_job as cancel_scheduled_job
    from naq.queue.functions import cancel_scheduled_job_sync as cancel_scheduled_job_sync
    from naq.queue.functions import enqueue as enqueue
    from naq.queue.functions import enqueue_at as enqueue_at
    from naq.queue.functions import enqueue_at_sync as enqueue_at_sync
    from naq.queue.functions import enqueue_in as enqueue_in
    from naq.queue.functions import enqueue_in_sync as enqueue_in_sync
    from naq.queue.functions import enqueue_many as enqueue_many
    from naq.queue.functions import enqueue_many_sync as enqueue_many_sync
    from naq.queue.functions import enqueue_sync as enqueue_sync
    from naq.queue.functions import fetch_job_result as fetch_job_result
    from naq.queue.functions import fetch_job_result_sync as fetch_job_result_sync
    from naq.queue.functions import forget as forget
    from naq.queue.functions import forget_sync as forget_sync
    from naq.queue.functions import get_schedule as get_schedule
    from naq.queue.functions import get_schedule_sync as get_schedule_sync
    from naq.queue.functions import list_schedules as list_schedules
    from naq.queue.functions import list_schedules_sync as list_schedules_sync
    from naq.queue.functions import list_workers as list_workers
    from naq.queue.functions import list_workers_sync as list_workers_sync
    from naq.queue.functions import modify_scheduled_job as modify_scheduled_job
    from naq.queue.functions import modify_scheduled_job_sync as modify_scheduled_job_sync
    from naq.queue.functions import pause_scheduled_job as pause_scheduled_job
    from naq.queue.functions import pause_scheduled_job_sync as pause_scheduled_job_sync
    from naq.queue.functions import purge_queue as purge_queue
    from naq.queue.functions import purge_queue_sync as purge_queue_sync
    from naq.queue.functions import resume_scheduled_job as resume_scheduled_job
    from naq.queue.functions import resume_scheduled_job_sync as resume_scheduled_job_sync
    from naq.queue.functions import schedule as schedule
    from naq.queue.functions import schedule_sync as schedule_sync
    from naq.queue.queue import Queue as Queue
    from naq.queue.task import Task as Task
    from naq.queue.task import task as task
    from naq.schedules.schedule import Schedule as Schedule
    from naq.schedules.schedule import ScheduleStatus as ScheduleStatus
    from naq.schedules.scheduler import Scheduler as Scheduler
    from naq.supervisor import Supervisor as Supervisor
    from naq.worker.worker import Worker as Worker

# Where modules are found by the names they had in the first release.
__path__.append(f"{__path__[0]}/services/former")

_WHERE = {
    "naq.queue.functions": "cancel_scheduled_job cancel_scheduled_job_sync enqueue enqueue_at "
    "enqueue_at_sync enqueue_in enqueue_in_sync enqueue_many enqueue_many_sync enqueue_sync "
    "fetch_job_result fetch_job_result_sync forget forget_sync get_schedule get_schedule_sync "
    "list_schedules list_schedules_sync list_workers list_workers_sync modify_scheduled_job "
    "modify_scheduled_job_sync pause_scheduled_job pause_scheduled_job_sync purge_queue "
    "purge_queue_sync resume_scheduled_job resume_scheduled_job_sync schedule schedule_sync",
    "naq.schedules.schedule": "Schedule ScheduleStatus",
    "naq.queue.task": "Task task",
    "naq.jobs.calls": "Call call",
    "naq.nats.connection": "connect",
    "naq.exceptions": "ConfigurationError EnqueueError JobCancelledError "
    "JobError JobExecutionError JobExpiredError JobNotFoundError JobTimeoutError "
    "NaqConnectionError NaqException PayloadTooLargeError QueueNotFoundError SerializationError "
    "ServerRefusedError SupervisorError",
    "naq.jobs.job": "CurrentJob Job JobInfo JobStatus current_job",
    "naq.queue.queue": "Queue",
    "naq.jobs.results": "Results",
    "naq.schedules.scheduler": "Scheduler",
    "naq.supervisor": "Supervisor",
    "naq.worker.worker": "Worker",
}
_HOME = {name: module for module, names in _WHERE.items() for name in names.split()}

_HANDLES = {
    "_restored_job": "naq.jobs.inspect.backend",
    "_restored_schedule": "naq.schedules.manage",
}
"""What pickles of handles name: not public, and here for ever, wherever it is defined."""

__all__ = sorted([*_HOME, "__version__"])  # noqa: PLE0605 - a list, made from the table above


def __getattr__(name: str) -> object:
    try:
        module = _HOME.get(name) or _HANDLES[name]
    except KeyError:
        raise AttributeError(f"module 'naq' has no attribute {name!r}") from None
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
