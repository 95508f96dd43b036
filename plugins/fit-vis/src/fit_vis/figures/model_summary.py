"""What the model is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fit_core import FitError, State, hookimpl
from fit_core.batch import is_one, names_state
from fit_core.errors import did_you_mean, listed
from fit_core.items import Text
from fit_vis.looking import shown
from fit_vis.undisturbed import undisturbed

if TYPE_CHECKING:
    from fit_core import Trainer

COLUMNS = ("input_size", "output_size", "num_params", "mult_adds", "trainable")
KNOWN = (*COLUMNS, "params_percent", "kernel_size")


class ModelSummary:
    """Shows the layers of the model with shapes and numbers of parameters, made by torchinfo of the first batch: `model_summary`.

    Args:
        depth: how deep within nested modules.
        columns: of torchinfo: `input_size`, `output_size`, `num_params`, `params_percent`, `kernel_size`, `mult_adds`, `trainable`.
    """

    passive = True

    def __init__(self, depth: int = 4, columns: list[str] | None = None) -> None:
        self.depth = depth
        self.columns = list(columns or COLUMNS)
        for column in self.columns:
            if column not in KNOWN:
                raise FitError(f"model-summary has no column {column!r}{did_you_mean(column, KNOWN) or f'; there are {listed(KNOWN)}'}")
        self._done = False

    @hookimpl
    def on_batch_end(self, trainer: Trainer, state: State) -> None:
        if not self._done:  # at the end: lazy layers have found their shapes
            self._done = True
            if shown(trainer):
                trainer.show("model_summary", Text(f"```text\n{self._summary(trainer, state)}\n```"))

    def _summary(self, trainer: Trainer, state: State) -> str:
        extra = {"state": state} if names_state(trainer.model) else {}
        with undisturbed(trainer.model, state.device), torch.no_grad():
            return summary(trainer.model, state.inputs, extra, self.depth, self.columns)


def summary(model: nn.Module, inputs: Any, extra: Mapping[str, Any], depth: int, columns: list[str]) -> str:
    """Return the table that torchinfo makes; it calls the model once.

    Args:
        model: any module.
        inputs: what it is called with: a tensor, several in a tuple or list, or a dict of keywords.
        extra: further keywords.
        depth: how deep within nested modules.
        columns: what is said of each layer.

    Raises:
        FitError: torchinfo cannot do it.
    """
    from torchinfo import summary as summarise
    from torchinfo.torchinfo import clear_cached_forward_pass

    if isinstance(inputs, tuple) and is_one(inputs):
        inputs = [inputs]
    rows = ("var_names", "depth")
    try:
        made = str(summarise(model, input_data=inputs, depth=depth, col_names=columns, row_settings=rows, mode="eval", verbose=0, **extra))
    except (RuntimeError, TypeError) as error:  # the first is what it makes of anything that the model raises
        cause = error.__cause__ or error
        raise FitError(f"model-summary: torchinfo cannot summarise this model ({type(cause).__name__}: {cause}); leave it out") from error
    finally:
        clear_cached_forward_pass()  # which would keep the model alive as long as the process
    return re.sub(r"\(Units\.(\w)\w*\)", r"(\1)", made)  # torchinfo 1.8 formats its units for Python 3.10
