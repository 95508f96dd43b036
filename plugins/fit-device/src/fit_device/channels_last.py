"""The memory format of images and kernels."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fit_core import hookimpl
from fit_core.batch import map_structure
from fit_device.memory_format import parameters_to_channels_last, to_channels_last

if TYPE_CHECKING:
    from fit_core import Trainer


class ChannelsLast:
    """Keeps kernels and images with their channels last in memory, which convolutions may run faster on.

    Values are those without it, up to rounding. Checkpoints are the same. What has not four dimensions, or is not floating, is left alone.
    """

    @hookimpl(trylast=True)  # a model that another plugin puts in is meant too
    def on_setup(self, trainer: Trainer) -> None:
        parameters_to_channels_last(trainer.model)

    @hookimpl(wrapper=True)
    def prepare_batch(self) -> Generator[None, Any, tuple[Any, Any]]:
        inputs, targets = yield
        return _converted(inputs), targets


def _converted(value: Any) -> Any:
    return to_channels_last(value) if isinstance(value, Tensor) else map_structure(_converted, value)
