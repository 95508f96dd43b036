"""fit-device: where a model is trained, in which precision, and how its work is laid out."""

from fit_device.activation_checkpointing import ActivationCheckpointing
from fit_device.autocast import Autocast
from fit_device.channels_last import ChannelsLast
from fit_device.compile import Compile
from fit_device.deterministic import Deterministic
from fit_device.garbage import GarbageCollection
from fit_device.grad_scaler import GradScaler
from fit_device.memory_summary import MemorySummary
from fit_device.placement import Placement
from fit_device.precision import Precision
from fit_device.prefetch import Prefetch

__all__ = [
    "ActivationCheckpointing",
    "Autocast",
    "ChannelsLast",
    "Compile",
    "Deterministic",
    "GarbageCollection",
    "GradScaler",
    "MemorySummary",
    "Placement",
    "Precision",
    "Prefetch",
]
