"""Initial values of layers: functions of modules and tensors, around `torch.nn.init`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn
from torch.nn import init
from torch.nn.modules.conv import _ConvNd

Scheme = Literal["kaiming-normal", "kaiming-uniform", "xavier-normal", "xavier-uniform", "orthogonal", "keep"]
Activation = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
SCHEMES = get_args(Scheme)
ACTIVATIONS = get_args(Activation)
LAYERS = (nn.Linear, nn.Bilinear, _ConvNd)


def initialiser(scheme: Scheme, activation: Activation, slope: float, mode: Literal["fan_in", "fan_out"]) -> Callable[..., Tensor]:
    """Return a function `(weight, generator=)` that fills a weight in place.

    Kaiming: He et al. 2015, eq. 10 and 14. Xavier: Glorot and Bengio 2010, eq. 12 and 16, times the gain of the activation.
    Orthogonal: Saxe et al. 2014, times the gain.
    """
    gain = init.calculate_gain(activation, slope)
    made: dict[str, Callable[..., Tensor]] = {
        "kaiming-normal": partial(init.kaiming_normal_, a=slope, mode=mode, nonlinearity=activation),
        "kaiming-uniform": partial(init.kaiming_uniform_, a=slope, mode=mode, nonlinearity=activation),
        "xavier-normal": partial(init.xavier_normal_, gain=gain),
        "xavier-uniform": partial(init.xavier_uniform_, gain=gain),
        "orthogonal": partial(init.orthogonal_, gain=gain),
    }
    return made[scheme]


def layers_of(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the linear and convolutional layers of a module."""
    return (layer for layer in module.modules() if isinstance(layer, LAYERS))


@torch.no_grad()
def fill_weight(weight: Tensor, fill: Callable[..., Tensor], generator: Generator) -> None:
    """Fill a weight with values that are drawn on the CPU, so that they are the same on every device."""
    weight.copy_(fill(torch.empty(weight.shape, dtype=weight.dtype), generator=generator))
