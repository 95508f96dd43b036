"""Hooks resolved into direct calls.

pluggy decides which implementations a hook has and in which order; this module turns each hook into one Python function
that makes exactly those calls. Its source is generated, as dataclasses do it: a hook nobody implements is an empty
function, and one with a single implementation costs one call more than the implementation itself.

The functions keep pluggy's order, wrappers, first-result rule and `specname`. They differ from pluggy where the design
asks for it: an exception gets a note that says whose it is, a stage without a result or with one of the wrong kind is an
error, wrappers of a notice get None, and closing hooks reach every plugin.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import torch

from fit_core.blame import blame
from fit_core.errors import FitError
from fit_core.hookspecs import SPECS

if TYPE_CHECKING:
    import pluggy

    from fit_core.cadence import Gate
    from fit_core.hookspecs import Kind
    from fit_core.plugins import Holder, Member
    from fit_core.state import State

DEFAULTS = "defaults"
"""The name of the plugin that is asked last."""

Call = Callable[..., Any]
Tracer = Callable[[str, str | None, Call], Call]
"""`tracer(hook, plugin, call) -> call`: called when a traced plan is built, for each implementation and, with None
for the plugin, for each hook as a whole. What it returns is called in place of `call`."""

RESULTS: dict[str, tuple[str, str]] = {
    "True": ("result_ is True", "True"),
    "bool": ("result_ is True or result_ is False", "True or False"),
    "pair": ("type(result_) is tuple and len(result_) == 2", "a tuple (inputs, targets)"),
    "iterator": ("hasattr(result_, '__next__')", "an iterator"),
    "list": ("type(result_) is list", "a list"),
    "module": ("isinstance(result_, Module_)", "an nn.Module"),
    "outputs": ("result_ is not None", "outputs"),
    "loss": ("isinstance(result_, Tensor_) and result_.numel() == 1", "a tensor with one element"),
}
"""What a stage must return: the condition in the generated source, and how an error names it."""


AFTER = {"on_step_start": "state.update.norm.forget()"}
"""What the plan of a hook does after each implementation that may change something, but for the very last one."""


@dataclass(frozen=True, eq=False)
class Actor:
    """One implementation of one hook, as the plan calls it."""

    hook: str
    member: Member
    function: Call
    arguments: tuple[str, ...]
    wrapper: bool
    gates: tuple[Gate, ...] = ()

    @property
    def place(self) -> str:
        """What an error calls it."""
        return f"{self.hook} of {self}"

    def __str__(self) -> str:
        if self.member.name == DEFAULTS:
            return "the core's default"
        return str(self.member)


@dataclass(frozen=True)
class HookPlan:
    """What happens when a hook is called: who acts, in the order of their calls."""

    name: str
    kind: Kind
    returns: str
    arguments: tuple[str, ...]
    actors: tuple[Actor, ...]


class Others:
    """The core's hooks by name, as those of `Hooks`, but None for each in which nobody but the core acts.

    The core asks here within a step, and does what nobody else does without a call: `if others.on_loss_end: ...`.
    """

    __slots__ = tuple(SPECS)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Call | None: ...


class Hooks:
    """Every hook as an attribute: `hooks.on_batch_end(trainer, state)`.

    Args:
        manager: the pluggy manager that holds hook specifications and plugins.
        tracer: builds a traced plan, for recording and profiling; see `Tracer`.
    """

    plans: Mapping[str, HookPlan] = MappingProxyType({})
    """What happens in each hook, by name, in the order of the loop."""

    others: Others = Others()
    """The same hooks, but None for those in which nobody but the core acts."""

    replaces_updates = False
    """Whether anybody acts in a stage that is about updates as a whole."""

    def __init__(self, manager: pluggy.PluginManager, tracer: Tracer | None = None) -> None:
        callers = {name: caller for name, caller in vars(manager.hook).items() if not name.startswith("_")}
        self.plans = {name: _read(name, callers[name]) for name in sorted(callers, key=_place_in_loop(callers))}
        self.build(tracer)

    def build(self, tracer: Tracer | None = None) -> None:
        """Turn the plans into functions; with a tracer, into traced ones, which are called even where only the core acts."""
        self.others = Others()
        for plan in self.plans.values():
            call = _compile(plan, tracer)
            setattr(self, plan.name, call)
            if plan.name in SPECS:
                setattr(self.others, plan.name, call if tracer or self.altered(plan.name) else None)
        self.replaces_updates = bool(self.others.train_step or self.others.run_update)

    def hears(self, name: str) -> bool:
        """Tell whether any plugin implements the hook."""
        return bool(self.plans[name].actors)

    def altered(self, name: str) -> bool:
        """Tell whether any plugin acts in a stage, beside the core's default."""
        return any(actor.member.name != DEFAULTS for actor in self.plans[name].actors)

    def refusal(self, name: str, result: Any) -> FitError:
        """Return the error for a result that a stage must not have."""
        return _wrong_result(self.plans[name], result)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Call: ...


def _read(name: str, caller: pluggy.HookCaller) -> HookPlan:
    assert caller.spec is not None, name
    spec: Any = caller.spec.function
    actors = tuple(_actor(name, spec, impl) for impl in reversed(caller.get_hookimpls()))
    return HookPlan(name, spec.fit_kind, spec.fit_returns, tuple(caller.spec.argnames), actors)


def _place_in_loop(callers: dict[str, pluggy.HookCaller]) -> Callable[[str], tuple[bool, str, int]]:
    """Sort the core's hooks by their place in `hookspecs.py`, and those of plugins after them by theirs."""

    def place(name: str) -> tuple[bool, str, int]:
        spec: Any = callers[name].spec
        code = spec.function.__code__
        return name not in SPECS, code.co_filename, code.co_firstlineno

    return place


def _actor(hook: str, spec: Any, impl: pluggy.HookImpl) -> Actor:
    member = cast("Holder", impl.plugin).member
    gates = member.gates(hook, impl.function, delayed=spec.fit_in_epoch)
    return Actor(hook, member, impl.function, tuple(impl.argnames), impl.wrapper, gates)


def _compile(plan: HookPlan, tracer: Tracer | None) -> Call:
    calls = [tracer(plan.name, actor.member.name, actor.function) if tracer else actor.function for actor in plan.actors]
    acting = list(zip(plan.actors, calls, strict=True))
    wrapping = [(actor, call) for actor, call in acting if actor.wrapper]
    if plan.kind == "closing":
        call = _closing(plan, acting)
    else:
        call = _innermost(plan, [pair for pair in acting if pair not in wrapping], checked=not wrapping)
        for actor, enter in reversed(wrapping):
            call = _around(plan, actor, enter, call, checked=actor is wrapping[0][0])
    return tracer(plan.name, None, call) if tracer else call


def _innermost(plan: HookPlan, acting: list[tuple[Actor, Call]], checked: bool) -> Call:
    """Call one implementation after the other; for a stage until one has a result."""
    lines: list[str] = []
    names: dict[str, Any] = {}
    for i, (actor, call) in enumerate(acting):
        due, opened, gates = _gates(actor, i)
        names |= {f"actor{i}_": actor, f"call{i}_": call, **gates}
        conditions = ["result_ is None"] * (i > 0 and plan.kind != "notice") + due
        calling = [*opened, f"result_ = call{i}_({', '.join(actor.arguments)})"]
        is_last = i + 1 == len(acting) == len(plan.actors)  # nor is a wrapper to go on after it
        if plan.name in AFTER and not actor.member.is_passive and not is_last:
            calling.append(AFTER[plan.name])
        lines += [f"actor_ = actor{i}_", *_under(conditions, calling)]
    if acting:
        lines = ["try:", *_indented(lines), "except BaseException as error_:", "    raise blame_(error_, actor_.place, state)"]
    return _function(plan, ["result_ = None", *lines, *_ending(plan, checked)], names)


def _around(plan: HookPlan, actor: Actor, enter: Call, inner: Call, checked: bool) -> Call:
    """Call the inner function between the two halves of a wrapper."""
    call_inner = f"inner_({', '.join(plan.arguments)})"
    due, opened, gates = _gates(actor, 0)
    after = [AFTER[plan.name]] if plan.name in AFTER and not actor.member.is_passive else []
    lines = [
        f"generator_ = start_(enter_, ({''.join(name + ', ' for name in actor.arguments)}), actor_, state)",
        *after,
        "try:",
        f"    result_ = {call_inner}",
        "except BaseException as error_:",
        "    result_ = finish_(generator_, generator_.throw, error_, actor_, state)",
        "else:",
        "    result_ = finish_(generator_, generator_.send, result_, actor_, state)",
        *after,
    ]
    if due:
        asking = [
            "try:",
            f"    due_ = {' and '.join(due)}",
            "except BaseException as error_:",
            "    raise blame_(error_, actor_.place, state)",
        ]
        lines = [*asking, "if not due_:", f"    result_ = {call_inner}", "else:", *_indented([*opened, *lines])]
    names = {"start_": _start, "finish_": _finish, "enter_": enter, "inner_": inner, "actor_": actor, **gates}
    return _function(plan, lines + _ending(plan, checked), names)


def _closing(plan: HookPlan, acting: list[tuple[Actor, Call]]) -> Call:
    """Call every implementation, whatever the others raise; return what was raised, in order."""
    lines = ["raised_ = []"]
    names: dict[str, Any] = {}
    for i, (actor, call) in enumerate(acting):
        due, opened, gates = _gates(actor, i)
        names |= {f"actor{i}_": actor, f"call{i}_": call, **gates}
        calling = _under(due, [*opened, f"call{i}_({', '.join(actor.arguments)})"])
        lines += [
            "try:",
            *_indented(calling),
            "except BaseException as error_:",
            f"    raised_.append(blame_(error_, actor{i}_.place, state))",
        ]
    return _function(plan, [*lines, "return raised_"], names)


def _gates(actor: Actor, i: int) -> tuple[list[str], list[str], dict[str, Gate]]:
    """Return the tests whether an implementation is due, what to do if it is, and the gates by name."""
    gates = {f"gate{i}_{j}_": gate for j, gate in enumerate(actor.gates)}
    due = [gate.condition(name) for name, gate in gates.items()]
    return due, [f"{name}.advance({gate.counter})" for name, gate in gates.items()], gates


def _under(conditions: list[str], lines: list[str]) -> list[str]:
    return [f"if {' and '.join(conditions)}:", *_indented(lines)] if conditions else lines


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def _ending(plan: HookPlan, checked: bool) -> list[str]:
    """Return the result; the outermost function of a stage refuses one that is missing or wrong."""
    if plan.kind == "notice":
        return ["return None"]
    if not checked:
        return ["return result_"]
    condition, _ = RESULTS[plan.returns]
    return [f"if {condition}:", "    return result_", "raise wrong_result_(plan_, result_)"]


def _function(plan: HookPlan, lines: list[str], names: dict[str, Any]) -> Call:
    """Compile the function of a hook. Every name but the hook's arguments ends with an underscore, so that none can collide."""
    source = "\n    ".join([f"def {plan.name}({', '.join(plan.arguments)}):", *lines]) + "\n"
    filename = f"<fit plan of {plan.name}>"
    namespace: dict[str, Any] = {"blame_": blame, "Tensor_": torch.Tensor, "Module_": torch.nn.Module, **names}
    namespace |= {"plan_": plan, "wrong_result_": _wrong_result, "now_": time.monotonic}
    exec(compile(source, filename, "exec"), namespace)
    function: Call = namespace[plan.name]
    return function


def _start(enter: Call, arguments: tuple[Any, ...], actor: Actor, state: State) -> Generator[None, Any, Any]:
    try:
        generator: Generator[None, Any, Any] = enter(*arguments)
        try:
            next(generator)
        except StopIteration:
            raise RuntimeError(f"the wrapper of {actor.hook} in {actor} did not yield") from None
    except BaseException as error:
        raise blame(error, actor.place, state)
    return generator


def _finish(generator: Generator[None, Any, Any], resume: Call, value: Any, actor: Actor, state: State) -> Any:
    try:
        resume(value)
    except StopIteration as stop:
        return stop.value
    except BaseException as error:
        raise blame(error, actor.place, state)
    generator.close()
    raise blame(RuntimeError(f"the wrapper of {actor.hook} in {actor} yielded twice"), actor.place, state)


def _wrong_result(plan: HookPlan, result: Any) -> FitError:
    asked = ", ".join(str(actor) for actor in plan.actors) or "nobody"
    _, wanted = RESULTS[plan.returns]
    if result is None:
        return FitError(f"no result from hook {plan.name}, which must return {wanted}; asked: {asked}")
    found = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, torch.Tensor) else repr(result)[:60]
    return FitError(f"hook {plan.name} must return {wanted}, but the result is {found} ({type(result).__name__}); asked: {asked}")
