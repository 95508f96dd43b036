"""Commands of Python in processes forked from one that has imported torch: they take a quarter of a second instead of two and more.

with ForkServer() as server:
    done = server.run("-m", "fit_core", "train", "script.py", cwd=folder)
    assert done.returncode == 0, done.stderr

Each command has a process of its own, with its exit code, signals, output, working directory, environment and end. What a process only gets
when it is started is the server's: the seed of hashes, `sys.orig_argv`, and modules of torch and the core that are imported already. Tests
of those start a process with `subprocess`, and so do tests that send signals.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Self

IMPORTED = "torch", "torch._dynamo", "fit_core.cli.train", "fit_core.testing.kit"  # torch imports dynamo when the first optimizer is made
READ_AT_START = "PYTHON", "LD_", "OMP_", "MKL_", "TORCH_", "CUDA_VISIBLE_"
"""Beginnings of variables that are only read when a process starts: a command for which they differ gets an interpreter of its own.

Not among them are those that libraries set themselves when they are imported, such as TORCHINDUCTOR_CACHE_DIR and KMP_INIT_AT_FORK.
"""


class ForkServer:
    """A process that has imported torch, and from which commands are forked, one at a time. The first command starts it.

    On systems other than Linux every command is run by an interpreter of its own.

    Args:
        options: of the interpreter, such as `"-W", "error"`.
    """

    def __init__(self, *options: str) -> None:
        self.options = options
        self.environment = {**one_thread(os.environ), "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}  # else a look for CUDA spoils it for forks
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run(
        self, *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run `python WORDS` to its end.

        Args:
            words: `-m` and a module, or the path of a script, and their arguments. As under `python -P`, a module is not looked for in
                the working directory.
            cwd: the folder to run in.
            env: the environment; by default that of this process, with `OMP_NUM_THREADS=1`.
            stdin: what it can read.
            timeout: seconds.

        Returns:
            The exit code, negative for a signal, and what was printed.

        Raises:
            subprocess.TimeoutExpired: it was killed, with all that it had started.
        """
        command = [str(word) for word in words]
        environment = one_thread(os.environ) if env is None else dict(env)
        if sys.platform == "linux" and read_at_start(environment) == read_at_start(self.environment):
            return self._fork(command, cwd, environment, stdin, timeout)
        whole = [sys.executable, *self.options, *(["-P"] if command[0] == "-m" else []), *command]
        return subprocess.run(whole, cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def close(self) -> None:
        """End the server, and a command that is going on."""
        if self.process is not None:
            self.socket.close()
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _start(self) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, *self.options, "-P", "-m", __name__, str(theirs.fileno())]
            self.process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def _fork(
        self, command: list[str], cwd: Path, environment: dict[str, str], stdin: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        if self.process is None:
            self._start()
        with ExitStack() as stack:
            request, given, printed, errors = files = [stack.enter_context(TemporaryFile("w+")) for _ in range(4)]
            json.dump({"command": command, "cwd": str(cwd), "environment": environment}, request)
            given.write(stdin)
            for file in request, given:
                file.seek(0)
            try:
                answer = self._ask(files, timeout)
            except TimeoutError:
                raise subprocess.TimeoutExpired(command, timeout) from None
            if not answer:
                self.close()
                raise RuntimeError(
                    f"the process that commands are forked from has ended; it may have said why on stderr; asked for: {command}"
                )
            for file in printed, errors:
                file.seek(0)
            return subprocess.CompletedProcess(command, int(answer), printed.read(), errors.read())

    def _ask(self, files: Sequence[IO[str]], timeout: float) -> bytes:
        """Have a process forked, and wait for its exit code. Nothing is returned if the server has ended."""
        try:
            self.socket.settimeout(timeout)
            socket.send_fds(self.socket, [b"."], [file.fileno() for file in files])
            return self.socket.recv(8)
        except ConnectionError:
            return b""
        except BaseException:  # whatever keeps us from waiting, a time limit of the test too: nothing is left behind that goes on
            self.close()
            raise


def one_thread(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which libraries start no threads, which a fork would lose."""
    return {**environment, "OMP_NUM_THREADS": "1"}


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment can only be given to a new process."""
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START) and name != "PYTHONPATH"}


def serve(connection: socket.socket) -> list[int]:
    """Fork for each request, and answer with the exit code. Return in each forked process, with the files it was given."""
    while True:
        _, files, _, _ = socket.recv_fds(connection, 1, 4)
        if not files:
            sys.exit()  # the tests are over
        process = os.fork()
        if not process:
            return files
        for file in files:
            os.close(file)
        _, status = os.waitpid(process, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def become(request: int, *stdio: int) -> None:
    """Be the process that was asked for. Its end is the end of this process, with all that Python does then."""
    for number, file in enumerate(stdio):
        os.dup2(file, number)
        os.close(file)
    with os.fdopen(request) as asked:
        command, cwd, environment = json.load(asked).values()
    inherited = folders_in(os.environ)
    sys.path[:] = [*folders_in(environment), *(folder for folder in sys.path if folder not in inherited)]
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # Python's own is seeded anew after a fork, and torch's is the same in every process
    if command[0] == "-m":
        sys.argv[1:] = command[2:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).absolute().parent))
        runpy.run_path(command[0], run_name="__main__")


def folders_in(environment: Mapping[str, str]) -> list[str]:
    """Return the folders in PYTHONPATH."""
    return [str(Path(folder).absolute()) for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]


def main() -> None:
    """Be the server, and after a fork a command."""
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # a collection that looks at what is shared would copy it into every process
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        files = serve(connection)
    become(*files)


if __name__ == "__main__":
    main()
