"""The bundles `device` and `mixed-precision`."""

from typing import Any, Literal


def device(device: str = "auto") -> list[tuple[str, dict[str, Any]]]:
    """Train on the accelerator if there is one, and fetch batches to it ahead; say what memory was used for.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", "mps" or "meta", as for `placement`.
    """
    return [("placement", {"device": device}), ("prefetch", {}), ("memory-summary", {})]


def mixed_precision(dtype: Literal["bf16", "fp16"] = "bf16") -> list[tuple[str, dict[str, Any]]]:
    """Compute forward and loss in half precision; with fp16, scale the loss so that small gradients survive.

    Args:
        dtype: "bf16" has the range of float32; "fp16" is for accelerators without it.
    """
    return [("autocast", {"dtype": dtype}), *([("grad-scaler", {})] if dtype == "fp16" else [])]
