"""The bundle `mixed-precision`."""

from typing import Any, Literal


def mixed_precision(dtype: Literal["bf16", "fp16"] = "bf16") -> list[tuple[str, dict[str, Any]]]:
    """Compute forward and loss in half precision; with fp16, scale the loss so that small gradients survive.

    Args:
        dtype: "bf16" has the range of float32; "fp16" is for accelerators without it.
    """
    return [("autocast", {"dtype": dtype}), *([("grad-scaler", {})] if dtype == "fp16" else [])]
