"""Lightning, with what it does besides switched off: progress bar, summary, its own logger and checkpoints where nobody asks for them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from peers.tasks import CLIP, LOSS, PATIENCE, Batch, InMemory, Network, SetUp, Step, Train, sgd

QUIET: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False}
NOTHING: dict[str, Any] = {**QUIET, "logger": False, "enable_checkpointing": False}
warnings.filterwarnings("ignore")  # of workers, which would be slower here
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Ready:
    """Batches in a list, which by itself would be several loaders."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class Bare(LightningModule):
    """Logs nothing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the loss."""
        inputs, targets = batch
        return LOSS(self.network(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return sgd(self.parameters())


def bare(network: nn.Module, data: Iterable[Batch], epochs: int) -> Train:
    """Return the training of a module that logs nothing."""
    module, trainer = Bare(network), Trainer(max_epochs=epochs, **NOTHING)

    def train() -> Network:
        trainer.fit(module, data)
        return network

    return train


def step(task: Step) -> Train:
    """Train on a list of batches."""
    return bare(task.network(), Ready(task.batches), epochs=1)


def in_memory(task: InMemory) -> Train:
    """Train on torch's loader."""
    loader = DataLoader(TensorDataset(task.inputs, task.targets), batch_size=task.batch_size, shuffle=True)
    return bare(task.network(), loader, task.epochs)


class Logged(Bare):
    """Logs loss and accuracy of epochs, with torchmetrics, which does not look at its arguments."""

    def __init__(self, task: SetUp) -> None:
        super().__init__(task.network())
        self.task = task
        self.accuracy = MulticlassAccuracy(10, average="micro", validate_args=False)
        self.val_accuracy = MulticlassAccuracy(10, average="micro", validate_args=False)

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the loss, and log means over the epoch."""
        inputs, targets = batch
        outputs = self.network(inputs)
        loss = LOSS(outputs, targets)
        self.accuracy(outputs, targets)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Log means over the pass."""
        inputs, targets = batch
        outputs = self.network(inputs)
        self.val_accuracy(outputs, targets)
        self.log("val_loss", LOSS(outputs, targets), batch_size=len(targets))
        self.log("val_accuracy", self.val_accuracy, batch_size=len(targets))

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and its schedule per step."""
        optimizer = sgd(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, self.task.factor), "interval": "step"}}


def set_up(task: SetUp) -> Train:
    """Train with its logger, its callbacks and its clipping."""
    module = Logged(task)
    callbacks = [ModelCheckpoint(task.folder / "best", monitor="val_loss"), EarlyStopping("val_loss", patience=PATIENCE)]
    logger = CSVLogger(task.folder, name=None, version="")
    settings = {**QUIET, "logger": logger, "callbacks": callbacks, "gradient_clip_val": CLIP, "num_sanity_val_steps": 0}
    trainer = Trainer(max_epochs=task.epochs, **settings)

    def train() -> Network:
        trainer.fit(module, task.train, Ready(task.val))
        return module.network

    return train
