"""Nothing misspelt runs silently, and innocents are left alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from torch import Tensor, nn

from fit_core import FitError, hookimpl
from fit_core.naming import kebab_case
from fit_core.testing import tiny_trainer


def refused(plugin: Any) -> str:
    with pytest.raises(FitError) as caught:
        tiny_trainer(plugins=[plugin])
    return str(caught.value)


def said_of(function: Any, message: str, plugin: str = "plugin") -> str:
    """Return the whole message: plugin, where it comes from, what was written in which line, and what is wrong."""
    return f"plugin {plugin!r} ({__file__}): {function.__name__} at {__file__}:{function.__code__.co_firstlineno}: {message}"


def test_a_misspelt_hook() -> None:
    class Plugin:
        @hookimpl
        def on_epoch_ends(self) -> None:
            pass

    assert refused(Plugin()) == said_of(Plugin.on_epoch_ends, "there is no hook 'on_epoch_ends'; did you mean 'on_epoch_end'?")


def test_a_hook_that_resembles_nothing() -> None:
    class Plugin:
        @hookimpl
        def xyzzy(self) -> None:
            pass

    assert refused(Plugin()) == said_of(Plugin.xyzzy, "there is no hook 'xyzzy'; fit hooks lists them")


def test_a_misspelt_argument() -> None:
    class Plugin:
        @hookimpl
        def on_epoch_end(self, rows: Any) -> None:
            pass

    expected = "hook on_epoch_end has no argument 'rows' (it has: trainer, state, row); did you mean 'row'?"
    assert refused(Plugin()) == said_of(Plugin.on_epoch_end, expected)


def test_an_argument_with_a_default() -> None:
    class Plugin:
        @hookimpl
        def on_epoch_end(self, row: Any = None) -> None:
            pass

    expected = "argument 'row' must have no default value, or it would never be passed; remove it"
    assert refused(Plugin()) == said_of(Plugin.on_epoch_end, expected)


def test_open_argument_lists() -> None:
    class Plugin:
        @hookimpl
        def on_epoch_end(self, **kwargs: Any) -> None:
            pass

    expected = "a hook takes no *kwargs; name the arguments you use (of row, state, trainer)"
    assert refused(Plugin()) == said_of(Plugin.on_epoch_end, expected)


@pytest.mark.parametrize("name", ["on_epoch_end", "forward", "zero_grad"])
def test_a_forgotten_decorator(name: str) -> None:
    class Plugin:
        @hookimpl
        def on_fit_start(self) -> None:
            pass

    function = {
        "on_epoch_end": lambda self: None,
        "forward": lambda self, state: None,
        "zero_grad": lambda self, trainer: None,
    }[name]

    def method(self: Any) -> None:
        pass

    if name == "on_epoch_end":
        function = method
    function.__name__, function.__qualname__ = name, f"Plugin.{name}"
    setattr(Plugin, name, function)
    assert refused(Plugin()).endswith("is named like a hook but would never be called; put @hookimpl above it")


def test_an_override_that_drops_the_decorator() -> None:
    class Base:
        @hookimpl
        def on_epoch_end(self) -> None:
            pass

        @hookimpl
        def on_fit_start(self) -> None:
            pass

    class Child(Base):
        def on_epoch_end(self) -> None:
            pass

    assert "on_epoch_end" in refused(Child())
    assert "put @hookimpl above it" in refused(Child())


def test_wrappers() -> None:
    class NoYield:
        @hookimpl(wrapper=True)
        def forward(self) -> None:
            pass

    class NotMarked:
        @hookimpl
        def forward(self) -> Any:
            return (yield)

    class OldStyle:
        @hookimpl(hookwrapper=True)
        def forward(self) -> Any:
            yield

    class Closing:
        @hookimpl(wrapper=True)
        def on_fit_end(self) -> Any:
            return (yield)

    for plugin, function, message in [
        (NoYield(), NoYield.forward, "a wrapper must yield once; write: result = yield; return result"),
        (NotMarked(), NotMarked.forward, "it yields, so it must be marked @hookimpl(wrapper=True)"),
        (OldStyle(), OldStyle.forward, "hookwrapper=True is the old style; use wrapper=True and return (yield)"),
        (Closing(), Closing.on_fit_end, "on_fit_end takes no wrappers, so that every plugin hears it; use a plain hook"),
    ]:
        assert refused(plugin) == said_of(function, message, kebab_case(type(plugin).__name__))


def test_innocents_are_left_alone() -> None:
    class Module(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

        @hookimpl
        def on_fit_start(self) -> None:
            pass

        def zero_grad(self) -> None:  # type: ignore[override]
            pass

        def train_step(self, model: Any, x: Any, y: Any) -> None:
            pass

        @property
        def on_epoch_end(self) -> Any:
            raise RuntimeError("no property is evaluated")

    class WithLambda:
        def __init__(self) -> None:
            self.train_step = lambda model, x: None

        @hookimpl
        def on_fit_start(self) -> None:
            pass

        @staticmethod
        @hookimpl
        def on_fit_end() -> None:
            pass

    trainer = tiny_trainer(plugins=[Module(2, 2), WithLambda()])
    acting = {name: [a.member.name for a in plan.actors] for name, plan in trainer.hooks.plans.items()}
    assert acting["on_fit_start"] == ["module", "with-lambda"]
    assert acting["on_fit_end"] == ["with-lambda"]
    assert re.match("defaults", acting["train_step"][0])


def test_a_stage_that_can_never_return_a_result() -> None:
    class Watching:
        @hookimpl
        def forward(self, state: Any) -> None:
            print(state.inputs)

    class Empty:
        @hookimpl
        def should_step(self) -> None: ...

    class Swallowing:
        @hookimpl(wrapper=True)
        def compute_loss(self) -> Any:
            loss = yield
            print(loss)

    class Raising:
        @hookimpl
        def forward(self) -> None:
            raise NotImplementedError("on purpose")

    class Sometimes:
        @hookimpl
        def should_step(self, state: Any) -> Any:
            if state.batch > 3:
                return False
            return None

    class WrapsNotice:
        @hookimpl(wrapper=True)
        def on_batch_end(self) -> Any:
            yield

    message = "it never returns a result, and {} is a {}; return a result, or wrap the stage to act around it"
    assert refused(Watching()) == said_of(Watching.forward, message.format("forward", "stage"), "watching")
    assert refused(Empty()) == said_of(Empty.should_step, message.format("should_step", "decision"), "empty")
    wrapper = "it never returns a result, and compute_loss is a stage; write: return (yield)"
    assert refused(Swallowing()) == said_of(Swallowing.compute_loss, wrapper, "swallowing")
    for innocent in (Raising(), Sometimes(), WrapsNotice()):
        tiny_trainer(plugins=[innocent])


def test_hooks_of_a_library_that_a_plugin_builds_on_are_its_own_affair() -> None:
    class Library:
        __module__ = "some.library"

        def on_epoch_end(self) -> None:
            pass

    Library.on_epoch_end.__module__ = "some.library"

    class Plugin(Library):
        @hookimpl
        def on_fit_start(self) -> None:
            pass

    assert list(tiny_trainer(plugins=[Plugin()]).plugins) == ["plugin"]
