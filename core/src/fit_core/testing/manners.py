"""Checks of what a plugin is to others: what it prints beside them, and the stages that it takes from them."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from fit_core.explain import how
from fit_core.ordering import names_in
from fit_core.testing.subject import CheckFailed, Subject

REPLACED: dict[str, set[str]] = {
    "backward": {"grad-scaler"},
    "compute_loss": {"adversarial"},
    "export_model": {"ema", "swa"},
    "forward": {"adversarial"},
}
"""Which plugins of this repository replace a stage."""


def prints(subject: Subject) -> None:
    """It prints nothing if the trainer is quiet, and what prints in every epoch says that it replaces `console`."""
    output = StringIO()
    with redirect_stdout(output), redirect_stderr(output), subject.trainer(quiet=True) as trainer:
        trainer.fit(epochs=1)
        trainer.evaluate()
    if output.getvalue():
        raise CheckFailed(
            f"it prints although the trainer is quiet: ask trainer.quiet, or send numbers with trainer.log ({_begin(output)})"
        )
    with subject.trainer(quiet=False) as trainer:
        beside = "console" in trainer.plugins and "console" not in {member.name for member in subject.members(trainer)}
    hooks = [hook for hook, epochs in subject.seen.printed.items() if epochs >= {1, 2}]
    if beside and hooks:
        raise CheckFailed(
            f"it prints in every epoch ({', '.join(hooks)}), and so does 'console': say replaces = ('console',) if it is a display, "
            "else send numbers with trainer.log"
        )


def _begin(output: StringIO) -> str:
    return repr(output.getvalue().splitlines()[0][:40])


def conflicts(subject: Subject) -> None:
    """What replaces a stage that another plugin replaces says which of the two it is to be: `replaces`, `runs_before` or `runs_after`."""
    with subject.trainer() as trainer:
        own = {member.name: member for member in subject.members(trainer)}
        replaced = [
            (plan.name, own[a.member.name])
            for plan in trainer.hooks.plans.values()
            for a in plan.actors
            if a.member.name in own and how(plan, a) == "replaces"
        ]
    for stage, member in replaced:
        others = REPLACED.get(stage, set())
        said = set().union(*(names_in(member, attribute) for attribute in ("replaces", "runs_before", "runs_after")))
        if member.name not in others and others - said:
            names = ", ".join(map(repr, sorted(others - said)))
            raise CheckFailed(
                f"it replaces the stage {stage}, as {names} does, and only the first with a result acts: "
                f"say which: replaces, runs_before or runs_after = ({names},)"
            )
