"""Adversarial training on the core's updates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fit_core import FitError, State, Trainer, Update, Updates, hookimpl
from fit_core.explain import explained
from fit_gan import (
    D_FAKE,
    D_REAL,
    FAKE,
    GAN,
    R1,
    R2,
    Adversarial,
    ClassLoss,
    FeatureMatching,
    GeneratorEMA,
    GradientPenalty,
    SampleFiles,
    Samples,
    Term,
    adversarial_updates,
)
from fit_gan.pictures import as_bytes, grid
from fit_gan.samples import as_pictures, between

ADAM = partial(torch.optim.Adam, lr=1e-3)
DATA = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3


class Conditional(nn.Module):
    """Takes labels beside its input."""

    def __init__(self, size: int, out: int, classes: int = 3, logits: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, 2)
        self.body = nn.Linear(size + 2, out)
        self.head = nn.Linear(size + 2, classes) if logits else None

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        both = torch.cat([x, self.embedding(labels)], 1)
        return self.body(both) if self.head is None else (self.body(both), self.head(both))


def model(conditional: bool = False) -> GAN:
    torch.manual_seed(0)
    if conditional:
        return GAN(Conditional(2, 4), Conditional(4, 1, logits=True), 2, conditional=True)
    return GAN(nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(), nn.Linear(6, 1)), 2)


def trainer_of(net: GAN, *plugins: Any, **changes: Any) -> Trainer:
    settings: dict[str, Any] = {"optimizer": adversarial_updates(net, ADAM), "train_data": DATA, "quiet": True, "seed": 0}
    return Trainer(net, plugins=[Adversarial(), *plugins], **settings | changes)


@pytest.mark.parametrize("loss", ["minimax", "non-saturating", "least-squares", "hinge", "wasserstein"])
def test_every_loss_trains_both_sides(loss: str) -> None:
    net = model()
    before = [p.detach().clone() for p in net.parameters()]
    trainer = Trainer(net, optimizer=adversarial_updates(net, ADAM), plugins=[Adversarial(loss)], train_data=DATA, quiet=True, seed=0)
    row = trainer.fit(epochs=2, batch_size=8)[-1]
    assert {"loss", "d_loss", "g_loss", "d_x", "d_gz", "d_lr", "g_lr"} <= row.keys()
    assert not torch.equal(net.generator.weight, before[0])
    assert not torch.equal(net.discriminator[0].weight, before[1])
    assert (trainer.updates["d"].steps, trainer.updates["g"].steps) == (10, 10)


def test_it_is_the_loop_that_one_would_write() -> None:
    net, other = model(), model()
    noises: list[Tensor] = []

    @hookimpl
    def draw_noise(count: int) -> Tensor:
        noises.append(torch.randn(count, 2, generator=torch.Generator().manual_seed(len(noises))))
        return noises[-1]

    batches = [(DATA[i : i + 8], None) for i in range(0, 40, 8)]
    trainer_of(net, draw_noise, train_data=batches).fit(epochs=1)
    d, g = ADAM(other.discriminator.parameters()), ADAM(other.generator.parameters())
    bce, (one, zero) = nn.BCEWithLogitsLoss(), (torch.ones(8, 1), torch.zeros(8, 1))
    for (real, _), noise in zip(batches, noises, strict=True):
        fake = other.generator(noise)
        d.zero_grad()
        (bce(other.discriminator(real), one) + bce(other.discriminator(fake.detach()), zero)).backward()
        d.step()
        g.zero_grad()
        bce(other.discriminator(fake), one).backward()
        g.step()
    for p, expected in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, expected, atol=1e-6)


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_fakes_are_made_once_per_batch(critic_steps: int) -> None:
    net = model()
    calls: list[bool] = []
    net.generator.register_forward_hook(lambda *called: calls.append(called[-1].requires_grad))
    trainer = trainer_of(net, optimizer=adversarial_updates(net, ADAM, critic_steps=critic_steps))
    trainer.fit(epochs=1, batch_size=4)
    assert len(calls) == 10
    assert calls == [batch % critic_steps == 0 for batch in range(1, 11)], "a graph is kept only where the generator is trained"
    assert (trainer.updates["d"].steps, trainer.updates["g"].steps) == (10, 10 // critic_steps)


def test_a_dict_of_optimizers_does_too_with_fakes_of_each_update() -> None:
    net = model()
    calls: list[int] = []
    net.generator.register_forward_hook(lambda *_: calls.append(1))
    optimizer = {"d": ADAM(net.discriminator.parameters()), "g": ADAM(net.generator.parameters())}
    row = trainer_of(net, optimizer=optimizer).fit(epochs=1, batch_size=8)[0]
    assert len(calls) == 10
    assert row["d_loss"] != row["g_loss"]


def test_one_optimizer_trains_each_side_by_its_own_loss() -> None:
    net, other = model(), model()

    @hookimpl
    def draw_noise(count: int) -> Tensor:
        return torch.ones(count, 2)

    row = trainer_of(net, draw_noise, optimizer=partial(torch.optim.SGD, lr=0.1), train_data=[(DATA[:8], None)]).fit(epochs=1)[0]
    assert {"loss", "d_loss", "g_loss", "lr"} <= row.keys()
    assert row["loss"] == pytest.approx(row["d_loss"] + row["g_loss"])
    bce = nn.BCEWithLogitsLoss()
    fake = other.generator(torch.ones(8, 2))
    d_loss = bce(other.discriminator(DATA[:8]), torch.ones(8, 1)) + bce(other.discriminator(fake.detach()), torch.zeros(8, 1))
    d_loss.backward(inputs=list(other.discriminator.parameters()))
    bce(other.discriminator(fake), torch.ones(8, 1)).backward(inputs=list(other.generator.parameters()))
    torch.optim.SGD(other.parameters(), lr=0.1).step()
    for p, expected in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, expected, atol=1e-6)


TERMS: dict[str, tuple[Callable[[], Any], str]] = {
    "gradient penalty": (GradientPenalty, "gradient_penalty"),
    "r1": (R1, "r1"),
    "r2": (R2, "r2"),
    "features": (lambda: FeatureMatching("0"), "feature_matching"),
    "any": (lambda: Term("spread", lambda trainer, state: -state[FAKE].std(), "g", 0.1), "spread"),
}


@pytest.mark.parametrize("name", TERMS)
def test_terms_are_recorded_and_train_their_side(name: str) -> None:
    make, column = TERMS[name]
    term = make()
    net, plain = model(), model()
    row = trainer_of(net, term).fit(epochs=1, batch_size=40)[0]
    trainer_of(plain).fit(epochs=1, batch_size=40)
    assert row[column] == row[column]
    mine, others = ("discriminator", "generator") if term.side == "d" else ("generator", "discriminator")
    gap = {
        side: max(
            (p - q).detach().abs().max().item()
            for p, q in zip(getattr(net, side).parameters(), getattr(plain, side).parameters(), strict=True)
        )
        for side in (mine, others)
    }
    assert gap[mine] > 0
    if term.side == "g":
        assert gap[others] == 0, "the discriminator had stepped before"


def test_lazy_terms_come_every_so_many_steps_with_as_much_more_weight() -> None:
    seen: list[int] = []

    def term(trainer: Trainer, state: State) -> Tensor:
        seen.append(state.updates["d"].steps)
        return sum(p.sum() for p in trainer.model.discriminator.parameters())  # type: ignore[return-value]

    net = model()
    gradients: list[float] = []

    @hookimpl
    def on_step_start(state: State) -> None:
        if state.update.name == "d":
            gradients.append(net.discriminator[2].bias.grad.item())

    @hookimpl
    def compute_loss(state: State) -> Any:
        return 0 * sum(p.sum() for p in net.parameters())

    trainer = Trainer(
        net,
        optimizer=adversarial_updates(net, partial(torch.optim.SGD, lr=0.0)),
        plugins=[compute_loss, Adversarial(), Term("lazy", term, "d", weight=0.5, every=4), on_step_start],
        train_data=DATA,
        quiet=True,
    )
    trainer.fit(epochs=1, batch_size=4)
    assert seen == [0, 4, 8]
    assert gradients == [2.0, 0, 0, 0, 2.0, 0, 0, 0, 2.0, 0]


def test_a_conditional_gan_with_classes() -> None:
    net = model(conditional=True)
    row = trainer_of(net, ClassLoss(), train_data=(DATA, LABELS)).fit(epochs=2, batch_size=8)[-1]
    assert {"class_loss", "d_class_loss"} <= row.keys()
    with pytest.raises(FitError, match="a conditional GAN needs labels: data must give"):
        trainer_of(model(conditional=True)).fit(epochs=1)
    with pytest.raises(FitError, match="class-loss needs a discriminator that returns"):
        trainer_of(model(), ClassLoss(), train_data=(DATA, LABELS)).fit(epochs=1)


def test_keys_are_there_for_other_plugins() -> None:
    seen: list[Any] = []

    @hookimpl
    def on_d_loss_end(state: State) -> None:
        seen.append((state[FAKE].shape, state[D_REAL].shape, state[D_FAKE].requires_grad))

    trainer_of(model(), on_d_loss_end).fit(epochs=1, batch_size=20)
    assert seen == [((20, 4), (20, 1), True)] * 2


def test_evaluation_reports_both_sides_and_changes_nothing() -> None:
    net = model()
    trainer = trainer_of(net)
    trainer.fit(epochs=1)
    before = [p.detach().clone() for p in net.parameters()]
    values = trainer.evaluate(DATA)
    assert values.keys() == {"test_loss", "test_d_loss", "test_g_loss", "test_d_x", "test_d_gz"}
    assert all(torch.equal(p, was) for p, was in zip(net.parameters(), before, strict=True))
    assert trainer.predict(DATA).shape == (40, 4)


def test_seeded_runs_are_equal_and_a_plugin_more_changes_nothing() -> None:
    first, second, third = model(), model(), model()
    trainer_of(first).fit(epochs=2, batch_size=8)
    trainer_of(second).fit(epochs=2, batch_size=8)
    trainer_of(third, GeneratorEMA(), Samples(count=4, strips=1)).fit(epochs=2, batch_size=8)
    for p, q, r in zip(first.parameters(), second.parameters(), third.parameters(), strict=True):
        assert torch.equal(p, q)
        assert torch.equal(p, r)


def test_the_average_follows_the_generator() -> None:
    net = model()
    ema = GeneratorEMA(decay=0.5)
    seen: list[Tensor] = []

    @hookimpl
    def on_step_end(state: State) -> None:
        if state.update.name == "g":
            seen.append(net.generator.weight.detach().clone())

    trainer = trainer_of(net, ema, on_step_end)
    trainer.fit(epochs=1, batch_size=20)
    expected = 0.5 * seen[0] + 0.5 * seen[1]  # the first average is the first weights
    assert ema.averaged is not None
    assert torch.allclose(ema.averaged.module.weight, expected)
    chosen: list[Any] = []

    @hookimpl
    def on_eval_start(trainer: Trainer, state: State) -> None:
        chosen.append(trainer.hooks.choose_generator(trainer, state))

    watched = trainer_of(net, ema, on_eval_start)
    watched.evaluate(DATA)
    assert chosen == [ema.averaged.module]
    later = GeneratorEMA(decay=0.5)
    later.load_state_dict(ema.state_dict())
    trainer_of(net, later).fit(epochs=1, limit_batches=1, batch_size=40)
    assert later.averaged is not None
    assert later.averaged.n_averaged == ema.averaged.n_averaged + 1


def test_pictures_go_to_the_sink_that_is_there_or_to_files(tmp_path: Path) -> None:
    net = model()
    trainer_of(net, Samples(count=4, strips=1, every=2), SampleFiles(scale=3), run_dir=tmp_path).fit(epochs=4)
    names = ["interpolation-0002", "interpolation-0004", "samples-0002", "samples-0004"]
    assert sorted(path.stem for path in (tmp_path / "samples").iterdir()) == names
    with Image.open(tmp_path / "samples" / "samples-0002.png") as picture:
        assert picture.size == (3 * 7, 3 * 7)
    shown: list[str] = []

    @hookimpl
    def on_show(name: str) -> None:
        shown.append(name)

    trainer_of(net, Samples(count=4, strips=1), SampleFiles(), on_show, run_dir=tmp_path / "other").fit(epochs=1)
    assert shown == ["samples", "interpolation"]
    assert not (tmp_path / "other").exists()


def test_the_noise_of_the_pictures_stays() -> None:
    shown: list[Tensor] = []

    @hookimpl
    def on_show(name: str, item: Any) -> None:
        if name == "samples":
            shown.append(item.pixels)

    net = model()
    trainer_of(net, Samples(count=4, strips=0), on_show, optimizer=adversarial_updates(net, partial(torch.optim.SGD, lr=0.0))).fit(epochs=2)
    assert torch.equal(shown[0], shown[1])


def test_pictures_are_laid_out() -> None:
    pixels = torch.stack([torch.full((1, 2, 2), value) for value in (0.25, 0.5, 0.75)])
    laid = grid(pixels, columns=2)
    assert laid.shape == (1, 7, 7)
    assert laid[0, 1:3, 1:3].eq(0.25).all()
    assert laid[0, 1:3, 4:6].eq(0.5).all()
    assert laid[0, 4:6, 1:3].eq(0.75).all()
    assert laid[0, 4:6, 4:6].eq(0).all()
    assert as_bytes(laid).shape == (7, 7, 1)
    assert as_pictures(torch.tensor([[-1.0, 0.0, 1.0, 2.0]]), None, -1.0).flatten().tolist() == [0, 0.5, 1, 1]
    with pytest.raises(FitError, match=r"samples of shape \(3,\) are no pictures; set shape="):
        as_pictures(torch.zeros(2, 3), None, 0.0)


def test_interpolations_stay_on_the_circle() -> None:
    start, end = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    points = between(start, end, 5)
    assert torch.allclose(points.norm(dim=1), torch.full((5,), 3.0))
    assert torch.allclose(points[2], torch.tensor([3 / 2**0.5] * 2))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_windows_over_both_updates(accumulate: int) -> None:
    net = model()
    trainer = trainer_of(net, GradientPenalty(), accumulate=accumulate)
    trainer.fit(epochs=1, batch_size=8)
    assert trainer.updates["g"].steps == trainer.updates["d"].steps == -(-5 // accumulate)


def test_nothing_is_hidden() -> None:
    trainer = trainer_of(model(), R1())
    hooks = {hook["hook"]: [actor["plugin"] for actor in hook["actors"]] for hook in explained(trainer.hooks)}
    assert hooks["on_d_loss_end"] == ["r1"]
    assert hooks["forward"] == ["adversarial", "defaults"]


class Reads(TorchDispatchMode):
    """Counts what would wait for an accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_batch_reads_only_what_the_guard_reads() -> None:
    net = model()
    counts: list[int] = []

    @hookimpl
    def on_safe_point(state: State) -> None:
        if state.position == "batch":
            counts.append(reads.count)

    sgd = partial(torch.optim.SGD, lr=0.01)
    trainer = trainer_of(net, GradientPenalty(), R1(), Samples(), on_safe_point, optimizer=adversarial_updates(net, sgd))
    with Reads() as reads:
        trainer.fit(epochs=1, batch_size=4)
    per_batch = {after - before for before, after in pairwise(counts)}
    assert per_batch == {2}, "one of each update"


def mistakes() -> dict[str, tuple[Callable[[], Any], str]]:
    net = model()
    return {
        "no parts": (
            lambda: Trainer(nn.Linear(1, 1), optimizer=ADAM, plugins=[Adversarial()], quiet=True).fit(DATA, epochs=1),
            r"Linear has no generator and discriminator; build it by fit_gan.GAN",
        ),
        "names": (
            lambda: trainer_of(
                net, optimizer=Updates([Update("a", ADAM, net.discriminator.parameters()), Update("b", ADAM, net.generator.parameters())])
            ).fit(epochs=1),
            "the updates of a GAN are called 'd' and 'g', not a, b",
        ),
        "layer": (
            lambda: trainer_of(model(), FeatureMatching("body")).fit(epochs=1),
            r"the discriminator has no part 'body' \(parts: 0, 1, 2\)",
        ),
        "side": (lambda: Term("x", lambda *_: torch.zeros(()), "x"), "the side of term 'x' must be 'd' or 'g'"),  # type: ignore[arg-type]
        "decay": (lambda: GeneratorEMA(1.0), "decay must be from 0 to below 1"),
    }


@pytest.mark.parametrize("name", mistakes())
def test_mistakes(name: str) -> None:
    call, message = mistakes()[name]
    with pytest.raises(FitError, match=message):
        call()
