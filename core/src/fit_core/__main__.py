"""`python -m fit_core` is `fit`."""

from fit_core.cli import console_script

console_script()
