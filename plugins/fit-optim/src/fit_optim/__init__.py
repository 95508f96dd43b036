"""fit-optim: what happens to gradients and weights around a step."""

from fit_optim.clip import Clip

__all__ = ["Clip"]
