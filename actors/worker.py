"""The worker: carries out one job after the other, two at a time so that transfers of one overlap
the computing of the other. Holds no keys and no state between jobs."""

import os
import platform
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import ray

from actors import niceness
from actors.assigner import SLOTS
from pipeline.errors import VodrayError
from pipeline.jobs import Answer, ChunkJob, FillJob, Job, JoinJob, LookJob, PosterJob, SheetJob
from pipeline.metrics import COUNTS, Counted

_TRANSFERS = 4
# In logs and reports: where a chunk that looks strange was made.
_WHO = f"{platform.node()}:{os.getpid()}"


class Worker:
    """Call ``run`` from up to ``SLOTS`` threads."""

    def __init__(self) -> None:
        # Imported here: it brings all of the media code, which whoever starts workers does without.
        from pipeline import steps

        niceness.step_back(niceness.MEDIA)
        self._steps = steps
        self._tools = steps.Tools(
            threads=ThreadPoolExecutor(_TRANSFERS * SLOTS, thread_name_prefix="transfer"),
            gate=threading.Lock(),
        )

    def run(self, job: Job) -> tuple[Answer | VodrayError, Counted]:
        """The answer, or the error that stopped the job, with what was counted since the last
        time."""
        answer: Answer | VodrayError
        try:
            answer = self._do(job)
        except VodrayError as error:
            answer = error
        return answer, COUNTS.take()

    def _do(self, job: Job) -> Answer:
        match job:
            case ChunkJob():
                records = self._steps.make_chunk(job, self._tools)
                return tuple(
                    replace(record, report={**record.report, "worker": _WHO}) for record in records
                )
            case LookJob():
                return self._steps.look(job, self._tools)
            case FillJob():
                return self._steps.make_fill(job, self._tools)
            case JoinJob():
                return self._steps.join_part(job, self._tools)
            case PosterJob():
                return self._steps.make_poster(job, self._tools)
            case SheetJob():
                return self._steps.make_sheet(job, self._tools)

    def ping(self) -> tuple[str, str]:
        """Answers while the process lives: the name of its machine, and Ray's id of the node."""
        return platform.node(), ray.get_runtime_context().get_node_id()


WorkerActor = ray.remote(Worker)
# One slot more than jobs, so that a busy worker still answers pings.
OPTIONS: dict[str, Any] = {"num_cpus": 1, "max_concurrency": SLOTS + 1, "max_restarts": -1}
