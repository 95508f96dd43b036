"""fit-vis: TensorBoard, Visdom and files as sinks; figures; inside the network."""

from fit_vis.show_files import ShowFiles
from fit_vis.tensorboard import TensorBoard
from fit_vis.visdom import Visdom

__all__ = ["ShowFiles", "TensorBoard", "Visdom"]
