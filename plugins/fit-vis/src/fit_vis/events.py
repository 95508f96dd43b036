"""TensorBoard's event files, written so that nothing is overwritten, doubled or lost.

The records are tensorboardX's. Its writer isn't used: it names files by host and second, so that two of them overwrite each other, and
what it is given waits in the queue of a thread, from which nothing but closing gets it into the file.
"""

from __future__ import annotations

import os
import struct
import time
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
        begun: when the run began to write, in seconds since the Unix epoch: it tells the files of this run from others.
        step: where a run goes on that was interrupted: a reader that has seen later steps forgets them. None: it begins.

    Attributes:
        count: how many events were added to the files of the run.
    """

    def __init__(self, folder: Path, begun: float, step: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.begun = folder, begun
        before = files_of(folder, begun)
        self.count = sum(len(ends(path)) - own_records(path) for path in before)
        number = 1 + max(map(number_of, before), default=0)
        self.path = folder / f"{prefix(begun)}{number:04}.{gethostname()}.{os.getpid()}"
        self._file: BinaryIO | None = self.path.open("xb")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if number > 1:
            last = 0 if step is None else step
            self._write(Event(wall_time=time.time(), step=last + 1, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def add(self, step: int, summary: Summary, at: float | None = None) -> None:
        """Add values of a step.

        Args:
            step: of the values.
            summary: as the functions of `tensorboardX.summary` make it.
            at: seconds since the Unix epoch; None: now.
        """
        self.count += 1
        self._write(Event(wall_time=time.time() if at is None else at, step=step, summary=summary))

    def add_graph(self, graph: bytes) -> None:
        """Add a graph, as bytes of TensorFlow's `GraphDef`."""
        self.count += 1
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


def prefix(begun: float) -> str:
    """Return how the names of a run's files begin."""
    return f"events.out.tfevents.{begun:017.6f}."


def number_of(path: Path) -> int:
    """Return the place of a file among those of its run."""
    return int(path.name[len(prefix(0)) :].partition(".")[0])


def files_of(folder: Path, begun: float) -> list[Path]:
    """Return the event files of a run, the oldest first."""
    return sorted(folder.glob(f"{prefix(begun)}*"), key=number_of)


def own_records(path: Path) -> int:
    """Return how many records a file begins with that nobody added: its version, and that a run goes on."""
    return 1 if number_of(path) == 1 else 2


def cut(folder: Path, begun: float, count: int) -> None:
    """Take back what a run wrote after it was saved.

    Args:
        folder: where the files lie.
        begun: as for `EventFile`.
        count: how many events had been added by then.
    """
    for path in files_of(folder, begun):
        found, own = ends(path), own_records(path)
        keep = min(count, max(len(found) - own, 0))
        count -= keep
        if keep:
            os.truncate(path, found[own + keep - 1])
        else:
            path.unlink()


def ends(path: Path) -> list[int]:
    """Return where each whole record of a file ends."""
    size, at, found = path.stat().st_size, 0, list[int]()
    with path.open("rb") as file:
        while len(header := file.read(HEADER.size)) == HEADER.size:
            at += HEADER.size + HEADER.unpack(header)[0] + FOOTER.size
            if at > size:
                break
            found.append(at)
            file.seek(at)
    return found
