"""fit-schedulers: what changes over a run, and what ends it early."""

from fit_schedulers.early_stopping import EarlyStopping
from fit_schedulers.lr import LR
from fit_schedulers.lr_finder import LRFinder
from fit_schedulers.phases import Length, Phase
from fit_schedulers.plateau import Plateau
from fit_schedulers.scheduled_value import ScheduledValue
from fit_schedulers.stopping import StopAfter, StopAt

__all__ = ["LR", "EarlyStopping", "LRFinder", "Length", "Phase", "Plateau", "ScheduledValue", "StopAfter", "StopAt"]
