"""Places that hold a number: a value of a parameter group, or an attribute of an object."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Slot(Protocol):
    """A number that a schedule sets."""

    @property
    def owner(self) -> object:
        """What holds it."""

    def get(self) -> float:
        """Return the number; of a tensor it waits for the device."""

    def seen(self) -> float | None:
        """Return the number, or None where looking would wait for the device."""

    def set(self, value: float) -> None:
        """Put a number in its place; never waits."""


class GroupSlot:
    """A value of a parameter group.

    Args:
        group: of an optimizer.
        key: such as "lr" or "weight_decay"; "momentum" is the first of the betas where there are some.
    """

    __slots__ = ("group", "key")

    def __init__(self, group: dict[str, Any], key: str) -> None:
        self.group = group
        self.key = "betas" if key == "momentum" and "betas" in group else key

    @property
    def owner(self) -> object:
        """The parameter group."""
        return self.group

    @staticmethod
    def fits(group: dict[str, Any], key: str) -> bool:
        """Tell whether a group has such a value."""
        value = group.get(key)
        is_number = isinstance(value, (int, float, Tensor)) and not isinstance(value, bool)
        return is_number or (key == "momentum" and "betas" in group)

    def _value(self) -> Any:
        value = self.group[self.key]
        return value[0] if self.key == "betas" else value

    def get(self) -> float:
        """Return the number; of a tensor it waits for the device."""
        return float(self._value())

    def seen(self) -> float | None:
        """Return the number; None of a tensor, which may be on a device."""
        value = self._value() if self.key == "betas" else self.group[self.key]
        return None if isinstance(value, Tensor) else float(value)

    def set(self, value: float) -> None:
        """Put a number in its place; a tensor is filled."""
        now = self._value() if self.key == "betas" else self.group[self.key]
        if isinstance(now, Tensor):
            now.fill_(value)
        elif self.key == "betas":
            self.group["betas"] = (value, *self.group["betas"][1:])
        else:
            self.group[self.key] = value


class AttributeSlot:
    """An attribute of an object that is a number.

    Args:
        owner: of it.
        name: of the attribute.
    """

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self.name = owner, name

    @property
    def owner(self) -> object:
        """The object."""
        return self._owner

    def get(self) -> float:
        """Return the number; of a tensor it waits for the device."""
        return float(getattr(self._owner, self.name))

    def seen(self) -> float | None:
        """Return the number; None of a tensor, which may be on a device."""
        value = getattr(self._owner, self.name)
        return None if isinstance(value, Tensor) else float(value)

    def set(self, value: float) -> None:
        """Put a number in its place; a tensor is filled."""
        now = getattr(self._owner, self.name)
        if isinstance(now, Tensor):
            now.fill_(value)
        else:
            setattr(self._owner, self.name, value)
