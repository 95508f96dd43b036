"""fit-logging: where the numbers of a run go."""

from fit_logging.csv_file import CSV
from fit_logging.progress import Progress

__all__ = ["CSV", "Progress"]
