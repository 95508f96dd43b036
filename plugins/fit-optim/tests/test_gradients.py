"""Noise and centralisation of gradients: by hand, per real step, per update, before and after clipping, resumed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fit_core import FitError, State, Update, Updates, hookimpl
from fit_core.norm import norm_of
from fit_core.testing import check_resume, failures, tiny_batches, tiny_trainer
from fit_optim import Clip, GradCentralization, GradNoise
from fit_optim.gradients import add_noise_, centralize_, clip_with_norm_, noise_scale


class Gradients:
    """Keeps the gradients of every step, as the optimizer sees them."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    @hookimpl(trylast=True)
    def on_step_start(self, trainer: Any, state: State) -> None:
        self.seen.append({name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None})


def seen(*plugins: Any, epochs: int = 1, **how: Any) -> list[dict[str, Tensor]]:
    gradients = Gradients()
    how = {"optimizer": partial(torch.optim.SGD, lr=0.0), "train_data": tiny_batches(4), "seed": 1, **how}
    tiny_trainer(**how, plugins=[*plugins, gradients]).fit(epochs=epochs)
    return gradients.seen


def test_formulas_by_hand() -> None:
    assert noise_scale(0, 0.25, 0.55) == 0.5
    assert noise_scale(3, 1.0, 1.0) == 0.5
    gradient = torch.zeros(40000)
    add_noise_(gradient, 0.3, torch.Generator().manual_seed(0))
    assert gradient.std().item() == pytest.approx(0.3, rel=0.02)
    matrix, kernel, vector = torch.tensor([[1.0, 3.0], [0.0, 4.0]]), torch.arange(8.0).reshape(2, 2, 2), torch.tensor([1.0, 2.0])
    centralize_([matrix, kernel, vector])
    assert matrix.tolist() == [[-1.0, 1.0], [-2.0, 2.0]]
    assert kernel.flatten().tolist() == [-1.5, -0.5, 0.5, 1.5] * 2
    assert vector.tolist() == [1.0, 2.0]
    sparse = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.tensor([[1.0, 3.0]]), (4, 2), check_invariants=True).coalesce()
    centralize_([sparse])
    assert sparse.to_dense()[1].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_noise_falls_over_real_steps_and_follows_the_seed(accumulate: int) -> None:
    plain, noisy = seen(accumulate=accumulate), seen(GradNoise(eta=1, gamma=1), accumulate=accumulate)
    assert len(noisy) == 4 // accumulate
    drawn = [(b["weight"] - a["weight"]) * (1 + step) ** 0.5 for step, (a, b) in enumerate(zip(plain, noisy, strict=True))]
    assert all(0.4 < noise.std() < 2 for noise in drawn)
    assert not torch.allclose(drawn[0], drawn[1])
    again = seen(Clip(norm=1e6), GradNoise(eta=1, gamma=1), accumulate=accumulate)
    assert all(torch.equal(a["weight"], b["weight"]) for a, b in zip(noisy, again, strict=True)), "whatever other plugins there are"
    chosen = seen(GradNoise(eta=1, params="bias"), accumulate=accumulate)
    assert torch.equal(chosen[0]["weight"], plain[0]["weight"])
    assert not torch.equal(chosen[0]["bias"], plain[0]["bias"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_rows_have_zero_mean(accumulate: int) -> None:
    plain, centred = seen(accumulate=accumulate), seen(GradCentralization(), accumulate=accumulate)
    for a, b in zip(plain, centred, strict=True):
        assert torch.allclose(b["weight"], a["weight"] - a["weight"].mean(1, keepdim=True), atol=1e-7)
        assert torch.equal(a["bias"], b["bias"])
    assert torch.equal(seen(GradCentralization("bias"))[0]["weight"], seen()[0]["weight"])


@pytest.mark.parametrize("turn", [1, -1])
def test_order_with_clipping(turn: int) -> None:
    plugins = [GradCentralization(), Clip(norm=0.01), GradNoise(eta=1e-12)][::turn]
    found = torch.cat([gradient.flatten() for gradient in seen(*plugins)[0].values()])
    assert found.norm().item() == pytest.approx(0.01, rel=1e-3), "clipped last but for the noise"
    loud = torch.cat([gradient.flatten() for gradient in seen(*plugins[:-1], GradNoise(eta=1))[0].values()]) if turn == 1 else None
    assert loud is None or loud.norm() > 0.1


def test_several_updates_frozen_lazy_and_closures() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    model[0].bias.requires_grad_(False)
    still = partial(torch.optim.SGD, lr=0.0)
    updates = Updates([Update("a", still(model[0].parameters())), Update("b", still(model[1].parameters()), every=2)])
    found = seen(GradNoise(), GradCentralization(), model=model, optimizer=updates)
    assert len(found) == 6
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(3))
    assert len(seen(GradNoise(), GradCentralization(), model=lazy)) == 4
    assert len(seen(GradNoise(eta=1e-6), GradCentralization(), optimizer=partial(torch.optim.LBFGS, max_iter=2))) >= 4


def test_mistakes_are_told() -> None:
    for options in ({"eta": -1}, {"gamma": float("inf")}):
        with pytest.raises(FitError, match=f"{next(iter(options))} must be a number from 0 on"):
            GradNoise(**options)
    for plugin in (GradNoise(params="wieght"), GradCentralization("wieght")):
        with pytest.raises(FitError, match=r"no parameter is called 'wieght'; did you mean 'weight'\?"):
            seen(plugin)


def test_conformance_and_resume() -> None:
    assert failures(GradNoise()).keys() == {"no waits"}, "the meta device has no random numbers"
    assert not failures(GradCentralization())
    check_resume(lambda: tiny_trainer(plugins=[GradNoise(eta=1), GradCentralization()], train_data=tiny_batches(5), accumulate=2))


def test_noise_reads_nothing() -> None:
    class Reads(torch.utils._python_dispatch.TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Reads.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    gradient = torch.zeros(4)
    with Reads():
        add_noise_(gradient, 0.1, torch.Generator())
    assert Reads.count == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=5),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.complex64]),
    st.sampled_from([1.0, 2.0, 3.0, float("inf")]),
    st.floats(0.01, 100),
    st.sampled_from(["as they are", "one is None", "none", "two types", "sparse", "with a graph", "not finite", "zero"]),
)
def test_clipping_is_torchs(shapes: list[tuple[int, int]], dtype: torch.dtype, norm_type: float, limit: float, kind: str) -> None:
    def params() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        found = []
        for i, shape in enumerate(shapes):
            of = torch.float16 if kind == "two types" and i else dtype
            p = torch.zeros(shape, dtype=of, requires_grad=True)
            p.grad = torch.randn(shape, generator=generator).to(of) * (kind != "zero")
            found.append(p)
        first = found[0]
        assert first.grad is not None
        if kind == "one is None":
            first.grad = None
        if kind == "none":
            for p in found:
                p.grad = None
        if kind == "sparse" and first.grad is not None:
            first.grad = first.grad.to_sparse()
        if kind == "with a graph" and first.grad is not None:
            first.grad.requires_grad_()
        if kind == "not finite" and first.grad is not None:
            first.grad.fill_(float("nan"))
        return found

    def clip(params: list[torch.Tensor], limit: float, norm_type: float) -> torch.Tensor:
        gradients = [p.grad for p in params if p.grad is not None]
        total = norm_of(gradients, norm_type)
        clip_with_norm_(gradients, limit, total)
        return total

    def outcome(clip: Any) -> Any:
        clipped = params()
        try:
            total = clip(clipped, limit, norm_type)
        except RuntimeError as error:
            return str(type(error))
        return total, [None if p.grad is None else p.grad.detach().to_dense() for p in clipped]

    ours, theirs = outcome(clip), outcome(torch.nn.utils.clip_grad_norm_)
    if isinstance(theirs, str):
        assert ours == theirs
    else:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
