"""`fit explain` says what runs: compared with the trace of a run, for random sets of plugins."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fit_core import Delayed, every, hookimpl, once, only_if
from fit_core.explain import as_text, explained
from fit_core.hookspecs import SPECS
from fit_core.testing import record_hooks, tiny_trainer

IN_A_RUN = [name for name in SPECS if name not in ("on_exception", "export_model", "on_show", "on_log", "iter_batches")]
drawn = st.lists(
    st.tuples(
        st.sampled_from(IN_A_RUN),
        st.booleans(),
        st.sampled_from(["", "tryfirst=True", "trylast=True"]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda implementation: implementation[0],
)


def make_plugin(name: str, implementations: list[tuple[str, bool, str]], before: tuple[str, ...]) -> Any:
    """Build a plugin that wraps stages and hears (or wraps) notices."""
    lines = ["class Plugin:"]
    for hook, wrapper, position in implementations:
        kind = SPECS[hook].fit_kind  # type: ignore[attr-defined]
        wraps = kind in ("stage", "decision") or (wrapper and kind == "notice")
        options = ", ".join(filter(None, [f"wrapper={wraps}", position]))
        lines += [f"    @hookimpl({options})", f"    def {hook}(self):", "        return (yield)" if wraps else "        pass"]
    space: dict[str, Any] = {"hookimpl": hookimpl, "__name__": __name__}
    exec("\n".join(lines), space)
    plugin = space["Plugin"]()
    plugin.name, plugin.runs_before = name, before
    return plugin


@settings(max_examples=40, deadline=None)
@given(st.lists(drawn, max_size=4), st.integers(0, 3), st.integers(0, 3))
def test_it_is_the_order_of_a_run(sets: list[Any], first: int, second: int) -> None:
    before = {first: (f"p{second}",)} if first < second else {}
    plugins = [make_plugin(f"p{i}", implementations, before.get(i, ())) for i, implementations in enumerate(sets)]
    trainer = tiny_trainer(plugins=list(reversed(plugins)))
    said = {hook["hook"]: [actor["plugin"] for actor in hook["actors"]] for hook in explained(trainer.hooks)}
    with record_hooks(trainer) as calls, trainer:
        trainer.fit(epochs=1)
    acted: dict[str, list[str]] = {}
    for hook, plugin in calls.acting:
        acted.setdefault(hook, [])
        if plugin not in acted[hook]:
            acted[hook].append(plugin)
    for hook, order in acted.items():
        assert order == [plugin for plugin in said[hook] if plugin in order], hook
    heard = set(calls.hooks)
    assert all(acted.get(hook, []) == said[hook] for hook in heard)


class Replacing:
    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def should_step(self) -> bool:
        return True

    @every("100 steps", after=50)
    @hookimpl
    def on_step_end(self) -> None:
        pass

    @once
    @only_if(lambda state: state.epoch > 1)
    @hookimpl
    def on_batch_end(self) -> None:
        pass


def test_conflicts_and_cadences_are_shown() -> None:
    trainer = tiny_trainer(plugins=[Replacing("a"), Delayed(Replacing("b"), "3 epochs")])
    hooks = {hook["hook"]: hook for hook in explained(trainer.hooks)}
    assert hooks["should_step"]["conflict"] == ["a", "b"]
    assert hooks["forward"]["conflict"] == []
    assert [actor["when"] for actor in hooks["on_step_end"]["actors"]] == [
        ["every 100 steps after 50"],
        ["delayed by 3 epochs", "every 100 steps after 50"],
    ]
    assert hooks["on_batch_end"]["actors"][0]["when"] == ["only if <lambda>", "once"]
    text = as_text(explained(trainer.hooks))
    assert "conflict: a and b replace one stage; the first with a result wins" in text
    assert "[every 100 steps after 50]" in text
    line = Replacing.should_step.__code__.co_firstlineno
    assert hooks["should_step"]["actors"][0]["source"].endswith(f"test_explain.py:{line}")
