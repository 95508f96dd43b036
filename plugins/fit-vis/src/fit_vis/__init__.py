"""fit-vis: TensorBoard, Visdom and files as sinks; figures; inside the network."""

from fit_vis.figures.curves import Curves
from fit_vis.figures.model_summary import ModelSummary
from fit_vis.figures.threshold_curves import PrecisionRecallCurve, RocCurve
from fit_vis.figures.train_batch import TrainBatch
from fit_vis.figures.worst_samples import WorstSamples
from fit_vis.inside.activations import Activations
from fit_vis.inside.class_appearance import ClassAppearance
from fit_vis.inside.embedding import Embedding
from fit_vis.inside.feature_maps import FeatureMaps
from fit_vis.inside.filters import Filters
from fit_vis.inside.gradients import Gradients
from fit_vis.inside.saliency import Saliency
from fit_vis.show_files import ShowFiles
from fit_vis.tensorboard import TensorBoard
from fit_vis.visdom import Visdom

__all__ = [
    "Activations",
    "ClassAppearance",
    "Curves",
    "Embedding",
    "FeatureMaps",
    "Filters",
    "Gradients",
    "ModelSummary",
    "PrecisionRecallCurve",
    "RocCurve",
    "Saliency",
    "ShowFiles",
    "TensorBoard",
    "TrainBatch",
    "Visdom",
    "WorstSamples",
]
