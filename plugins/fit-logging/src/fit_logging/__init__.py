"""fit-logging: where the numbers of a run go."""

from fit_logging.history import CSV, JSONL, StepLog
from fit_logging.progress import Progress
from fit_logging.text_log import TextLog

__all__ = ["CSV", "JSONL", "Progress", "StepLog", "TextLog"]
