from __future__ import annotations

import asyncio
import json
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fit_core import FitError, State, Trainer, hookimpl, items
from fit_core.testing import CHECKS, check_plugin, tiny_batches, tiny_trainer
from fit_core.testing.conformance import Subject
from fit_vis.outbox import Outbox, lines
from fit_vis.visdom import Visdom

visdom = pytest.importorskip("visdom")


class Server:
    """A Visdom server in a thread, on a free port of this machine."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        from tornado.httpserver import HTTPServer
        from tornado.netutil import bind_sockets
        from visdom.server.app import Application, tornado_settings

        tornado_settings["autoreload"] = False  # it would start this process anew when a source file changes

        async def start() -> None:
            sockets = bind_sockets(port, "127.0.0.1")
            self.port = sockets[0].getsockname()[1]
            self.app = Application(port=self.port, base_url="", env_path=str(folder))
            self.server = HTTPServer(self.app)
            self.server.add_sockets(sockets)

        async def stop() -> None:
            self.server.stop()
            await self.server.close_all_connections()

        def run() -> None:
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(start())
            ready.set()
            self.loop.run_forever()
            self.loop.run_until_complete(stop())
            self.loop.close()

        ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert ready.wait(30)

    def stop(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()

    def windows(self, env: str = "run") -> dict[str, Any]:
        """Return what there is in an environment, as a client gets it."""
        with a_client(self.port) as client:
            found: dict[str, Any] = json.loads(client.get_window_data(env=env))
        return found

    def traces(self, window: str) -> dict[str, list[tuple[float, float]]]:
        return traces(self.windows()[window])


@contextmanager
def a_client(port: int) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Visdom's client calls logger.warn
        client = visdom.Visdom("http://127.0.0.1", port=port, raise_exceptions=True, use_incoming_socket=False)
    yield client
    client.session.close()


def traces(window: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    return {one["name"]: list(zip(one["x"], one["y"], strict=True)) for one in window["content"]["data"]}


@contextmanager
def a_server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with a_server(tmp_path / "envs") as running:
        yield running


class Shows:
    passive = True

    def __init__(self, **shown: items.Item) -> None:
        self.shown = shown

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        for name, item in self.shown.items():
            trainer.show(name, item)


def sink(port: int, **options: Any) -> Visdom:
    return Visdom("http://127.0.0.1", port, **options)


def show(server: Server, folder: Path, **shown: items.Item) -> dict[str, Any]:
    with tiny_trainer(plugins=[sink(server.port), Shows(**shown)], run_dir=folder / "run") as trainer:
        trainer.fit(epochs=1)
    found = server.windows()
    return {name: found[name] for name in shown}


def nobody() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parity("V5")
def test_a_value_of_training_and_of_validation_are_lines_in_one_window(server: Server, tmp_path: Path) -> None:
    with tiny_trainer(
        plugins=[sink(server.port)], run_dir=tmp_path / "run", train_data=tiny_batches(5), log_every=2, metrics=["accuracy"]
    ) as trainer:
        rows = trainer.fit(epochs=2)
    found = server.windows()
    assert found.keys() == {"loss", "accuracy", "lr", "seconds"}
    loss = traces(found["loss"])
    assert [step for step, _ in loss["loss"]] == list(range(1, 11))
    for name in ("loss", "val_loss"):
        assert loss[f"epoch/{name}"] == [(5, pytest.approx(rows[0][name])), (10, pytest.approx(rows[1][name]))]
    assert found["loss"]["title"] == "loss"
    assert found["loss"]["content"]["layout"]["xaxis"]["title"] == "step"
    assert found["loss"]["content"]["layout"]["colorway"][0] == "#0072B2"
    assert traces(found["accuracy"]).keys() == {"epoch/accuracy", "epoch/val_accuracy"}


def test_numbers_that_are_not_finite_are_gaps(server: Server, tmp_path: Path) -> None:
    class Logs:
        @hookimpl
        def on_step_end(self, trainer: Trainer, state: State) -> None:
            trainer.log({"x": [1.0, float("nan"), float("inf"), 4.0][state.step - 1]})

    with tiny_trainer(plugins=[sink(server.port), Logs()], run_dir=tmp_path / "run", train_data=tiny_batches(4)) as trainer:
        trainer.fit(epochs=1)
    assert server.traces("x") == {"x": [(1, 1), (2, None), (3, None), (4, 4)]}


def test_long_runs_are_thinned(server: Server, tmp_path: Path) -> None:
    with tiny_trainer(plugins=[sink(server.port, points=4)], run_dir=tmp_path / "run", train_data=tiny_batches(12)) as trainer:
        trainer.fit(epochs=2)
    assert [step for step, _ in server.traces("loss")["loss"]] == [6, 12, 18, 24]
    assert [step for step, _ in server.traces("loss")["epoch/loss"]] == [12, 24]


def test_items_have_a_window_of_their_name(server: Server, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    found = show(
        server,
        tmp_path,
        picture=items.Image(torch.rand(3, 16, 16), "noise"),
        pictures=items.Images(torch.rand(4, 1, 64, 64), columns=2),
        figure=items.Figure(Figure((2, 1), dpi=100)),
        weights=items.Histogram(torch.tensor([0.0, 1.0, 1.0, float("nan")]).bfloat16(), bins=2),
        matrix=items.Heatmap(torch.tensor([[1.0, 2.0], [float("nan"), float("inf")]]), ("a", "b"), ("c", "c"), "truth", "prediction"),
        points=items.Scatter(torch.tensor([[0.0, 1.0], [2.0, 3.0], [float("nan"), 1.0]]), ["a", "b", "b"]),
        space=items.Scatter(torch.rand(4, 3), axis_titles=["x", "y", "z"]),
        none=items.Scatter(torch.full((2, 2), float("nan"))),
        words=items.Text("# <One>\n"),
        best=items.Table(["name", "loss"], [["<a>", 0.5]]),
        vectors=items.Embedding(torch.eye(4), torch.arange(4) % 2),
    )
    assert {name: window["type"] for name, window in found.items()} == {
        **dict.fromkeys(("picture", "pictures", "figure"), "image"),
        **dict.fromkeys(("weights", "matrix", "points", "space", "vectors"), "plot"),
        **dict.fromkeys(("words", "best", "none"), "text"),
    }
    assert found["picture"]["title"] == "picture, step 2"
    assert (found["pictures"]["width"], found["pictures"]["height"]) == (268, 288), "twice as large, and the bar with its name"
    (bars,) = found["weights"]["content"]["data"]
    assert (bars["type"], bars["x"], bars["y"]) == ("bar", [0.25, 0.75], [1, 2])
    background, matrix = found["matrix"]["content"]["data"]
    assert matrix["z"] == [[1, 2], [None, None]]
    assert (matrix["y"], matrix["x"]) == (["a", "b"], ["0 c", "1 c"]), "plotly would make one column of two with the same name"
    assert background["colorscale"][0][1] == "#BBBBBB"
    layout = found["matrix"]["content"]["layout"]
    assert (layout["yaxis"]["title"], layout["xaxis"]["title"], layout["yaxis"]["autorange"]) == ("truth", "prediction", "reversed")
    assert traces(found["points"]) == {"a": [(0, 1)], "b": [(2, 3)]}
    assert found["space"]["content"]["data"][0]["type"] == "scatter3d"
    assert found["words"]["content"] == '<pre style="white-space: pre-wrap"># &lt;One&gt;\n</pre>'
    assert "&lt;a&gt;" in found["best"]["content"]
    assert found["vectors"]["content"]["layout"]["xaxis"]["title"] == "first principal component"


def test_environments_are_named_by_the_run_or_by_the_user(server: Server, tmp_path: Path) -> None:
    for name, options in {"one": {}, "two": {"env": "mine"}}.items():
        with tiny_trainer(plugins=[sink(server.port, **options)], run_dir=tmp_path / name) as trainer:
            trainer.fit(epochs=1)
    assert "loss" in server.windows("one")
    assert "loss" in server.windows("mine")


def test_the_file_shows_a_run_later(server: Server, tmp_path: Path) -> None:
    with tiny_trainer(plugins=[Visdom(offline="always"), Shows(a=items.Heatmap(torch.eye(2)))], run_dir=tmp_path / "run") as trainer:
        rows = trainer.fit(epochs=3)
    with a_client(server.port) as client:
        client.replay_log(str(tmp_path / "run" / "visdom.jsonl"))
    assert server.traces("loss")["epoch/val_loss"] == [(2 * row["epoch"], pytest.approx(row["val_loss"])) for row in rows]
    assert "a" in server.windows()


def test_without_a_server_there_is_a_warning_and_the_file(tmp_path: Path) -> None:
    port = nobody()
    with (
        tiny_trainer(plugins=[sink(port)], run_dir=tmp_path / "run") as trainer,
        pytest.warns(UserWarning, match=f"no Visdom server answers at http://127.0.0.1:{port} .*replay_log") as said,
    ):
        trainer.fit(epochs=2)
    assert len(said) == 1
    assert len(list(lines(tmp_path / "run" / "visdom.jsonl"))) > 4


@pytest.mark.parametrize("answers", ["nobody", "another"])
def test_without_a_server_it_can_be_an_error_before_anything_is_trained(answers: str, tmp_path: Path) -> None:
    class Another(threading.Thread):
        """Says no, as a web server of something else does."""

        def __init__(self) -> None:
            super().__init__(daemon=True)
            self.socket = socket.create_server(("127.0.0.1", 0))
            self.port = self.socket.getsockname()[1]

        def run(self) -> None:
            connection, _ = self.socket.accept()
            with connection, self.socket:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    other = Another()
    other.start()
    port = nobody() if answers == "nobody" else other.port
    with tiny_trainer(plugins=[sink(port, offline="error")], run_dir=tmp_path / "run") as trainer:
        with pytest.raises(FitError, match=f"no Visdom server answers at http://127.0.0.1:{port} .*offline=warn"):
            trainer.fit(epochs=1)
        assert not trainer.history
    if answers == "another":
        other.join(5)
    else:
        other.socket.close()


def test_a_server_that_never_answers_holds_nothing_up(tmp_path: Path) -> None:
    """It takes connections and says nothing: the start waits for the timeout, the run for nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with (
            tiny_trainer(plugins=[sink(port, timeout=0.2)], run_dir=tmp_path / "run") as trainer,
            pytest.warns(UserWarning, match=r"no Visdom server answers at .* \(timed out\)"),
        ):
            trainer.fit(epochs=2)
    assert len(trainer.history) == 2


def test_a_server_that_dies_is_one_warning_and_the_file_goes_on(server: Server, tmp_path: Path) -> None:
    class Ends:
        passive = True

        @hookimpl
        def on_epoch_end(self, state: State) -> None:
            if state.epoch == 2:
                server.stop()

    with (
        tiny_trainer(plugins=[sink(server.port), Ends()], run_dir=tmp_path / "run") as trainer,
        pytest.warns(UserWarning, match="the Visdom server at .* is gone .*replay_log") as said,
    ):
        trainer.fit(epochs=5)
    assert len(said) == 1
    steps = [json.loads(text)[1]["data"][0]["x"] for text in lines(tmp_path / "run" / "visdom.jsonl") if b'"epoch/loss"' in text]
    assert steps == [[2], [4], [6], [8], [10]]
    assert not [thread for thread in threading.enumerate() if thread.name == "fit-vis-outbox"]


def test_a_slow_server_never_slows_a_run_and_what_it_did_not_get_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages get no answer before the run has ended: all of it is trained while the first one waits."""
    ended = threading.Event()
    calls = []

    def slowly(_: str, endpoint: str, *__: Any) -> None:
        if not endpoint.startswith("env/"):
            calls.append(endpoint)
            assert ended.wait(30)

    class Ended:
        passive = True

        @hookimpl(tryfirst=True)
        def on_fit_end(self) -> None:
            threading.Timer(0.3, ended.set).start()

    monkeypatch.setattr("fit_vis.outbox.post", slowly)
    monkeypatch.setattr("fit_vis.visdom.post", slowly)
    with (
        tiny_trainer(plugins=[Visdom(wait=0.01, timeout=5), Ended()], run_dir=tmp_path / "run") as trainer,
        pytest.warns(
            UserWarning, match=r"\d+ messages were not sent to http://localhost:8097 within 0.01 s; .*visdom.jsonl has everything"
        ),
    ):
        trainer.fit(epochs=20)
    assert len(trainer.history) == 20
    assert len(calls) == 1


def test_messages_are_sent_in_their_order_and_once(server: Server, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "log", f"http://127.0.0.1:{server.port}", timeout=5, resend=False)
    client = visdom.Visdom(send=False, offline=True, log_to_filename="-", env="run")
    for number in range(50):
        message, endpoint = client.line(
            np.array([float(number)]), np.array([number]), win="w", name="n", update="append" if number else None
        )
        outbox.add([(endpoint, message)])
        if number % 20 == 0:
            assert outbox.close(10) == 0
    assert outbox.close(10) == 0
    assert server.traces("w") == {"n": [(number, number) for number in range(50)]}


def test_messages_that_are_refused_are_said(server: Server, tmp_path: Path) -> None:
    class Odd:
        passive = True

        @hookimpl
        def on_epoch_end(self, trainer: Trainer) -> None:
            trainer.plugins["visdom"]._outbox.add([("events", {"win": "odd"})])

    with (
        tiny_trainer(plugins=[sink(server.port), Odd()], run_dir=tmp_path / "run") as trainer,
        pytest.warns(UserWarning, match="refused 2 messages"),
    ):
        trainer.fit(epochs=2)
    assert len(server.traces("loss")["epoch/loss"]) == 2


def test_a_resumed_run_shows_everything_once(server: Server, tmp_path: Path) -> None:
    class Steps:
        passive = True

        @hookimpl
        def on_step_end(self, trainer: Trainer, state: State) -> None:
            if state.step > 5:
                trainer.show(f"late {state.step}", items.Text("x"))

        @hookimpl(trylast=True)
        def on_safe_point(self, trainer: Trainer, state: State) -> None:
            if state.step == 5 and not (tmp_path / "saved").exists():
                trainer.save(tmp_path / "saved")
            if state.step == 7 and not stopped:
                stopped.append(True)
                raise KeyboardInterrupt

    def trainer() -> Trainer:
        plugins = [sink(server.port, env="run"), Steps()]
        return tiny_trainer(plugins=plugins, run_dir=tmp_path / "run", train_data=tiny_batches(4), seed=0, log_every=1)

    stopped: list[bool] = []
    with pytest.raises(KeyboardInterrupt), trainer() as torn:
        torn.fit(epochs=2)
    assert "late 7" in server.windows()
    with (tmp_path / "run" / "visdom.jsonl").open("ab") as file:
        file.write(b'["upd')  # as if it had been killed while it wrote
    with trainer() as again:
        again.fit(epochs=2, resume=tmp_path / "saved")
    resumed, messages = server.windows(), [json.loads(text) for text in lines(tmp_path / "run" / "visdom.jsonl")]
    (tmp_path / "run").rename(tmp_path / "torn")
    with trainer() as whole:
        whole.fit(epochs=2)
    told = server.windows()
    assert told.keys() == resumed.keys()
    for name in ("loss", "lr"):
        assert traces(resumed[name]) == traces(told[name])
    assert [step for step, _ in traces(resumed["loss"])["loss"]] == list(range(1, 9))
    assert len(messages) == len(list(lines(tmp_path / "run" / "visdom.jsonl")))


def test_a_file_of_another_run_is_left_alone(tmp_path: Path) -> None:
    def trainer() -> Trainer:
        return tiny_trainer(plugins=[Visdom(offline="always")], run_dir=tmp_path)

    with trainer() as one:
        one.fit(epochs=1)
        one.fit(epochs=1)  # goes on in the file
    before = (tmp_path / "visdom.jsonl").read_bytes()
    with pytest.raises(FitError, match="visdom.jsonl exists already; choose another run folder"), trainer() as other:
        other.fit(epochs=1)
    assert (tmp_path / "visdom.jsonl").read_bytes() == before


def test_an_evaluation_adds_to_the_file(server: Server, tmp_path: Path) -> None:
    class Ends:
        @hookimpl
        def on_eval_end(self, trainer: Trainer, state: State) -> None:
            if state.phase == "test":
                trainer.show("seen", items.Text("x"))
                trainer.log({"x": 1.0})

    for part in ("fit", "evaluate"):
        with tiny_trainer(plugins=[sink(server.port), Ends()], run_dir=tmp_path / "run") as trainer:
            trainer.fit(epochs=1) if part == "fit" else trainer.evaluate()
    assert len(server.traces("loss")["loss"]) == 2, "what was sent before is not sent again"
    assert {"seen", "test/x"} <= server.windows().keys()


def test_options_are_checked() -> None:
    with pytest.raises(FitError, match="server must begin with http:// or https://, not 'localhost'"):
        Visdom("localhost")
    with pytest.raises(FitError, match="points must be at least 1, not 0"):
        Visdom(points=0)


def test_without_the_client_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "visdom", None)
    with (
        tiny_trainer(plugins=[Visdom(offline="always")], run_dir=tmp_path) as trainer,
        pytest.raises(FitError, match=r"pip install 'fit-vis\[visdom\]'"),
    ):
        trainer.fit(epochs=1)


def test_it_conforms(server: Server) -> None:
    check_plugin(Visdom(offline="always"), plugins=[Shows(a=items.Text("x"))])
    CHECKS["torn down"](Subject(sink(server.port, env="conforms"), {"plugins": [Shows(a=items.Text("x"))]}))


def test_nothing_is_printed(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with tiny_trainer(plugins=[sink(server.port)], run_dir=tmp_path / "run") as trainer:
        trainer.fit(epochs=1)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("visdom")]
