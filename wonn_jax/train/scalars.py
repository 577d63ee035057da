"""Scalars for TensorBoard, on disk when `flush` returns."""

import os
import time

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar


class SummaryWriter:
    """Writes scalars as `tensorboardX.SummaryWriter` does, which leaves it to a thread.

    What that thread has not written yet would be lost with a run that is killed, although the lines
    of its metrics say that it was written.

    Args:
      folder: where the file of events is written, with a new name.
      purge_step: first step whose earlier values TensorBoard drops; the run writes them again.
    """

    def __init__(self, folder: str, purge_step: int):
        os.makedirs(folder, exist_ok=True)
        self._events = EventsWriter(os.path.join(folder, "events"))
        self._add(Event(session_log=SessionLog(status=SessionLog.START)), purge_step)

    def _add(self, event: Event, step: int) -> None:
        event.wall_time, event.step = time.time(), step
        self._events.write_event(event)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self._add(Event(summary=scalar(tag, value)), step)

    def flush(self) -> None:
        self._events.flush()

    def close(self) -> None:
        self._events.close()
