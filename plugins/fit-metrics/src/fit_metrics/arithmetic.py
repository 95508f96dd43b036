"""Arithmetic with metrics: `1 - accuracy`, `2 * p * r / (p + r)`."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from fit_core.batch import batch_size, detach
from fit_core.state import State

Part = Any


class Arithmetic:
    """Makes `+`, `-`, `*`, `/` and `**` of metrics and numbers metrics."""

    higher_is_better: bool | None
    name: str

    def __add__(self, other: Part) -> Any:
        return made(operator.add, "+", self, other)

    def __radd__(self, other: Part) -> Any:
        return made(operator.add, "+", other, self)

    def __sub__(self, other: Part) -> Any:
        return made(operator.sub, "-", self, other)

    def __rsub__(self, other: Part) -> Any:
        return made(operator.sub, "-", other, self)

    def __mul__(self, other: Part) -> Any:
        return made(operator.mul, "*", self, other)

    def __rmul__(self, other: Part) -> Any:
        return made(operator.mul, "*", other, self)

    def __truediv__(self, other: Part) -> Any:
        return made(operator.truediv, "/", self, other)

    def __rtruediv__(self, other: Part) -> Any:
        return made(operator.truediv, "/", other, self)

    def __pow__(self, other: Part) -> Any:
        return made(operator.pow, "**", self, other)

    def __rpow__(self, other: Part) -> Any:
        return made(operator.pow, "**", other, self)

    def __neg__(self) -> Any:
        return made(operator.sub, "-", 0, self)

    def value(self) -> float | None:
        """Return the one value that arithmetic works with; None if this pass has none."""
        raise NotImplementedError

    @property
    def direction(self) -> bool | None:
        """Whether more of that value is better."""
        return self.higher_is_better


class Expression(Arithmetic):
    """A metric computed from the values that others have at the end of a pass.

    Its name is its formula; `("error", 1 - accuracy)` in `metrics=[...]`, or `metric("error")(1 - accuracy)`, gives it another.

    Args:
        function: of two values.
        parts: two metrics or numbers.
        name: in the row.
        higher_is_better: whether more is better.
    """

    def __init__(self, function: Callable[[float, float], float], parts: Sequence[Part], name: str, higher_is_better: bool | None) -> None:
        self.function, self.parts = function, tuple(parts)
        self.name, self.higher_is_better = name, higher_is_better
        self.costly = any(getattr(leaf, "costly", False) for leaf in self.leaves())

    def __copy__(self) -> Self:
        return self._with_parts({}, copy.copy)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._with_parts({}, lambda leaf: copy.deepcopy(leaf, memo))

    def for_loss(self, loss_fn: Any) -> Self:
        """Return the same of the metrics to use with a loss function."""
        return self._with_parts({}, lambda metric: metric.for_loss(loss_fn) if hasattr(metric, "for_loss") else metric)

    def _with_parts(self, done: dict[int, Any], change: Callable[[Any], Any]) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        parts = []
        for part in self.parts:
            if id(part) not in done and isinstance(part, Arithmetic):
                done[id(part)] = part._with_parts(done, change) if isinstance(part, Expression) else change(part)
            parts.append(done.get(id(part), part))
        other.parts = tuple(parts)
        return other

    def leaves(self) -> list[Any]:
        """Return the metrics it is made of, each once."""
        found: dict[int, Any] = {}
        for part in self.parts:
            for leaf in part.leaves() if isinstance(part, Expression) else [part] if isinstance(part, Arithmetic) else []:
                found.setdefault(id(leaf), leaf)
        return list(found.values())

    def reset(self) -> None:
        """Forget everything."""
        for leaf in self.leaves():
            leaf.reset()

    def begin(self, state: State) -> None:
        """Tell the metrics that a pass begins."""
        for leaf in self.leaves():
            if hasattr(leaf, "begin"):
                leaf.begin(state)

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in a batch."""
        self.update_block(outputs, targets, [batch_size(targets, outputs)])

    def update_block(self, outputs: Any, targets: Any, sizes: Sequence[int]) -> None:
        """Take in several batches joined to one."""
        for leaf in self.leaves():
            if hasattr(leaf, "update_block"):
                leaf.update_block(outputs, targets, sizes)
            else:
                leaf.update(outputs, targets)

    def update_loss(self, loss: Any, terms: Any) -> None:
        """Take in the loss of a batch."""
        for leaf in self.leaves():
            if hasattr(leaf, "update_loss"):
                leaf.update_loss(loss, terms)

    def compute(self) -> dict[str, float]:
        """Return the value, if there is one. Waits for the device."""
        value = self.value()
        return {} if value is None else {self.name: value}

    def value(self) -> float | None:
        """Return the value; NaN where it is no number, None if one of its parts has none. Waits for the device."""
        left, right = (part.value() if isinstance(part, Arithmetic) else part for part in self.parts)
        if left is None or right is None:
            return None
        try:
            value = self.function(left, right)
        except ZeroDivisionError:
            return math.nan
        except OverflowError:
            return math.inf
        return math.nan if isinstance(value, complex) else float(value)

    def merge(self, other: Expression) -> None:
        """Take in what another instance has seen after it."""
        for own, its in zip(self.leaves(), other.leaves(), strict=True):
            own.merge(its)

    def state_dict(self) -> dict[str, Any]:
        """Return what the metrics have taken in."""
        return {"leaves": [leaf.state_dict() for leaf in self.leaves()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for leaf, saved in zip(self.leaves(), state["leaves"], strict=True):
            leaf.load_state_dict(saved)


class StateExpression(Expression):
    """One of which some metrics look at the state after every batch."""

    def update_state(self, state: State) -> None:
        """Take in the batch in `state`."""
        for leaf in self.leaves():
            if hasattr(leaf, "update_state"):
                leaf.update_state(state)
            else:
                leaf.update(detach(state.outputs), state.targets)


def made(function: Callable[[float, float], float], sign: str, left: Part, right: Part) -> Any:
    """Return the expression of an operator; NotImplemented if a part is neither metric nor number."""
    if not all(isinstance(part, (Arithmetic, int, float)) for part in (left, right)):
        return NotImplemented
    name = sign.join(
        f"({p.name})" if isinstance(p, Expression) else p.name if isinstance(p, Arithmetic) else f"{p:g}" for p in (left, right)
    )
    expression = Expression(function, (left, right), name, direction(sign, left, right))
    if any(hasattr(leaf, "update_state") for leaf in expression.leaves()):
        expression = StateExpression(function, (left, right), name, expression.higher_is_better)
    return expression


def direction(sign: str, left: Part, right: Part) -> bool | None:
    """Tell whether more of an expression of a metric and a number is better; None of anything else."""
    if isinstance(left, Arithmetic) == isinstance(right, Arithmetic):
        return None
    metric, number = (left, right) if isinstance(left, Arithmetic) else (right, left)
    if metric.direction is None or (sign in "*/" and number == 0) or (sign == "**" and (metric is left or number <= 0)):
        return None
    falls = (sign in "-/" and metric is right) != (sign in "*/" and number < 0) or (sign == "**" and number < 1)
    return bool(metric.direction != falls)
