"""From what a user writes to plugins in order. Real distributions are made in a folder; nothing is patched."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from fit_core import FitError, Trainer, entrypoints, hookimpl
from fit_core.naming import kebab_case
from fit_core.testing import record_hooks, tiny_trainer

ZOO = """
from typing import Literal
from fit_core import hookimpl

class Lion:
    "Roars."
    def __init__(self, volume: int = 3, mood: Literal["calm", "wild"] = "calm", names: list[str] | None = None):
        self.volume, self.mood, self.names = volume, mood, names

    @hookimpl
    def on_epoch_end(self, row):
        pass

class Zebra:
    @hookimpl
    def on_epoch_end(self):
        pass

def zoo(volume: int = 5):
    return [f"lion:volume={volume}", ("zebra", {})]
"""

MakeDistribution = Callable[..., None]


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeDistribution:
    """Put a distribution with entry points on the path, as pip would."""

    def make(name: str, source: str, points: str, version: str = "1.2") -> None:
        folder = tmp_path / name
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[fit.plugins]\n{points}\n")
        (folder / f"{name.replace('-', '_')}.py").write_text(source)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, name.replace("-", "_"), raising=False)

    return make


@pytest.fixture
def zoo(distribution: MakeDistribution) -> None:
    distribution("fit-zoo", ZOO, "zoo = fit_zoo:zoo\nlion = fit_zoo:Lion\nzebra = fit_zoo:Zebra")


class Quiet:
    @hookimpl
    def on_fit_start(self) -> None:
        pass


def names(*plugins: Any) -> list[str]:
    return list(tiny_trainer(plugins=plugins).plugins)


def test_names(zoo: None) -> None:
    class LoudOne(Quiet):
        name = "very-loud"

    @hookimpl
    def on_epoch_end() -> None:
        pass

    module = types.ModuleType("my_module")
    exec("from fit_core import hookimpl\n@hookimpl\ndef on_fit_start(): pass", module.__dict__)
    from fit_zoo import Lion  # type: ignore[import-not-found]

    given = [Quiet(), LoudOne(), on_epoch_end, module, Lion(), ("second", Lion()), "zebra", "third=lion:volume=9", ("fourth", "lion")]
    assert names(*given) == ["quiet", "very-loud", "on-epoch-end", "my_module", "lion", "second", "zebra", "third", "fourth"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("EarlyStopping", "early-stopping"), ("LRFinder", "lr-finder"), ("CSV", "csv"), ("my_plugin", "my-plugin"), ("EMA2Plus", "ema2-plus")],
)
def test_kebab_case(name: str, expected: str) -> None:
    assert kebab_case(name) == expected


BUNDLES = """
from fit_core import hookimpl

class Lion:
    def __init__(self, volume: int = 3): self.volume = volume
    @hookimpl
    def on_epoch_end(self): pass

class Zebra(Lion): pass

def zoo(): return ["lion", "zebra"]
def both(): return ["zoo", "third=lion:volume=1"]
def louder(): return ["zoo", "lion:volume=9"]
def endless(): return ["endless"]
"""


@pytest.fixture
def bundles(distribution: MakeDistribution) -> None:
    points = [
        "lion = fit_bundles:Lion",
        "zebra = fit_bundles:Zebra",
        *(f"{name} = fit_bundles:{name}" for name in ("zoo", "both", "louder", "endless")),
    ]
    distribution("fit-bundles", BUNDLES, "\n".join(points))


@pytest.mark.parity("T7")
def test_bundles_in_bundles(bundles: None) -> None:
    assert names("both") == ["lion", "zebra", "third"]
    assert names("both", "no:zoo") == ["third"]
    assert names("both", "no:both", Quiet()) == ["quiet"]
    assert names("mine=both", "no:mine", Quiet()) == ["quiet"]
    assert tiny_trainer(plugins=["louder"]).plugins["lion"].volume == 9
    from fit_bundles import Lion  # type: ignore[import-not-found]

    own = Lion(volume=77)
    assert tiny_trainer(plugins=["zoo", own]).plugins["lion"] is own
    with pytest.raises(FitError, match="the bundle 'endless' contains itself: endless in endless"):
        tiny_trainer(plugins=["endless"])


def test_a_bundle_stands_for_its_members_in_an_order(bundles: None) -> None:
    assert names(Ordered("last", after=("zoo",)), "both") == ["lion", "zebra", "last", "third"]


def test_the_command_line_has_the_last_word(bundles: None) -> None:
    def after(script: list[Any], *later: str) -> Any:
        trainer = tiny_trainer(plugins=script)
        trainer.use(later)
        return trainer.plugins

    assert list(after(["zoo", "no:zebra"], "zebra")) == ["lion", "zebra"]
    assert after(["louder"], "lion:volume=4")["lion"].volume == 4
    assert type(after(["x=zebra"], "x=lion")["x"]).__name__ == "Lion"
    assert list(after(["zoo"], "no:lion")) == ["zebra"]


def test_what_the_script_names_itself_stays_when_the_command_line_adds_a_bundle(bundles: None) -> None:
    from fit_bundles import Lion

    own = Lion(volume=77)
    for script, volume in ([own], 77), (["lion:volume=5"], 5):
        trainer = tiny_trainer(plugins=script)
        trainer.use(["louder"])
        assert list(trainer.plugins) == ["lion", "zebra"]
        assert trainer.plugins["lion"].volume == volume


def test_options_are_converted_by_type_hints(zoo: None) -> None:
    lion = tiny_trainer(plugins=["lion:volume=11,mood=wild,names=[a,b]"]).plugins["lion"]
    assert (lion.volume, lion.mood, lion.names) == (11, "wild", ["a", "b"])
    assert tiny_trainer(plugins=[("lion", {"volume": 2})]).plugins["lion"].volume == 2


def test_bundles_expand_and_explicit_members_replace_theirs(zoo: None) -> None:
    assert names("zoo") == ["lion", "zebra"]
    assert tiny_trainer(plugins=["zoo:volume=8"]).plugins["lion"].volume == 8
    assert tiny_trainer(plugins=["zoo", "lion:volume=1"]).plugins["lion"].volume == 1
    assert names("zoo", "no:lion") == ["zebra"]
    assert names("zoo", "no:zoo", Quiet()) == ["quiet"]


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("lio", r"no plugin named 'lio' \(installed: .*lion, .*\); did you mean 'lion'\?"),
        ("heron", r"no plugin named 'heron'; try: pip install fit-heron"),
        ("lion:volum=3", r"plugin 'lion' has no option 'volum' \(options: mood, names, volume\); did you mean 'volume'\?"),
        ("lion:volume=loud", r"option 'volume' of plugin 'lion' must be int, not 'loud'"),
        ("lion:mood=sad", r"option 'mood' of plugin 'lion' must be calm or wild, not 'sad'"),
        ("lion:volume", r"cannot read the option 'volume' in 'lion:volume'; write key=value"),
        ("=lion", r"cannot read the plugin '=lion'"),
        (Quiet, r"Quiet is a class, and a plugin is an instance; write Quiet\(\)"),
        ("no:tiger", r"cannot remove plugin 'tiger': it is not active"),
        (object(), r"has no hook: put @hookimpl on at least one method"),
    ],
)
def test_mistakes_get_a_sentence(zoo: None, plugin: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(entrypoints.KNOWN_PACKAGES, "heron", "fit-heron")
    with pytest.raises(FitError, match=message):
        tiny_trainer(plugins=[plugin])


def test_two_of_one_name_must_be_renamed(zoo: None) -> None:
    with pytest.raises(FitError, match=r"two plugins are called 'lion' \(fit-zoo 1.2; fit-zoo 1.2\); rename one"):
        tiny_trainer(plugins=["lion", "lion:volume=4"])
    assert names("lion", ("lion-2", "lion")) == ["lion", "lion-2"]


def test_two_distributions_with_one_name(zoo: None, distribution: MakeDistribution) -> None:
    distribution("fit-circus", ZOO, "lion = fit_circus:Lion")
    assert names("zebra") == ["zebra"], "who does not ask for the name is not hurt"
    with pytest.raises(FitError, match=r"two distributions offer 'lion' in fit.plugins: fit-circus 1.2 and fit-zoo 1.2"):
        tiny_trainer(plugins=["lion"])


def test_only_what_is_asked_for_is_imported(zoo: None, distribution: MakeDistribution) -> None:
    distribution("fit-broken", "import no_such_module", "broken = fit_broken:Broken")
    assert names("zebra") == ["zebra"]
    assert "fit_broken" not in sys.modules
    with pytest.raises(
        FitError, match=r"'broken' of fit-broken 1.2 cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
    ):
        tiny_trainer(plugins=["broken"])


def test_equal_plugins_are_told_apart_by_identity() -> None:
    @dataclasses.dataclass
    class Equal:
        name: str = "equal"

        @hookimpl
        def on_fit_start(self) -> None:
            pass

    assert names(Equal(), ("other", Equal())) == ["equal", "other"]


def test_a_module_of_torch_can_be_a_plugin() -> None:
    class Penalty(nn.Linear):
        @hookimpl
        def on_loss_end(self) -> None:
            pass

    assert names(Penalty(2, 2)) == ["penalty"]


class Ordered:
    def __init__(self, name: str, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> None:
        self.name, self.runs_before, self.runs_after = name, before, after

    @hookimpl
    def on_epoch_end(self) -> None:
        pass


@pytest.mark.parity("T7")
def test_the_order_is_the_listed_one_bent_by_constraints() -> None:
    """For every way to list four plugins there is one order: of those that keep both constraints, the nearest to the list."""
    plugins = [Ordered("a", after=("c",)), Ordered("b"), Ordered("c"), Ordered("d", before=("b",))]
    assert names(*plugins) == ["c", "a", "d", "b"]
    for listed in itertools.permutations(plugins):
        places = {plugin.name: i for i, plugin in enumerate(listed)}
        allowed = [o for o in itertools.permutations("abcd") if o.index("c") < o.index("a") and o.index("d") < o.index("b")]
        assert tuple(names(*listed)) == min(allowed, key=lambda order, places=places: [places[name] for name in order])
    trainer = tiny_trainer(plugins=plugins)
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=1)
    assert [plugin for hook, plugin in calls.acting if hook == "on_epoch_end"] == list(trainer.plugins)


def test_a_circle_is_printed() -> None:
    with pytest.raises(FitError, match="the order of the plugins is a circle: a before b before c before a$"):
        names(Ordered("a", before=("b",)), Ordered("b", before=("c",)), Ordered("c", before=("a",)))


@pytest.mark.parity("T8")
def test_console_is_there_unless_replaced_or_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    class Display(Quiet):
        replaces = ("console",)

    assert "console" in tiny_trainer(quiet=False).plugins
    assert names(Quiet()) == ["quiet"]
    assert list(tiny_trainer(plugins=[Display()], quiet=False).plugins) == ["display"]
    assert list(tiny_trainer(plugins=["no:console"], quiet=False).plugins) == []
    tiny_trainer(quiet=False).fit(epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss ")


def test_the_command_line_changes_options_of_the_script(zoo: None) -> None:
    trainer = tiny_trainer(plugins=["lion:volume=2,mood=wild"])
    trainer.use(["lion:volume=7", "zebra"])
    assert list(trainer.plugins) == ["lion", "zebra"]
    assert (trainer.plugins["lion"].volume, trainer.plugins["lion"].mood) == (7, "wild")
    from fit_zoo import Lion

    with pytest.raises(FitError, match="the script builds plugin 'lion' itself"):
        tiny_trainer(plugins=[Lion()]).use(["lion:volume=7"])
    trainer.fit(epochs=1)
    with pytest.raises(FitError, match="only before the trainer has run"):
        trainer.use(["zebra"])


def test_each_trainer_has_its_own_plugins(zoo: None) -> None:
    first, second = tiny_trainer(plugins=["lion"]), tiny_trainer(plugins=["lion"])
    assert first.plugins["lion"] is not second.plugins["lion"]
    assert isinstance(first, Trainer)
