"""The graph of a model, for TensorBoard."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn


def graph_of(model: nn.Module, inputs: Any) -> bytes | None:
    """Trace a copy of a model in evaluation mode; nothing else changes, random states included.

    Args:
        model: which takes tensors.
        inputs: of one batch: a tensor, or a tuple or list of them.

    Returns:
        The bytes of a `GraphDef`; None after a warning if the model cannot be traced.
    """
    try:
        from torch.utils.tensorboard._pytorch_graph import graph
    except ImportError:
        warnings.warn("graph=true needs the package tensorboard: pip install tensorboard", stacklevel=2)
        return None
    arguments = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    devices = list({tensor.device for tensor in arguments if isinstance(tensor, torch.Tensor) and tensor.is_cuda})
    try:
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated, and says so; so are things that it meets
            definition, _ = graph(copy.deepcopy(model).eval(), arguments)
    except Exception as error:  # whatever the model's code and the tracer raise: a picture less, and no reason to end a run
        first = str(error).strip().partition("\n")[0]
        warnings.warn(f"there is no graph: the model cannot be traced: {type(error).__name__}: {first}", stacklevel=2)
        return None
    return bytes(definition.SerializeToString())
