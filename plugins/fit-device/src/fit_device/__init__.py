"""fit-device: where and in which precision a model is trained."""

from fit_device.autocast import Autocast
from fit_device.grad_scaler import GradScaler

__all__ = ["Autocast", "GradScaler"]
