"""Hook specifications that a plugin package brings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fit_core import FitError, Trainer, hookimpl
from fit_core.explain import explained
from fit_core.hookspecs import notice, stage
from fit_core.testing import Outcome, tiny_trainer


class Specs:
    @stage(returns="outputs")
    def make_noise(self, trainer, state, size):
        """Make the noise."""

    @notice
    def on_noise(self, trainer, state, noise):
        """Hear of the noise."""


class Noise:
    hookspecs = Specs

    def __init__(self) -> None:
        self.made: list[Any] = []

    @hookimpl
    def on_batch_start(self, trainer: Trainer, state: Any) -> None:
        noise = trainer.hooks.make_noise(trainer, state, 3)
        trainer.hooks.on_noise(trainer, state, noise)
        self.made.append(noise)

    @hookimpl(trylast=True)
    def make_noise(self, size: int) -> str:
        return "z" * size


def test_they_are_called_like_the_cores() -> None:
    heard: list[Any] = []

    class Louder:
        @hookimpl(wrapper=True)
        def make_noise(self) -> Any:
            return (yield).upper()

        @hookimpl
        def on_noise(self, noise: str) -> None:
            heard.append(noise)

    noise = Noise()
    trainer = tiny_trainer(plugins=[Louder(), noise])
    trainer.fit(epochs=1)
    assert noise.made == heard == ["ZZZ", "ZZZ"]
    hooks = [hook["hook"] for hook in explained(trainer.hooks)]
    assert hooks[-2:] == ["make_noise", "on_noise"]


def test_they_are_checked_like_the_cores() -> None:
    class Misspelt:
        @hookimpl
        def on_nois(self) -> None:
            pass

    class WrongArgument:
        @hookimpl
        def on_noise(self, nois: Any) -> None:
            pass

    with pytest.raises(FitError, match="there is no hook 'on_nois'; did you mean 'on_noise'"):
        tiny_trainer(plugins=[Noise(), Misspelt()])
    with pytest.raises(FitError, match=r"hook on_noise has no argument 'nois' \(it has: trainer, state, noise\); did you mean 'noise'"):
        tiny_trainer(plugins=[Noise(), WrongArgument()])


def test_a_specification_must_fit_in() -> None:
    class Lacking:
        @notice
        def on_nothing(self, trainer):
            """Lacks state."""

    class Doubling:
        @notice
        def on_epoch_end(self, trainer, state):
            """Is there already."""

    class Plugin:
        name = "plugin"

        @hookimpl
        def on_fit_start(self) -> None:
            pass

    for specs, message in [(Lacking, "must have the arguments trainer and state"), (Doubling, "is specified elsewhere already")]:
        plugin = Plugin()
        plugin.hookspecs = specs  # type: ignore[attr-defined]
        with pytest.raises(FitError, match=message):
            tiny_trainer(plugins=[plugin])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution whose plugin brings a hook."""
    info = tmp_path / "fit_choir-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fit-choir\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fit.plugins]\nchoir = fit_choir:Choir\n[fit.hookspecs]\nchoir = fit_choir_specs:Specs\n")
    (tmp_path / "fit_choir_specs.py").write_text(
        "from fit_core.hookspecs import notice\nclass Specs:\n    @notice\n    def on_song(self, trainer, state):\n        'Hear a song.'\n"
    )
    (tmp_path / "fit_choir.py").write_text(
        "from fit_core import hookimpl\nfrom fit_choir_specs import Specs\nclass Choir:\n    hookspecs = Specs\n"
        "    @hookimpl\n    def on_epoch_end(self, trainer, state):\n        trainer.hooks.on_song(trainer, state)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("fit_choir", "fit_choir_specs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_hook_whose_owner_is_not_active_names_the_owner(installed: Path) -> None:
    heard = []

    @hookimpl
    def on_song() -> None:
        heard.append("song")

    with pytest.raises(FitError, match="there is no hook 'on_song' without plugin 'choir', which brings it; add 'choir' to the plugins"):
        tiny_trainer(plugins=[on_song])
    tiny_trainer(plugins=[on_song, "choir"]).fit(epochs=2)
    assert heard == ["song", "song"]


def test_fit_hooks_lists_them(installed: Path, run_fit: Callable[..., Outcome]) -> None:
    assert "Of plugin 'choir': on_song" in run_fit("hooks").stdout
    assert run_fit("hooks", "on_song").stdout == "on_song(trainer, state)  (notice)\n\nHear a song.\n"
