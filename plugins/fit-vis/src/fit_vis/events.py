"""TensorBoard's event files, written so that nothing is overwritten, doubled or lost.

The records are tensorboardX's. Its writer isn't used: it names files by host and second, so that two of them overwrite each other, and
what it is given waits in the queue of a thread, from which nothing but closing gets it into the file.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from socket import gethostname
from typing import BinaryIO

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")


class EventFile:
    """The event file of one process. Those that train a run one after the other have one each, in the same folder.

    Args:
        folder: which is made if need be; files of others in it are left alone.
        run: tells the files of this run from others: letters and digits.
        step: where a run goes on that was interrupted: a reader that has seen later steps forgets them. None: it begins.
    """

    def __init__(self, folder: Path, run: str, step: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.run = folder, run
        self.path = folder / f"events.out.tfevents.{time.time():017.6f}.{gethostname()}.{os.getpid()}.{run}"
        self._file: BinaryIO | None = self.path.open("xb")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if step is not None:
            self._write(Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def add(self, step: int, summary: Summary, at: float | None = None) -> None:
        """Add values of a step.

        Args:
            step: of the values.
            summary: as the functions of `tensorboardX.summary` make it.
            at: seconds since the Unix epoch; None: now.
        """
        self._write(Event(wall_time=time.time() if at is None else at, step=step, summary=summary))

    def add_graph(self, graph: bytes) -> None:
        """Add a graph, as bytes of TensorFlow's `GraphDef`."""
        self._write(Event(wall_time=time.time(), graph_def=graph))

    def flush(self, durable: bool = False) -> None:
        """Hand everything to the system, where it outlives this process; with `durable` to the disk."""
        if self._file is not None:
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what is added later opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, event: Event) -> None:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        if self._file is None:
            self._file = self.path.open("ab")
        self._file.write(HEADER.pack(len(data), masked_crc32c(length)) + data + FOOTER.pack(masked_crc32c(data)))


def files_of(folder: Path, run: str) -> list[Path]:
    """Return the event files of a run, the oldest first."""
    return sorted(folder.glob(f"events.out.tfevents.*.{run}"))


def sizes(folder: Path, run: str) -> dict[str, int]:
    """Return the bytes of each event file of a run."""
    return {path.name: path.stat().st_size for path in files_of(folder, run)}


def cut(folder: Path, run: str, sizes: Mapping[str, int]) -> None:
    """Take back what a run wrote after it was saved.

    Args:
        folder: where the files lie.
        run: as for `EventFiles`.
        sizes: as the function of this name returned it then; other files of this run are removed.
    """
    for path in files_of(folder, run):
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size > sizes[path.name]:
            os.truncate(path, sizes[path.name])


def read(path: Path) -> Iterator[Event]:
    """Yield the events of a file up to the first that is not whole."""
    data, at = path.read_bytes(), 0
    while at + HEADER.size <= len(data):
        start = at + HEADER.size
        end = start + HEADER.unpack_from(data, at)[0]
        if end + FOOTER.size > len(data):
            return
        yield Event.FromString(data[start:end])
        at = end + FOOTER.size
