"""fit-checkpoint: when to save, and what to keep."""

from fit_checkpoint.model_checkpoint import ModelCheckpoint

__all__ = ["ModelCheckpoint"]
