"""A run with any producer of pictures is equal to the bit to a run without."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import failures
from fit_vis.imaging import FromState

OPTIONS = {
    "activations": "activations:every=2 steps,histograms=true",
    "class-appearance": "class-appearance:steps=2",
    "curves": "curves",
    "embedding": "embedding:layer=0,avg_pool=2,inputs=true",
    "feature-maps": "feature-maps:layers=*",
    "filters": "filters",
    "gradients": "gradients:every=2 steps,histograms=true",
    "model-summary": "model-summary",
    "precision-recall-curve": "precision-recall-curve",
    "roc-curve": "roc-curve",
    "saliency": "saliency:of=truth",
    "train-batch": "train-batch:every=1 step",
    "worst-samples": "worst-samples:count=3",
}
SHOWN = {
    "class-appearance": "class_appearance",
    "embedding": "val_embedding",
    "feature-maps": "feature_maps/0",
    "model-summary": "model_summary",
    "precision-recall-curve": "val_precision_recall_curve",
    "roc-curve": "val_roc_curve",
    "train-batch": "train_batch",
    "worst-samples": "val_worst_samples",
}
FLAT = ("class-appearance", "embedding", "saliency", "train-batch", "worst-samples")
WAITS = {"train-batch": {"no waits"}}  # labels are written below pictures; in the batches that it shows


class Watch:
    """Notes what a producer could disturb, as the run goes on."""

    passive = True

    def __init__(self) -> None:
        self.notes: list[Any] = []

    @hookimpl
    def on_step_start(self, trainer: Trainer, state: State) -> None:
        assert state.update is not None
        self.note(trainer, [p.grad.clone() for p in state.update.params if p.grad is not None])

    @hookimpl(tryfirst=True)
    def on_batch_start(self, trainer: Trainer, state: State) -> None:
        self.note(trainer, [state.inputs.clone(), state.targets.clone()])

    @hookimpl(trylast=True)
    def on_safe_point(self, trainer: Trainer) -> None:
        self.note(trainer, [p.grad.clone() if p.grad is not None else torch.zeros(1) for p in trainer.model.parameters()])

    @hookimpl(trylast=True)
    def on_eval_batch_end(self, trainer: Trainer, state: State) -> None:
        self.note(trainer, [state.outputs.clone()])

    @hookimpl(trylast=True)
    def on_epoch_end(self, trainer: Trainer) -> None:
        self.note(trainer, [])

    def note(self, trainer: Trainer, tensors: list[torch.Tensor]) -> None:
        model = trainer.model
        hooks = [len(vars(module)[kind]) for module in model.modules() for kind in vars(module) if kind.endswith("_hooks")]
        flags = [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()], torch.is_grad_enabled()
        drawn = random.getstate(), torch.get_rng_state().tolist()
        values = [*tensors, *(value.clone() for value in model.state_dict().values())]
        self.notes.append((hooks, flags, drawn, values))


def noted(make: Callable[..., Trainer], *plugins: Any) -> tuple[list[Any], Trainer]:
    watch = Watch()
    with torch.random.fork_rng(devices=[]):
        trainer = make(*plugins, watch, seed=1)
        trainer.fit(epochs=3)
    return watch.notes, trainer


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_with_it_is_equal_to_one_without(name: str, make: Callable[..., Trainer], sink: Any) -> None:
    plain, alone = noted(make)
    watched, trainer = noted(make, sink, OPTIONS[name])
    assert SHOWN.get(name, name) in sink.names
    assert len(plain) == len(watched)
    for before, after in zip(plain, watched, strict=True):
        assert before[:3] == after[:3]
        assert all(map(torch.equal, before[3], after[3]))
    assert [{**row, "seconds": 0} for row in alone.history] == [{**row, "seconds": 0} for row in trainer.history]
    state, other = alone.state_dict(), trainer.state_dict()
    assert state.keys() == other.keys()


@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - {"precision-recall-curve"}))  # which is roc-curve but for the arithmetic
def test_it_conforms(name: str, settings: Callable[[], dict[str, Any]]) -> None:
    layers, flat = OPTIONS[name].replace("layer=0", "layer=1"), ",shape=[1,2,2]" if name in FLAT else ""
    failed = failures(f"{layers}{flat}" if ":" in layers else layers, settings)
    assert failed.keys() == WAITS.get(name, set()), failed


def test_a_chain_conforms_and_changes_nothing(settings: Callable[[], dict[str, Any]], make: Callable[..., Trainer], sink: Any) -> None:
    chain = FromState("inputs").on_train().on_val().cache(3).make_grid().show("pictures")
    assert failures(FromState("inputs", lambda flat: flat.reshape(-1, 1, 2, 2)).on_train().on_val().show("pictures"), settings) == {}
    plain, _ = noted(make)
    watched, _ = noted(make, sink, chain)
    assert sink.names.count("pictures") == 6
    assert all(torch.equal(a, b) for before, after in zip(plain, watched, strict=True) for a, b in zip(before[3], after[3], strict=True))


@pytest.mark.parametrize("name", [*OPTIONS])
def test_without_a_sink_nothing_is_made(name: str, make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    """No forward hook, no copy of weights, no further forward pass, no call of a plotting library: the model counts its calls."""
    trainer = make(OPTIONS[name], loss_fn=lambda outputs, targets: torch.nn.functional.cross_entropy(outputs, targets))
    calls = []
    trainer.model[0].register_forward_hook(lambda module, *_: calls.append(len(module._forward_hooks)))
    trainer.fit(epochs=2)
    assert calls == [1] * 2 * (4 + 2), "one call of the model per batch, with no other hook"


@pytest.mark.parametrize("name", ["activations", "feature-maps", "embedding"])
def test_forward_hooks_are_gone_after_an_exception(name: str, make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, OPTIONS[name])

    def broken(module: torch.nn.Module, inputs: Any) -> None:
        if name == "activations" or not module.training:
            raise RuntimeError("broken")

    handle = trainer.model[5].register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="broken"):
        trainer.fit(epochs=1)
    handle.remove()
    assert not any(module._forward_hooks for module in trainer.model.modules())


@pytest.mark.parametrize("every", ["0 steps", "often", "1 fortnight"])
@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "model-summary"])
def test_an_interval_that_is_none_is_refused_at_once(name: str, every: str, make: Callable[..., Trainer]) -> None:
    with pytest.raises(FitError, match="cannot read the interval"):
        make(f"{name}:every={every}")
