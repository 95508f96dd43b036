"""The plan makes the calls pluggy would make: same order, same result, same exception."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pluggy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fit_core import FitError, hookspecs
from fit_core.hookspecs import hookimpl
from fit_core.plan import Hooks
from fit_core.plugins import Member, register
from fit_core.state import Progress, State

HOOKS = ("forward", "on_batch_end", "on_epoch_end")
ARGUMENTS = {"forward": ("trainer", "state"), "on_batch_end": ("trainer", "state"), "on_epoch_end": ("trainer", "state", "row")}


class Boom(Exception):
    pass


def new_state() -> State:
    return State(Progress("train"), nn.Identity(), torch.device("cpu"), {}, dict)


@st.composite
def implementations(draw: st.DrawFn) -> dict[str, Any]:
    hook = draw(st.sampled_from(HOOKS))
    return {
        "hook": hook,
        "arguments": draw(st.permutations(ARGUMENTS[hook]).flatmap(lambda p: st.integers(0, len(p)).map(lambda n: p[:n]))),
        "wrapper": draw(st.booleans()),
        "position": draw(st.sampled_from(["tryfirst", "trylast", None])),
        "renamed": draw(st.booleans()),
        "does": draw(st.sampled_from(["nothing", "result", "raise", "raise late", "swallow"])),
    }


def make_plugin(name: str, drawn: list[dict[str, Any]], heard: list[Any]) -> Any:
    """Build a plugin class from source, so that its functions have real signatures."""
    lines = ["class Plugin:"]
    for i, impl in enumerate(drawn):
        method = f"method_{i}" if impl["renamed"] else impl["hook"]
        options = {"wrapper": impl["wrapper"]} | ({impl["position"]: True} if impl["position"] else {})
        if impl["renamed"]:
            options["specname"] = impl["hook"]
        lines += [f"    @hookimpl(**{options!r})", f"    def {method}({', '.join(['self', *impl['arguments']])}):"]
        lines += [f"        heard.append(({name!r}, {impl['hook']!r}, {i}, [{', '.join(impl['arguments'])}]))"]
        body = {
            "nothing": ["return None"],
            "result": [f"return 'result of {name} {i}'"],
            "raise": [f"raise Boom('{name} {i}')"],
            "raise late": [f"raise Boom('{name} {i}')"],
            "swallow": ["return None"],
        }[impl["does"]]
        if impl["wrapper"]:
            body = {
                "nothing": ["return (yield)"],
                "result": ["yield", f"return 'wrapped by {name} {i}'"],
                "raise": [f"raise Boom('before {name} {i}')", "yield"],
                "raise late": ["yield", f"raise Boom('after {name} {i}')"],
                "swallow": ["try:", "    return (yield)", "except Boom as error:", "    return 'instead of ' + str(error)"],
            }[impl["does"]]
            body += [f"heard.append(({name!r}, 'left', {i}))"] if impl["does"] == "nothing" else []
        lines += ["        " + line for line in body]
    namespace: dict[str, Any] = {"hookimpl": hookimpl, "heard": heard, "Boom": Boom}
    exec("\n".join(lines), namespace)
    return namespace["Plugin"]()


def ask(heard: list[Any], call: Callable[[], Any]) -> tuple[Any, Any, list[Any]]:
    """Return the result, the exception, and who acted."""
    heard.clear()
    try:
        return call(), None, list(heard)
    except (Boom, FitError) as error:
        return None, (type(error), str(error)), list(heard)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(implementations(), min_size=1, max_size=3, unique_by=lambda i: i["hook"]), max_size=5))
def test_the_plan_equals_pluggys_own_call(drawn: list[list[dict[str, Any]]]) -> None:
    heard: list[Any] = []
    members = [Member(f"p{i}", make_plugin(f"p{i}", implementations, heard), "test") for i, implementations in enumerate(drawn)]
    manager = manager_of(members)
    hooks = Hooks(manager)
    for hook in HOOKS:
        values = {"trainer": "T", "state": new_state(), "row": {"epoch": 1}}
        given = {name: values[name] for name in ARGUMENTS[hook]}
        stage = hook == "forward"

        result, error, order = ask(heard, partial(getattr(manager.hook, hook), **given))
        ours, our_error, our_order = ask(heard, partial(getattr(hooks, hook), *given.values()))
        assert our_order == order
        if stage and result is None and error is None:
            assert our_error is not None
            assert our_error[0] is FitError
            assert "no result from hook forward" in our_error[1]
        else:
            assert our_error == error
            assert ours == (result if stage else None)


def manager_of(members: list[Member]) -> pluggy.PluginManager:
    """Register plugins as `register` does, without the defaults."""
    manager = pluggy.PluginManager("fit")
    manager.add_hookspecs(hookspecs)
    for last, listed in ((False, members[::-1]), (True, members)):
        for member in listed:
            manager.register(member.holder(last), name=f"{member.name} {last}")
    return manager


def hooks_of(*plugins: Any) -> Hooks:
    return Hooks(manager_of([Member(type(plugin).__name__, plugin, "test 1.0") for plugin in plugins]))


def test_a_hook_nobody_implements_does_nothing() -> None:
    hooks = hooks_of()
    assert hooks.on_batch_end(None, new_state()) is None
    assert not hooks.hears("on_batch_end")


def test_an_exception_names_plugin_hook_and_moment_once() -> None:
    class Outer:
        @hookimpl(wrapper=True)
        def on_batch_end(self) -> Any:
            return (yield)

    class Bad:
        @hookimpl
        def on_batch_end(self) -> None:
            raise ValueError("spoilt")

    state = State(Progress("train", epoch=2, batch=7), nn.Identity(), torch.device("cpu"), {}, dict)
    with pytest.raises(ValueError, match="spoilt") as caught:
        hooks_of(Outer(), Bad()).on_batch_end(None, state)
    assert caught.value.__notes__ == ["raised in hook on_batch_end of plugin 'Bad' (test 1.0), in epoch 2, batch 7 (train)"]


def test_a_stop_iteration_never_looks_like_the_end_of_the_data() -> None:
    class Bad:
        @hookimpl
        def on_batch_end(self) -> None:
            next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration was raised") as caught:
        hooks_of(Bad()).on_batch_end(None, new_state())
    assert isinstance(caught.value.__cause__, StopIteration)


def test_wrappers_of_a_notice_get_none() -> None:
    got = []

    class Wrapper:
        @hookimpl(wrapper=True)
        def on_batch_end(self) -> Any:
            got.append((yield))
            return "ignored"

    class Talker:
        @hookimpl
        def on_batch_end(self) -> str:
            return "ignored too"

    assert hooks_of(Wrapper(), Talker()).on_batch_end(None, new_state()) is None
    assert got == [None]


@pytest.mark.parametrize("late", [False, True])
def test_a_wrapper_yields_exactly_once(late: bool) -> None:
    class Odd:
        @hookimpl(wrapper=True)
        def on_batch_end(self) -> Any:
            if late:
                yield
                yield
            return

    message = "yielded twice" if late else "did not yield"
    with pytest.raises(RuntimeError, match=f"the wrapper of on_batch_end in plugin 'Odd' .* {message}"):
        hooks_of(Odd()).on_batch_end(None, new_state())


def test_a_wrong_result_is_refused_after_the_wrappers() -> None:
    class Forgetful:
        @hookimpl(wrapper=True)
        def compute_loss(self) -> Any:
            yield

    class Number:
        @hookimpl
        def compute_loss(self) -> float:
            return 0.5

    message = r"hook compute_loss must return a tensor with one element, but the result is 0.5 \(float\); asked: plugin 'Number'"
    with pytest.raises(FitError, match=message):
        hooks_of(Number()).compute_loss(None, new_state())
    with pytest.raises(FitError, match="no result from hook compute_loss, .*; asked: plugin 'Forgetful' .*, plugin 'Number'"):
        hooks_of(Forgetful(), Number()).compute_loss(None, new_state())


def test_a_decision_is_true_or_false() -> None:
    class Number:
        @hookimpl
        def should_step(self) -> int:
            return 1

    with pytest.raises(FitError, match="hook should_step must return True or False, but the result is 1"):
        hooks_of(Number()).should_step(None, new_state())


def test_closing_hooks_reach_every_plugin() -> None:
    heard = []

    def plugin(name: str, error: BaseException | None) -> Any:
        class Closing:
            @hookimpl
            def on_fit_end(self) -> None:
                heard.append(name)
                if error is not None:
                    raise error

        Closing.__name__ = name
        return Closing()

    raised = hooks_of(plugin("a", ValueError("a")), plugin("b", KeyboardInterrupt()), plugin("c", None)).on_fit_end(None, new_state())
    assert heard == ["a", "b", "c"]
    assert [type(error) for error in raised] == [ValueError, KeyboardInterrupt]


@pytest.mark.parity("S5")
def test_a_misspelt_attribute_of_state_is_suggested() -> None:
    class Bad:
        @hookimpl
        def on_batch_end(self, state: State) -> None:
            state.los = 1  # type: ignore[attr-defined]

    with pytest.raises(AttributeError) as caught:
        hooks_of(Bad()).on_batch_end(None, new_state())
    assert caught.value.__notes__[-1] == "state has no attribute 'los'; did you mean 'loss'?"


def test_defaults_are_asked_last() -> None:
    class Late:
        @hookimpl(trylast=True)
        def forward(self) -> str:
            return "mine"

    hooks = Hooks(register([Member("Late", Late(), "test")]))
    assert [actor.member.name for actor in hooks.plans["forward"].actors] == ["Late", "defaults"]
    assert hooks.forward(None, new_state()) == "mine"


def test_within_each_group_the_plugin_listed_first_is_called_first() -> None:
    heard: list[str] = []

    def plugin(name: str) -> Member:
        class Plugin:
            @hookimpl(specname="on_batch_end", trylast=True)
            def last(self) -> None:
                heard.append(f"{name} last")

            @hookimpl(specname="on_batch_end", tryfirst=True)
            def first(self) -> None:
                heard.append(f"{name} first")

            @hookimpl(specname="on_batch_end")
            def normal(self) -> None:
                heard.append(f"{name} normal")

            @hookimpl(specname="on_batch_end", wrapper=True, trylast=True)
            def inner(self) -> Any:
                heard.append(f"{name} inner")
                return (yield)

        return Member(name, Plugin(), "test")

    Hooks(register([plugin("a"), plugin("b")])).on_batch_end(None, new_state())
    assert heard == [f"{name} {group}" for group in ("inner", "first", "normal", "last") for name in "ab"]
