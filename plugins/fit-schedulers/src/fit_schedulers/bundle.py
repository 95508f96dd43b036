"""The bundle `schedulers`."""

from typing import Any


def schedulers(warmup: float = 0.05, patience: int = 5) -> list[tuple[str, dict[str, Any]]]:
    """Let the learning rate fall to zero over the run, and stop when `val_loss` no longer improves.

    Args:
        warmup: the part of the run in which the learning rate rises first.
        patience: epochs without improvement; without validation data nothing is stopped.
    """
    return [
        ("lr", {"schedule": "cosine", "warmup": warmup}),
        ("early-stopping", {"monitor": "val_loss", "patience": patience, "strict": False}),
    ]
