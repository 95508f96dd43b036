"""Items that are started before they are asked for: an iterator with a bounded look-ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def ahead(items: Iterable[Any], start: Callable[[Any], Any], finish: Callable[[Any], Any], depth: int) -> Iterator[Any]:
    """Yield `finish(start(item))` of each item, where `start` is called early.

    Nothing is read before the first one is asked for.

    Args:
        items: read in their order, in the thread that asks.
        start: begins the work on an item.
        finish: takes what `start` returned, when it is the item's turn.
        depth: how many further items are started before an item is given.
    """
    waiting: deque[Any] = deque()
    try:
        for item in items:
            waiting.append(start(item))
            del item
            if len(waiting) > depth:
                yield finish(waiting.popleft())
    except Exception:  # in its place: after the items that came before it
        while waiting:
            yield finish(waiting.popleft())
        raise
    while waiting:
        yield finish(waiting.popleft())
