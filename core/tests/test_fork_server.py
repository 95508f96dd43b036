"""A forked command is a process like one that was started: each thing that a test may look at arrives, and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fit_core.testing import ForkServer, tiny_trainer

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(fork_server: ForkServer, tmp_path: Path) -> Run:
    """Run a script in a forked process."""

    def run(source: str, *words: str, **how: object) -> subprocess.CompletedProcess[str]:
        (tmp_path / "page.py").write_text(textwrap.dedent(source))
        return fork_server.run("page.py", *words, cwd=tmp_path, **how)

    return run


@pytest.fixture(scope="module")
def own() -> Iterator[ForkServer]:
    """A server that a test may end."""
    with ForkServer("-W", "error") as server:
        yield server


ENDS = {
    "the end": ("", 0, ""),
    "a code": ("import sys; sys.exit(7)", 7, ""),
    "words": ("import sys; sys.exit('no data')", 1, "no data\n"),
    "an error": ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    "a signal": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    "at once": ("import os; print('lost, if there is a buffer'); os._exit(3)", 3, ""),
    "Ctrl-C": ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt\n"),
}


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_as_a_started_process_does(name: str, run: Run, tmp_path: Path) -> None:
    source, code, errors = ENDS[name]
    done = run(source)
    assert done.returncode == code
    assert done.stderr.endswith(errors)
    assert bool(done.stderr) == bool(errors)
    started = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (started.returncode, started.stdout) == (done.returncode, done.stdout)
    assert started.stderr.splitlines()[-1:] == done.stderr.splitlines()[-1:]


def test_a_process_gets_what_it_was_given(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'")
    monkeypatch.setenv("GIVEN", "yes")
    monkeypatch.delenv("HOME", raising=False)
    done = run(
        """
        import os, sys
        import beside
        print(sys.argv, __name__, beside.NAME, os.getcwd())
        print(os.environ["GIVEN"], "HOME" in os.environ, os.environ["OMP_NUM_THREADS"], [os.isatty(number) for number in range(3)])
        print(sys.stdin.read(), end="")
        print("for errors", file=sys.stderr)
        """,
        "one",
        "--two",
        stdin="typed\n",
    )
    assert done.stdout.splitlines() == [
        f"['page.py', 'one', '--two'] __main__ beside {tmp_path}",
        "yes False 1 [False, False, False]",
        "typed",
    ]
    assert (done.returncode, done.stderr) == (0, "for errors\n")


def test_a_package_is_run_without_the_working_directory_on_its_path(
    fork_server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__main__.py").write_text(
        "import sys; print(sys.argv, __spec__.name, __package__, sys.modules['__main__'].__file__)"
    )
    missing = fork_server.run("-m", "mine", cwd=tmp_path)
    assert missing.returncode == 1
    assert "No module named mine" in missing.stderr
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    file = tmp_path / "mine" / "__main__.py"
    assert fork_server.run("-m", "mine", "one", cwd=tmp_path).stdout == f"['{file}', 'one'] mine.__main__ mine {file}\n"
    started = subprocess.run([sys.executable, "-P", "-m", "mine", "one"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert started.stdout == f"['{file}', 'one'] mine.__main__ mine {file}\n"


def test_python_ends_in_full(run: Run) -> None:
    done = run("""
    import atexit, threading, time
    atexit.register(print, "at exit")
    threading.Thread(target=lambda: (time.sleep(0.1), print("a thread"))).start()
    print("the script")
    """)
    assert done.stdout.splitlines() == ["the script", "a thread", "at exit"]


def test_nothing_of_a_command_reaches_the_next_one(run: Run) -> None:
    changing = """
    import os, random, sys
    import numpy, torch
    print(random.random(), numpy.random.rand(), torch.rand(1).item(), os.getpid())
    print(sorted(name.split(".")[0] for name in sys.modules if name.startswith(("fit_", "sklearn", "pandas", "torchmetrics", "rich"))))
    import json
    torch.manual_seed(5)
    torch.set_num_threads(2)
    json.mark = os.environ["MARK"] = "left behind"
    """
    first, second = run(changing).stdout.splitlines(), run(changing).stdout.splitlines()
    drawn, again = first[0].split(), second[0].split()
    assert drawn[2] == again[2], "torch begins every process with the same seed"
    for place in (0, 1, 3):
        assert drawn[place] != again[place], "other seeds, as in every process"
    assert set(eval(first[1])) == {"fit_core"}, "the server imports no plugin and no other library"
    assert first[1] == second[1]
    assert run("import json, os; print(hasattr(json, 'mark'), 'MARK' in os.environ)").stdout == "False False\n"


@pytest.mark.parametrize(("name", "value"), [("PYTHONHASHSEED", "3"), ("OMP_NUM_THREADS", "2")])
def test_what_is_read_at_the_start_gets_a_process_of_its_own(run: Run, name: str, value: str) -> None:
    source = f"import os, sys; print(os.environ[{name!r}], 'torch' in sys.modules)"
    assert run(source, env={**os.environ, name: value}).stdout == f"{value} False\n"


def test_what_libraries_set_does_not(run: Run) -> None:
    tiny_trainer().fit(epochs=1)
    assert "TORCHINDUCTOR_CACHE_DIR" in os.environ, "torch has set it by now, in this process"
    assert run("import sys; print('torch' in sys.modules)").stdout == "True\n"


def test_a_server_has_one_thread_and_goes_on_after_a_command_that_took_too_long(own: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(
        "import os, time, sys\nif not os.fork():\n    print(os.getpid(), flush=True)\ntime.sleep(600 if sys.argv[1:] else 0)"
    )
    assert own.run("page.py", cwd=tmp_path).returncode == 0
    assert own.process is not None
    assert len(list(Path(f"/proc/{own.process.pid}/task").iterdir())) == 1
    first = own.process.pid
    with pytest.raises(subprocess.TimeoutExpired, match=r"\['page.py', 'long'\]' timed out after 1"):
        own.run("page.py", "long", cwd=tmp_path, timeout=1)
    wait_until(lambda: not [path for path in Path("/proc").glob("[0-9]*/stat") if goes_on(path, first)])
    assert own.run("page.py", cwd=tmp_path).returncode == 0


def goes_on(path: Path, group: int) -> bool:
    """Tell a process of a group that is not dead from its line in /proc."""
    try:
        state, _, found = path.read_text().rsplit(")", 1)[1].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(found) == group and state != "Z"


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what the system does in its own time. The test's time limit is the limit."""
    while not holds():
        time.sleep(0.01)


def test_options_are_the_interpreters(own: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("import warnings; warnings.warn('loudly')")
    done = own.run("page.py", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "UserWarning: loudly")


def test_a_server_that_cannot_start_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        ForkServer("-X", "no such option", "-Q") as server,
        pytest.raises(RuntimeError, match="the process that commands are forked from has ended"),
    ):
        server.run("page.py", cwd=tmp_path)
    assert "Unknown option: -Q" in capfd.readouterr().err


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    source = """
    from pathlib import Path
    from fit_core.testing import ForkServer, tiny_trainer
    server = ForkServer()
    server.run("-m", "fit_core", "--version", cwd=Path())
    print(server.process.pid, flush=True)
    import os
    os._exit(0)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(source)], cwd=tmp_path, capture_output=True, text=True, check=True)
    group = int(done.stdout)
    wait_until(lambda: not goes_on(Path(f"/proc/{group}/stat"), group))
