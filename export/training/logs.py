"""What a training tells of itself while it runs, as TensorBoard reads it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol


class Log(Protocol):
    """Takes figures by name."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Note figures of one step."""
        ...


class NoLog:
    """Forgets everything."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Do nothing."""


class EventLog:
    """Scalars in one event file, flushed at every step, so that a killed training has told everything.

    The file's name has no name of the machine in it, as TensorBoard's own writer would give it.
    """

    def __init__(self, folder: Path, first: int) -> None:
        """Open the file of the part of the training that begins at step `first`."""
        from tensorboardX.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = RecordWriter(str(folder / f"events.out.tfevents.{first:010d}.haiku-edge"))
        self._record(file_version="brain.Event:2")

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Note figures of one step."""
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._record(step=step, summary=Summary(value=values))

    def _record(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **fields).SerializeToString())
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


@contextlib.contextmanager
def open_log(folder: Path | None, first: int) -> Iterator[Log]:
    """The log of the part of a training that begins at step `first`; none is kept without a folder."""
    if folder is None:
        yield NoLog()
        return
    log = EventLog(folder, first)
    try:
        yield log
    finally:
        log.close()
