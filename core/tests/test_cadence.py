"""How often a hook acts."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from fit_core import Delayed, Every, FitError, State, Trainer, every, hookimpl, once, once_per_epoch, only_if
from fit_core.options import convert
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer


def heard_in(decorate: Callable[[Any], Any], hook: str = "on_batch_end", epochs: int = 6, batches: int = 2) -> list[int]:
    """Return the batch counts (for hooks of epochs: the epochs) in which a decorated hook acts."""
    heard: list[int] = []

    class Plugin:
        @decorate
        @hookimpl(specname=hook)
        def listen(self, state: State) -> None:
            heard.append(state.batch_count if "batch" in hook or "step" in hook else state.epoch)

    tiny_trainer(plugins=[Plugin()], train_data=tiny_batches(batches)).fit(epochs=epochs)
    return heard


@pytest.mark.parametrize(
    ("decorate", "hook", "expected"),
    [
        (every("3 steps"), "on_batch_end", [3, 6, 9, 12]),
        (every("5 batches"), "on_batch_start", [5, 10]),
        (every("2 epochs"), "on_epoch_end", [2, 4, 6]),
        (every("2 epochs"), "on_epoch_start", [2, 4, 6]),
        (every("2 epochs", after=1), "on_epoch_end", [3, 5]),
        (every("1 epoch", before=3), "on_epoch_end", [1, 2]),
        (every("4 steps", after=2, before=9), "on_step_end", [6]),
        (every(Every("4 steps")), "on_step_end", [4, 8, 12]),
        (every("1 hour"), "on_batch_end", []),
        (once, "on_batch_end", [1]),
        (once_per_epoch, "on_batch_end", [1, 3, 5, 7, 9, 11]),
        (only_if(lambda state: state.batch == 2), "on_batch_end", [2, 4, 6, 8, 10, 12]),
        (only_if(lambda row, trainer: row["epoch"] > 4), "on_epoch_end", [5, 6]),
        (lambda f: once(only_if(lambda state: state.epoch == 3)(f)), "on_batch_end", [5]),
        (lambda f: every("2 epochs")(once_per_epoch(f)), "on_batch_start", [3, 7, 11]),
        (lambda f: only_if(lambda state: state.batch == 1)(every("3 steps")(f)), "on_batch_end", [3, 7, 9]),
    ],
)
@pytest.mark.parity("C2", "C4", "C5", "C6")
def test_when_a_hook_acts(decorate: Callable[[Any], Any], hook: str, expected: list[int]) -> None:
    assert heard_in(decorate, hook) == expected


def test_short_times_are_due() -> None:
    assert heard_in(every("0.000001 seconds"), epochs=1) == [1, 2]


@pytest.mark.parity("C1", "C2", "C6")
def test_decorators_go_above_or_below_hookimpl_on_methods_and_functions() -> None:
    heard: list[str] = []

    class Plugin:
        @once
        @hookimpl(specname="on_batch_end")
        def above(self) -> None:
            heard.append("above")

        @hookimpl(specname="on_batch_end")
        @once
        def below(self) -> None:
            heard.append("below")

    @every("2 epochs")
    @hookimpl
    def on_epoch_end() -> None:
        heard.append("function")

    tiny_trainer(plugins=[Plugin(), on_epoch_end]).fit(epochs=2)
    assert sorted(heard) == ["above", "below", "function"]


@pytest.mark.parity("C4", "B17")
def test_counts_belong_to_the_instance_and_the_method() -> None:
    class Plugin:
        def __init__(self, name: str) -> None:
            self.name = name
            self.heard: list[str] = []

        @once
        @hookimpl(specname="on_batch_end")
        def first(self) -> None:
            self.heard.append("first")

        @once
        @hookimpl(specname="on_batch_end")
        def second(self) -> None:
            self.heard.append("second")

    plugins = [Plugin("a"), Plugin("b")]
    trainer = tiny_trainer(plugins=plugins)
    trainer.fit(epochs=1)
    with record_hooks(trainer):
        trainer.fit(epochs=1)
    assert [sorted(plugin.heard) for plugin in plugins] == [["first", "second"]] * 2, "a plan built anew counts on"


def test_stages_and_wrappers_act_only_when_due() -> None:
    class Plugin:
        def __init__(self) -> None:
            self.wrapped = 0

        @only_if(lambda state: state.batch_count == 2)
        @hookimpl
        def should_step(self) -> bool:
            return False

        @every("2 batches")
        @hookimpl(wrapper=True)
        def forward(self) -> Any:
            self.wrapped += 1
            return (yield)

    plugin = Plugin()
    trainer = tiny_trainer(plugins=[plugin], train_data=tiny_batches(4), val_data=None)
    trainer.fit(epochs=1)
    assert plugin.wrapped == 2
    assert trainer._progress.step == 3


def test_closing_hooks_can_be_conditional() -> None:
    heard: list[int] = []

    @only_if(lambda state: state.stop_reason is not None)
    @hookimpl
    def on_fit_end(state: State) -> None:
        heard.append(state.epoch)

    trainer = tiny_trainer(plugins=[on_fit_end, hookimpl(_stop_in_epoch_3)])
    trainer.fit(epochs=2)
    trainer.fit(epochs=2)
    assert heard == [3]


def _stop_in_epoch_3(trainer: Trainer, state: State) -> None:
    if state.epoch == 3:
        trainer.stop("enough")


_stop_in_epoch_3.__name__ = "on_epoch_end"


class Listener:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    @hookimpl
    def on_fit_start(self) -> None:
        self.heard.append("start")

    @hookimpl
    def on_epoch_end(self, state: State) -> None:
        self.heard.append(state.epoch)

    @hookimpl
    def on_fit_end(self) -> None:
        self.heard.append("end")


@pytest.mark.parametrize(("interval", "epochs"), [("3 epochs", [4, 5]), ("4 steps", [2, 3, 4, 5]), ("1 hour", [])])
def test_delayed(interval: str, epochs: list[int]) -> None:
    listener = Listener()
    trainer = tiny_trainer(plugins=[Delayed(listener, interval)])
    assert list(trainer.plugins) == ["listener"]
    trainer.fit(epochs=5)
    assert listener.heard == ["start", *epochs, "end"]


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ("0 steps", "cannot read the interval '0 steps': it must be a whole number above 0"),
        ("0 minutes", "cannot read the interval '0 minutes': it must be above 0"),
        ("1.5 epochs", "cannot read the interval '1.5 epochs': it must be a whole number above 0"),
        ("3 eopchs", "cannot read the interval '3 eopchs': there is no unit 'eopchs'; did you mean 'epochs'?"),
        ("often", "cannot read the interval 'often'; write a number and a unit, such as '100 steps', '1 epoch' or '30 minutes'"),
    ],
)
def test_wrong_intervals_are_refused_at_registration(interval: str, message: str) -> None:
    class Plugin:
        @every(interval)
        @hookimpl
        def on_epoch_end(self) -> None:
            pass

    line = Plugin.on_epoch_end.__code__.co_firstlineno
    with pytest.raises(FitError) as caught:
        tiny_trainer(plugins=[Plugin()])
    assert str(caught.value) == f"plugin 'plugin' ({__file__}): on_epoch_end at {__file__}:{line}: {message}"
    with pytest.raises(FitError):
        Every(interval)


def test_counts_can_be_saved_and_taken_up() -> None:
    """A run in two trainers acts when one run in a single trainer does."""

    def decorated(heard: list[str]) -> Any:
        class Plugin:
            name = "plugin"

            @every("3 batches")
            @hookimpl
            def on_batch_end(self, state: State) -> None:
                heard.append("every 3")

            @once
            @hookimpl
            def on_step_end(self) -> None:
                heard.append("once")

            @every("1 hour")
            @hookimpl
            def on_epoch_end(self) -> None:
                heard.append("hour")

        return Plugin()

    first: list[str] = []
    second: list[str] = []
    one = tiny_trainer(plugins=[decorated(first)])
    one.fit(epochs=2)
    saved = one.members[0].state_dict()
    assert saved["cadences"]["on_batch_end:on_batch_end:0"] == {"next": 6}
    assert 3590 < saved["cadences"]["on_epoch_end:on_epoch_end:0"]["next"] < 3600
    other = tiny_trainer(plugins=[decorated(second)])
    other.members[0].load_state_dict(saved)
    assert other.members[0].state_dict()["cadences"]["on_step_end:on_step_end:0"] == {"next": float("inf")}
    other.fit(epochs=3)
    assert (first, second) == (["once", "every 3"], ["every 3"])


@pytest.mark.parity("C7")
def test_a_predicate_names_arguments_of_its_hook() -> None:
    @only_if(lambda row: True)
    @hookimpl
    def on_batch_end() -> None:
        pass

    with pytest.raises(FitError, match=r"the predicate of only_if asks for 'row', which the hook has not \(it has: trainer, state\)"):
        tiny_trainer(plugins=[on_batch_end])


@pytest.mark.parametrize("text", ["100 steps", "1 epoch", "500 batches", "30 minutes", "1 batch", "2.5 hours"])
def test_intervals_are_written_as_they_are_read(text: str) -> None:
    assert str(Every(text)) == text
    assert Every(text) == Every(Every(text))
    assert convert(text, Every, "option") == Every(text)
    assert convert("none", Every | None, "option") is None


def test_a_hook_that_is_not_due_is_not_called() -> None:
    class Plugin:
        @every("1000 steps")
        @hookimpl
        def on_batch_end(self) -> None:
            pass

    def calls(plugins: list[Any]) -> int:
        count = 0

        def profile(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal count
            count += event == "call"

        class Watch:
            @hookimpl
            def on_safe_point(self, state: State) -> None:
                sys.setprofile(profile if state.step == 2 else None)

        gc.disable()  # what is collected in a step is chance
        try:
            tiny_trainer(plugins=[Watch(), *plugins], train_data=tiny_batches(4)).fit(epochs=1)
        finally:
            gc.enable()
        return count

    # One call for the plan of the hook, which nobody heard before, and one for the counter, a property of the state.
    assert calls([Plugin()]) == calls([]) + 2


@pytest.mark.parametrize("text", ["2000000 steps", "0.000001 seconds", "1 epoch", "2 batches", "1.5 hours"])
def test_an_interval_reads_what_it_shows(text: str) -> None:
    assert str(Every(text)) == text
    assert Every(Every(text)) == Every(text)
