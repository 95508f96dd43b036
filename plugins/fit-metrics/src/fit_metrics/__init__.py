"""fit-metrics: metric trees, metrics with names, and those of torchmetrics and scikit-learn."""

from fit_metrics.arithmetic import Arithmetic
from fit_metrics.decorators import last, maximum, mean, metric, minimum, per_class, quantile, running_mean, std, var
from fit_metrics.epoch_metric import EpochMetric, epoch_metric
from fit_metrics.measured import DeviceMemory, GradNorm, LearningRate, Throughput, Timings
from fit_metrics.named import accuracy, binary_accuracy, categorical_accuracy, mae, mse, r2, rmse, top_k_accuracy
from fit_metrics.plugins import ConfusionMatrix, Metrics
from fit_metrics.scores import average_precision, f1, precision, recall, roc_auc, score
from fit_metrics.state_leaves import loss
from fit_metrics.torchmetrics_adapter import TorchMetric
from fit_metrics.tree import MetricTree

__all__ = [
    "Arithmetic",
    "ConfusionMatrix",
    "DeviceMemory",
    "EpochMetric",
    "GradNorm",
    "LearningRate",
    "MetricTree",
    "Metrics",
    "Throughput",
    "Timings",
    "TorchMetric",
    "accuracy",
    "average_precision",
    "binary_accuracy",
    "categorical_accuracy",
    "epoch_metric",
    "f1",
    "last",
    "loss",
    "mae",
    "maximum",
    "mean",
    "metric",
    "minimum",
    "mse",
    "per_class",
    "precision",
    "quantile",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "running_mean",
    "score",
    "std",
    "top_k_accuracy",
    "var",
]
