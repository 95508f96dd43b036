"""`fit predict SCRIPT --output FILE`: the outputs of what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fit_core.cli.evaluate import trained
from fit_core.cli.scripts import ScriptGroup, ScriptRun, plugin_options, weights_options
from fit_core.errors import FitError

SUFFIXES = (".npy", ".pt")


def predict_options() -> list[click.Option]:
    """Make fit's own options for predictions."""
    return [
        *plugin_options(),
        *weights_options(),
        click.Option(
            ["-o", "--output"],
            type=click.Path(path_type=Path, dir_okay=False),
            required=True,
            help="Where the outputs go: .npy for one tensor, .pt for any nesting.",
        ),
    ]


def predict(run: ScriptRun) -> None:
    """Write the outputs of a pass over the data."""
    from fit_core.feeding import several

    output = run.values["output"]
    if output.suffix not in SUFFIXES:
        raise FitError(f"cannot tell the format of {str(output)!r}; name it *.npy (one tensor) or *.pt (any nesting)")
    with run.trainer:
        data = trained(run, run.values["data"])
        if isinstance(data, dict) and run.values["data"] == "val" and len(several(data)) > 1:
            raise FitError(
                f"val_data has several sets ({', '.join(data)}), and predict takes one; choose --data test, or one set in the script"
            )
        outputs = run.trainer.predict(data, limit_batches=run.values["limit_batches"])
    click.echo(f"{write(outputs, output)} in {output}")


def write(outputs: Any, path: Path) -> str:
    """Write outputs to a file, and say of what types and shapes they are.

    Raises:
        FitError: the format cannot hold them, or the file cannot be written.
    """
    import torch

    from fit_core.batch import describe

    try:
        if path.suffix == ".pt":
            torch.save(outputs, path)
        elif isinstance(outputs, torch.Tensor):
            import numpy

            numpy.save(path, (outputs.float() if outputs.dtype == torch.bfloat16 else outputs).numpy())
        else:
            raise FitError(f"the outputs are {describe(outputs)}, and .npy holds one tensor; use --output {path.with_suffix('.pt')}")
    except (OSError, RuntimeError, TypeError) as error:
        raise FitError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    return describe(outputs)


command = ScriptGroup("predict", "Write the outputs of what SCRIPT's trainer has learned.", predict, predict_options)
