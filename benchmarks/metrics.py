"""What a metric costs per batch, against the same by hand and against torchmetrics: python benchmarks/metrics.py.

Outputs and targets are ready (batch 32, 10 classes), so that nothing but the metrics is measured: taking each batch in, and the value at
the end of the pass. By hand means what a good loop does: sums kept on the device, read once at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torchmetrics
from harness import interleaved, report
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from fit_core.meter import Meter
from fit_core.metric_list import MetricList, for_loss
from fit_core.state import Progress, State
from fit_metrics import maximum, mean, mse, per_class, quantile, running_mean, std, top_k_accuracy

BATCHES = 2000
GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS = [torch.randn(32, 10, generator=GENERATOR) for _ in range(BATCHES)]
TARGETS = [torch.randint(0, 10, (32,), generator=GENERATOR) for _ in range(BATCHES)]
LOSSES = [torch.rand((), generator=GENERATOR) for _ in range(BATCHES)]
Run = Callable[[], float]


def with_fit(*metrics: Any, regression: bool = False) -> Run:
    """Return a run that feeds metrics as the training pass does, and reads them at its end."""
    chosen = for_loss(MetricList().resolve(metrics), nn.MSELoss() if regression else nn.CrossEntropyLoss())
    targets = OUTPUTS if regression else TARGETS
    losses = any(hasattr(metric, "update_loss") for metric in chosen)  # the mean that is in every row is counted with them

    def run() -> float:
        meter = Meter(chosen)
        state = State(Progress("train"), nn.Identity(), torch.device("cpu"), {}, dict)
        meter.begin(state)
        began = time.perf_counter()
        for state.outputs, state.targets, state.loss in zip(OUTPUTS, targets, LOSSES, strict=True):
            if losses:
                meter.add_loss("loss", state, sums=False)
            meter.add(state)
        meter.values()
        return time.perf_counter() - began

    return run


def by_hand(step: Callable[[Any, Tensor, Tensor, Tensor], Any], read: Callable[[Any], Any], regression: bool = False) -> Run:
    """Return a run of a plain loop: `total = step(total, outputs, targets, loss)`."""

    def run() -> float:
        began = time.perf_counter()
        total: Any = None
        for outputs, targets, loss in zip(OUTPUTS, OUTPUTS if regression else TARGETS, LOSSES, strict=True):
            total = step(total, outputs, targets, loss)
        read(total)
        return time.perf_counter() - began

    return run


def with_torchmetrics(make: Callable[[], Any], regression: bool = False) -> Run:
    """Return a run of a metric of torchmetrics."""

    def run() -> float:
        metric = make()
        began = time.perf_counter()
        for outputs, targets in zip(OUTPUTS, OUTPUTS if regression else TARGETS, strict=True):
            metric.update(outputs, targets)
        metric.compute()
        return time.perf_counter() - began

    return run


def plus(total: Any, *values: Any) -> Any:
    """Add up."""
    return values if total is None else tuple(a + b for a, b in zip(total, values, strict=True))


def right(total: Any, outputs: Tensor, targets: Tensor, _: Tensor) -> Any:
    """Count what is right."""
    return plus(total, (outputs.argmax(1) == targets).sum(), len(targets))


def in_five(total: Any, outputs: Tensor, targets: Tensor, _: Tensor) -> Any:
    """Count what is among the best five."""
    return plus(total, (outputs.topk(5).indices == targets[:, None]).any(1).sum(), len(targets))


def errors(total: Any, outputs: Tensor, targets: Tensor, _: Tensor) -> Any:
    """Add up squared errors."""
    return plus(total, (outputs - targets).square().sum(), targets.numel())


def usual(total: Any, outputs: Tensor, targets: Tensor, loss: Tensor) -> Any:
    """Count what is right and among the best five, and keep the last 50 of accuracy and loss."""
    last = [] if total is None else total[3]
    hits = outputs.argmax(1) == targets
    last.append((hits.float().mean(), loss.detach()))
    del last[:-50]
    top = (outputs.topk(5).indices == targets[:, None]).any(1).sum()
    return (
        (hits.sum(), top, len(targets), last) if total is None else (total[0] + hits.sum(), total[1] + top, total[2] + len(targets), last)
    )


def share(total: Any) -> float:
    """Divide."""
    return float(total[0]) / total[1]


def both(total: Any) -> Any:
    """Read all of the usual set."""
    right, top, seen, last = total
    return float(right) / seen, float(top) / seen, [float(torch.stack(column).mean()) for column in zip(*last, strict=True)]


def accurate() -> Any:
    """Return the accuracy of torchmetrics, without checks that wait."""
    return MulticlassAccuracy(10, average="micro", validate_args=False)


def collection() -> Any:
    """Return the usual set, as far as torchmetrics has it."""
    return torchmetrics.MetricCollection(
        {"accuracy": accurate(), "top 5": MulticlassAccuracy(10, top_k=5, average="micro", validate_args=False)}
    )


ROWS: dict[str, tuple[Run, Run | None, Run | None]] = {
    "accuracy": (with_fit("accuracy"), by_hand(right, share), with_torchmetrics(accurate)),
    "top_5_accuracy": (
        with_fit(top_k_accuracy(5)),
        by_hand(in_five, share),
        with_torchmetrics(lambda: MulticlassAccuracy(10, top_k=5, average="micro", validate_args=False)),
    ),
    "mse": (
        with_fit(mse(), regression=True),
        by_hand(errors, share, regression=True),
        with_torchmetrics(torchmetrics.MeanSquaredError, regression=True),
    ),
    "mae": (with_fit("mae", regression=True), None, with_torchmetrics(torchmetrics.MeanAbsoluteError, regression=True)),
    "rmse": (with_fit("rmse", regression=True), None, None),
    "r2": (with_fit("r2", regression=True), None, None),
    "binary_accuracy": (with_fit("binary_accuracy", regression=True), None, None),
    "categorical_accuracy": (with_fit("categorical_accuracy"), None, None),
    "average_precision": (with_fit("average_precision"), None, None),
    "f1": (with_fit("f1"), None, with_torchmetrics(lambda: MulticlassF1Score(10, validate_args=False))),
    "roc_auc": (with_fit("roc_auc"), None, None),
    "running_accuracy": (with_fit("running_accuracy"), None, None),
    "accuracy, std and max": (with_fit(mean(std(maximum("accuracy")))), None, None),
    "per class": (with_fit(per_class("accuracy")), None, None),
    "a quantile": (with_fit(quantile("accuracy")), None, None),
    "running_loss": (with_fit("running_loss"), None, None),
    "usual set": (
        with_fit(mean(running_mean("accuracy")), top_k_accuracy(5), "running_loss"),
        by_hand(usual, both),
        with_torchmetrics(collection),
    ),
}
"""fit, by hand, torchmetrics. The usual set: accuracy, its last 50 batches, those of the loss, and the best five."""


def main() -> None:
    """Measure each metric."""
    told = {}
    for name, runs in ROWS.items():
        found = iter(interleaved([run for run in runs if run is not None], rounds=7))
        fit, hand, other = (next(found) / BATCHES * 1e6 if run is not None else None for run in runs)
        assert fit is not None
        rivals = {"by hand": hand, "torchmetrics": other}
        against = [f"{rival}: {time:.1f} (ratio {fit / time:.2f})" for rival, time in rivals.items() if time is not None]
        told[name] = "; ".join([f"{fit:.1f}", *against])
    report(__file__, __doc__, "microseconds per batch", told)


if __name__ == "__main__":
    main()
