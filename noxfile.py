"""Chores: `nox -s lint types`, and what takes longer than every commit should."""

import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PLUGINS = sorted((ROOT / "plugins").glob("fit-*"))
SOURCES = [ROOT / "core" / "src", *(plugin / "src" for plugin in PLUGINS)]
CONSTRAINED = ("-c", str(ROOT / "constraints.txt"))
BENCHMARKS = (
    "step",
    "scaling",
    "in_memory",
    "start",
    "footprint",
    "garbage",
    "resume",
    "metrics",
    "logs",
    "device",
    "vis",
    "inside",
    "compare",
)
BUILDS = {"PIP_BUILD_CONSTRAINT": str(ROOT / "build-constraints.txt"), "UV_BUILD_CONSTRAINT": str(ROOT / "build-constraints.txt")}

nox.options.sessions = ["lint", "types"]
nox.needs_version = ">=2024.4"

SCRIPT = """
from fit_core.testing import tiny_trainer

def build_trainer(epochs: int = 2):
    return tiny_trainer(epochs=epochs, metrics=["accuracy"], quiet=False)
"""


GAN = """
from functools import partial
import torch
from fit_core import Trainer
from fit_gan import GAN, adversarial_updates

def build_trainer(epochs: int = 2):
    model = GAN(torch.nn.Linear(2, 4), torch.nn.Linear(4, 1), latent=2)
    updates = adversarial_updates(model, partial(torch.optim.Adam, lr=1e-3))
    return Trainer(model, optimizer=updates, train_data=torch.randn(64, 4), epochs=epochs)
"""


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, and who may import whom."""
    session.install(*CONSTRAINED, "ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": ":".join(map(str, SOURCES))})


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    editable = [argument for plugin in PLUGINS for argument in ("-e", str(plugin))]
    session.install(*CONSTRAINED, "editables", "hatchling")
    libraries = ("mypy", "hypothesis", "pytest", "-e", f"{ROOT / 'core'}[examples]", *editable)
    session.install(*CONSTRAINED, "--no-build-isolation", "--no-compile", *libraries)  # which are read, and hardly imported
    session.run("mypy", *map(str, SOURCES), "examples", "website")
    with tempfile.TemporaryDirectory() as folder:
        session.run("fit", "new-plugin", "trial", "--folder", folder, "--hook", "forward", silent=True)
        written = Path(folder) / "fit-trial"
        session.run("mypy", str(written / "src"), str(written / "tests"), env={"MYPYPATH": str(written / "src")})


@nox.session
def build(session: nox.Session) -> None:
    """Build every package's wheel into dist/."""
    _wheels(session, ROOT / "dist")


@nox.session
def wheels(session: nox.Session) -> None:
    """Install built wheels outside of the repository: the core alone trains; the plugins are found when they are there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core, *plugins = _wheels(session, folder / "dist")
        session.install(*CONSTRAINED, str(core), "numpy")
        (folder / "script.py").write_text(SCRIPT)
        session.chdir(folder)
        _expect(session, ["fit", "plugins"], ["console  fit-core"], lacks="logging")
        _expect(session, ["fit", "train", "script.py"], ["epoch 2/2", "test_accuracy"])
        gan = next(wheel for wheel in plugins if wheel.name.startswith("fit_gan"))
        session.install(*CONSTRAINED, str(gan), "--find-links", str(folder / "dist"))
        (folder / "gan.py").write_text(GAN)
        _expect(session, ["fit", "train", "gan.py", "--plugins", "gan"], ["d_loss", "g_loss"])
        if not list(folder.glob("runs/gan/*/samples/samples-0002.png")):
            session.error("fit train gan.py --plugins gan wrote no samples")
        session.install("--no-deps", *map(str, plugins))
        _expect(session, ["fit", "plugins"], ["logging ", "schedulers "])
        _expect(session, ["fit", "train", "script.py", "--plugins", "logging,schedulers"], ["val_accuracy", "2/2", "test_accuracy"])
        _expect(session, ["fit", "new-plugin", "trial"], ["pip install -e 'fit-trial[test]'"])
        session.install("--no-deps", "--no-build-isolation", str(folder / "fit-trial"))
        _expect(session, ["fit", "train", "script.py", "-p", "trial:limit=8"], ["8 samples are enough"])
        histories = list(folder.glob("runs/script/*/history.csv"))
        if len(histories) != 1:
            session.error(f"expected one history.csv, found {histories}")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/site, with warnings as errors; to read it: python -m http.server -d build/site."""
    editable = [argument for plugin in PLUGINS for argument in ("-e", str(plugin))]
    session.install(*CONSTRAINED, "mkdocs-material", "mkdocstrings[python]", "scikit-learn", "-e", str(ROOT / "core"), *editable)
    session.run("mkdocs", "build", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(python=False)
def full(session: nox.Session) -> None:
    """Run everything that .ci/run leaves out."""
    session.run("tox", "-m", "matrix", external=True)
    session.run("tox", "--", "tests/test_pairs.py", env={"FIT_PAIRS": "all"}, external=True)
    session.run("tox", "--", "tests/test_gallery.py", env={"FIT_GALLERY": "all"}, external=True)
    _kill(session, 25)
    session.notify("pictures")
    session.notify("docs")
    session.notify("wheels")
    session.notify("servers")


@nox.session
def servers(session: nox.Session) -> None:
    """Look at TensorBoard's and Visdom's pages with Chromium. It needs a browser and npm; `FIT_SCREENSHOTS` says where to keep pictures."""
    packages = (
        "-e",
        str(ROOT / "core"),
        "-e",
        f"{ROOT / 'plugins' / 'fit-vis'}[visdom]",
        "pytest",
        "pytest-timeout",
        "hypothesis",
        "tensorboard",
    )
    session.install(*CONSTRAINED, *packages, env=BUILDS)
    vis = ROOT / "plugins" / "fit-vis"
    paths = {"PYTHONPATH": f"{vis / 'servers'}:{vis / 'tests'}", "OMP_NUM_THREADS": "1"}
    session.run("pytest", str(vis / "servers"), *session.posargs, env=paths)


@nox.session
def pictures(session: nox.Session) -> None:
    """Make the pictures of the documentation from real runs, into docs/pictures/, and look whether each shows something."""
    editable = [argument for plugin in PLUGINS for argument in ("-e", str(plugin))]
    session.install(*CONSTRAINED, "-e", str(ROOT / "core"), *editable, "scikit-learn")
    session.run("python", "docs/pictures.py", "docs/pictures", env={"OMP_NUM_THREADS": "1"})


@nox.session(python=False)
def soak(session: nox.Session) -> None:
    """Kill hundreds of processes, and compare what is resumed with what was never interrupted."""
    _kill(session, 200)


def _kill(session: nox.Session, times: int) -> None:
    session.run("tox", "--", "tests/test_kills.py", "tests/test_torn_by_kills.py", "-rP", env={"FIT_KILLS": str(times)}, external=True)


def _wheels(session: nox.Session, folder: Path) -> list[Path]:
    session.install(*CONSTRAINED, "hatchling")
    packages = [str(ROOT / "core"), *map(str, PLUGINS)]
    session.run("pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "-w", str(folder), *packages)
    built = {wheel.name.split("-")[0]: wheel for wheel in folder.glob("*.whl")}
    return [built["fit_core"], *(built[plugin.name.replace("-", "_")] for plugin in PLUGINS)]


def _expect(session: nox.Session, command: list[str], has: list[str], lacks: str | None = None) -> None:
    output = session.run(*command, silent=True, env={"OMP_NUM_THREADS": "1"})
    missing = [text for text in has if text not in output]
    if missing or (lacks and lacks in output):
        session.error(f"{' '.join(command)} printed, without {missing}:\n{output}")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what fit adds, as ratios to plain loops and loaders, and against five other trainers: `nox -s bench -- compare.py --keep`."""
    editable = [argument for plugin in PLUGINS for argument in ("-e", str(plugin))]
    session.install(*CONSTRAINED, "-e", str(ROOT / "core"), *editable, "scikit-learn", "torchmetrics", "visdom", env=BUILDS)
    session.install(*CONSTRAINED, "-r", str(ROOT / "benchmarks" / "requirements.txt"))
    files = [session.posargs] if session.posargs else [[f"{name}.py"] for name in BENCHMARKS]
    for file, *options in files:
        session.run("python", f"benchmarks/{file}", *options, env={"OMP_NUM_THREADS": "1"})
