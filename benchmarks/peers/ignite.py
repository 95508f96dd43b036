"""pytorch-ignite: an engine, and handlers for what is not in it. It writes no CSV: a handler does."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping, LRScheduler, global_step_from_engine
from ignite.metrics import Accuracy, Average, Loss
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from peers.plain import append
from peers.tasks import CLIP, LOSS, PATIENCE, Batch, InMemory, Network, SetUp, Step, Train, sgd


def step(task: Step) -> Train:
    """Train on a list of batches; the loss is not read per batch, as it would be by default."""
    model = task.network()
    trainer = create_supervised_trainer(model, sgd(model.parameters()), LOSS, output_transform=lambda _x, _y, _outputs, loss: loss)

    def train() -> Network:
        trainer.run(task.batches, max_epochs=1)
        return model

    return train


def in_memory(task: InMemory) -> Train:
    """Train on torch's loader."""
    model = task.network()
    trainer = create_supervised_trainer(model, sgd(model.parameters()), LOSS, output_transform=lambda _x, _y, _outputs, loss: loss)
    loader = DataLoader(TensorDataset(task.inputs, task.targets), batch_size=task.batch_size, shuffle=True)

    def train() -> Network:
        trainer.run(loader, max_epochs=task.epochs)
        return model

    return train


def set_up(task: SetUp) -> Train:
    """Train with a step of our own, since ignite's does not clip, and its handlers."""
    model = task.network()
    optimizer = sgd(model.parameters())

    def clipped(_engine: Engine, batch: Batch) -> dict[str, torch.Tensor]:
        model.train()
        optimizer.zero_grad()
        inputs, targets = batch
        outputs = model(inputs)
        loss = LOSS(outputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return {"loss": loss.detach(), "y_pred": outputs.detach(), "y": targets}

    trainer = Engine(clipped)
    Average(output_transform=lambda output: output["loss"]).attach(trainer, "loss")
    Accuracy(output_transform=lambda output: (output["y_pred"], output["y"])).attach(trainer, "accuracy")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, LRScheduler(LambdaLR(optimizer, task.factor)))
    evaluator = create_supervised_evaluator(model, metrics={"loss": Loss(LOSS), "accuracy": Accuracy()})

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        evaluator.run(task.val)
        row = {**engine.state.metrics, **{f"val_{name}": value for name, value in evaluator.state.metrics.items()}}
        append(task.folder / "history.csv", {"epoch": engine.state.epoch, **row})

    def score(engine: Engine) -> float:
        return -engine.state.metrics["loss"]

    everything = {"model": model, "optimizer": optimizer, "trainer": trainer}
    epoch = global_step_from_engine(trainer)
    saver = DiskSaver(str(task.folder / "best"), create_dir=True)
    best = Checkpoint(everything, saver, n_saved=1, score_function=score, score_name="val_loss", global_step_transform=epoch)
    evaluator.add_event_handler(Events.COMPLETED, best)
    evaluator.add_event_handler(Events.COMPLETED, EarlyStopping(PATIENCE, score, trainer))

    def train() -> Network:
        trainer.run(task.train, max_epochs=task.epochs)
        return model

    return train
