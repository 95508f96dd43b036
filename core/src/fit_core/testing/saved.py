"""Checks of what a plugin saves."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fit_core.checkpoint import find_checkpoint
from fit_core.errors import FitError
from fit_core.testing.digests import flat
from fit_core.testing.subject import CheckFailed, Subject
from fit_core.testing.watching import equal


def state_round_trip(subject: Subject) -> None:
    """What `state_dict` returns, another instance takes up and returns again; and it is not what a live plugin goes on changing."""
    with subject.trainer() as trainer, subject.trainer() as another:
        trainer.fit(epochs=1)
        for member, other in zip(subject.members(trainer), subject.members(another), strict=True):
            if hasattr(member.plugin, "state_dict") and not hasattr(member.plugin, "load_state_dict"):
                raise CheckFailed("it has state_dict, but no load_state_dict")
            saved = member.state_dict()
            kept = copy.deepcopy(saved)
            other.load_state_dict(copy.deepcopy(saved))
            again = other.state_dict()
            if not equal(kept, again):
                before, after = (own.get("own", own) for own in (kept, again))
                raise CheckFailed(f"state_dict() returned {before!r}, and after load_state_dict of that {after!r}: take all of it up")
            trainer.fit(epochs=1)
            if not equal(kept, saved):
                raise CheckFailed("what state_dict() returned changed when training went on: return a copy")


def plain_state(subject: Subject) -> None:
    """What it saves is made of numbers, text, tensors and nestings of them, and a checkpoint gives back the same."""
    with subject.trainer() as trainer, tempfile.TemporaryDirectory() as folder:
        trainer.fit(epochs=1)
        saved = {member.name: member.state_dict().get("own") for member in subject.members(trainer)}
        for name, state in saved.items():
            for where in pickled(state, f"plugin {name!r}"):
                raise CheckFailed(
                    f"{where} is pickled, and to load it would run what it says: return numbers, text, tensors and nestings of them"
                )
        try:
            found = find_checkpoint(trainer.save(Path(folder) / "checkpoint")).state()["plugins"]
        except FitError as error:
            raise CheckFailed(str(error)) from error
        for name, state in saved.items():
            before, after = dict(flat(state)), dict(flat(found[name].get("own")))
            if before != after:
                keys = ", ".join(key for key in {**before, **after} if before.get(key) != after.get(key))
                raise CheckFailed(f"a checkpoint gives back another state than state_dict() returned: {keys} of {name!r}")


def pickled(value: Any, where: str) -> Iterator[str]:
    """Yield where in a nested value bytes lie that pickle has written, as torch.save does too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from pickled(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from pickled(item, f"{where}[{i}]")
    elif isinstance(value, (bytes, bytearray)) and (value.startswith(b"PK\x03\x04") or (value[:1] == b"\x80" and value.endswith(b"."))):
        yield where
