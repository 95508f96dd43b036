"""Initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from torch import Generator, nn
from torch.nn.parameter import is_lazy

from fit_core import FitError, State, hookimpl
from fit_core.errors import did_you_mean, listed
from fit_optim.initialising import ACTIVATIONS, SCHEMES, Activation, Scheme, fill_weight, initialiser, layers_of
from fit_optim.patterns import Patterns, matching

if TYPE_CHECKING:
    from fit_core import Trainer


class Init:
    """Fills the weights and biases of linear and convolutional layers before the first step of a trainer.

    What is frozen stays, and so does everything in a run that goes on. Weights that were loaded before `fit` are overwritten.

    Args:
        weights: "kaiming-normal", "kaiming-uniform", "xavier-normal", "xavier-uniform", "orthogonal" or "keep".
        bias: "zero" or "keep".
        activation: what follows the layers: "relu", "leaky_relu", "tanh", "sigmoid", "selu" or "linear".
        slope: of leaky_relu, for negative inputs.
        mode: whether Kaiming keeps the variance of outputs ("fan_in") or of gradients ("fan_out").
        params: patterns of names of weights and biases, such as `features.*`.

    Raises:
        FitError: an option is unknown, or a pattern matches nothing that can be filled.
    """

    def __init__(
        self,
        weights: Scheme = "kaiming-normal",
        bias: Literal["zero", "keep"] = "zero",
        activation: Activation = "relu",
        slope: float = 0.01,
        mode: Literal["fan_in", "fan_out"] = "fan_in",
        params: Patterns = "*",
    ) -> None:
        choices = {"weights": (weights, SCHEMES), "bias": (bias, ("zero", "keep")), "activation": (activation, ACTIVATIONS)}
        for name, (value, known) in {**choices, "mode": (mode, ("fan_in", "fan_out"))}.items():
            if value not in known:
                raise FitError(f"{name} must be one of {listed(known)}, not {value!r}{did_you_mean(str(value), known)}")
        self.bias = bias
        self.params = params
        self._fill = None if weights == "keep" else initialiser(weights, activation, slope, mode)
        self._done = False

    @hookimpl(tryfirst=True)
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if self._done or state.resumed or state.batch_count:
            return
        self._done = True
        chosen = {id(p) for p in matching(trainer, self.params).values() if p.requires_grad}
        found = [layer for module in trainer.modules() for layer in layers_of(module)]
        touched = [layer for layer in found if chosen & set(map(id, layer.parameters(recurse=False)))]
        if not touched:
            raise FitError(f"no linear or convolutional layer has a parameter called {self.params!r} that requires a gradient")
        generator = trainer.generator(self)
        for layer in touched:
            if any(map(is_lazy, layer.parameters(recurse=False))):
                self._fill_later(layer, chosen, trainer)
            else:
                self._fill_layer(layer, chosen, generator)

    def _fill_layer(self, layer: nn.Module, chosen: set[int], generator: Generator) -> None:
        for name, p in layer.named_parameters(recurse=False):
            if id(p) in chosen:
                chosen.discard(id(p))  # a tied one is filled once
                if name == "weight" and self._fill is not None:
                    fill_weight(p, self._fill, generator)
                elif name == "bias" and self.bias == "zero":
                    nn.init.zeros_(p)

    def _fill_later(self, layer: nn.Module, chosen: set[int], trainer: Trainer) -> None:
        """Fill a lazy layer when it is called for the first time, as soon as it has found its shape."""

        def fill(*_: Any) -> None:
            handle.remove()
            self._fill_layer(layer, chosen, trainer.generator(self))

        handle = layer.register_forward_pre_hook(fill)

    def state_dict(self) -> dict[str, Any]:
        """Return whether weights were filled."""
        return {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._done = state["done"]
