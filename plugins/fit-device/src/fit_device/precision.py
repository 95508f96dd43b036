"""How exactly an accelerator multiplies in float32."""

from __future__ import annotations

from typing import Literal, get_args

from fit_core import FitError
from fit_device.switches import Switches

Matmul = Literal["highest", "high", "medium"]


class Precision(Switches):
    """Lets float32 products be computed in TF32, which newer cuda devices are several times faster at, with 10 bits of mantissa.

    The process's settings are put back afterwards.

    Args:
        matmul: of `torch.set_float32_matmul_precision`: "highest" is float32, "high" TF32 or the like, "medium" bfloat16.
        conv: whether convolutions may use TF32; torch lets them.
        benchmark: let cudnn try its ways to compute a convolution for each new size, and keep the fastest. Runs are then no longer equal to
            the bit.

    Raises:
        FitError: matmul is something else.
    """

    name = "precision"

    def __init__(self, matmul: Matmul = "high", conv: bool = True, benchmark: bool = False) -> None:
        if matmul not in get_args(Matmul):
            raise FitError(f"matmul must be 'highest', 'high' or 'medium', not {matmul!r}")
        super().__init__({"matmul": matmul, "cudnn tf32": conv, **({"cudnn benchmark": True} if benchmark else {})})
