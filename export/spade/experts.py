"""All experts, each trained in a process of its own where cores allow."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event

from haiku_edge.runtime.engine.fingerprint import cpu_threads
from haiku_edge.runtime.errors import NativeCrashError, StoppedError

from ..training.loop import Progress
from ..worker import end_with_parent
from .expert_trainer import ExpertDone, ExpertJob, train_expert

_stopped: Event | None = None
"""Set by the process that trains when it is stopped; each worker looks at it while it trains."""


def train_experts(
    jobs: Sequence[ExpertJob], workers: int, done: Callable[[ExpertDone], None] = lambda _: None
) -> list[ExpertDone]:
    """Train every expert; each gives the same weights whatever the number of workers.

    Args:
        jobs: What to train.
        workers: Processes; one trains in this process.
        done: Called with each expert that is finished, in the order in which they finish.

    Returns:
        How each training ended, in the order of the jobs.

    Raises:
        NativeCrashError: A process ended by itself, as where memory is too small.
        HaikuEdgeError: See `train_expert`; the other experts keep their last states.
    """
    if min(workers, len(jobs)) == 1:
        return [_finish(train_expert(job, _heed), done) for job in jobs]
    # Spawned: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    stopped = context.Event()
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (stopped,)) as pool:
        try:
            # The largest tables first would be quicker by a little, and the order of the lines less plain.
            running = [pool.submit(train_expert, job, _heed) for job in jobs]
            finished = [_finish(future.result(), done) for future in as_completed(running)]
        except BrokenProcessPool:
            raise NativeCrashError(
                "A process that trained an expert ended by itself, most often for want of memory. Go on with fewer "
                "--workers and --resume: what was finished is kept."
            ) from None
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
    return sorted(finished, key=lambda own: own.number)


def default_workers(device: str, threads: int) -> int:
    """As many processes as there are cores for; one on a GPU."""
    return 1 if device == "cuda" else max(1, cpu_threads() // threads)


def _finish(own: ExpertDone, done: Callable[[ExpertDone], None]) -> ExpertDone:
    done(own)
    return own


def _begin(stopped: Event) -> None:
    """Prepare a worker: Ctrl-C is the business of the process that started it, and it does not outlive that one."""
    global _stopped
    _stopped = stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()  # states are whole on disk at any moment


def _heed(_: Progress) -> None:
    """End a worker's training where all of it was stopped."""
    if _stopped is not None and _stopped.is_set():
        raise StoppedError("The training was stopped. Go on with the same command and --resume.")
