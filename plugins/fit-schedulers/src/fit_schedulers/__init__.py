"""fit-schedulers: what changes over a run, and what ends it early."""

from fit_schedulers.early_stopping import EarlyStopping
from fit_schedulers.lr import LR

__all__ = ["LR", "EarlyStopping"]
