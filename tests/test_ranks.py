"""Two processes do what one does, stop together, and neither waits for one that is gone."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import QUICK, fit, start, weights_of
from fork_server import ForkServer
from interruptions import SHOWN, interrupt
from test_resume import RESUME, check_equal, figures

from lightning_vision.cli import main
from lightning_vision.learning.checkpoint_identity import SUMMANDS
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.results.schema import read_results

TESTS = str(Path(__file__).parent)
TWO = ("--trainer.devices=2", "--trainer.strategy=ddp")
# No batch norm, no dropout, no augmentation: nothing that depends on which images share a process. 56 steps: 55
# training images in global batches of 8 leave 7 for the last, 4 and 3.
GRADIENT = (
    "--data=interruptions.PlainSquares",
    "--data.stream=Joint",
    "--data.noise=90",
    "--data.per_class=23",
    "--model.backbone=test_vit",
    "--model.strategy=FullFineTune",
    "--model.optimizer=SGD",
    "--model.optimizer.lr=0.02",
    "--model.optimizer.momentum=0.9",
    "--model.restore_best=false",
    "--model.keep_logits=true",
    "--trainer.max_epochs=8",
    "--trainer.callbacks=interruptions.Interrupt",
)
MOVE = ("--data=interruptions.PlainSquares", "--data.noise=90", "--data.stream=InstanceIncremental", "--data.stream.online=true", "--data.stream.evaluate_every=1", "--model.strategy=MoveToData", "--model.strategy.epsilon=[0.001,0.1]")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The tests' own classes can be named in processes that are started."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([TESTS, before or ""])
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def command(folder: Path, name: str, *options: str) -> list[str]:
    """The command line after the program's name."""
    return ["fit", *QUICK, *options, f"--trainer.default_root_dir={folder}", f"--run_name={name}"]


def launch(*words: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """A process whose words are appended to a file."""
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-m", *words], stdout=file, stderr=file, env=os.environ | environment)


def children(pid: int) -> list[int]:
    """The processes that a process started, for as long as it lives."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} took more than {seconds} s"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process runs, not counting one that only waits to be asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def predictions(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "predictions.npz") as file:
        return {key: file[key] for key in file.files}


# ---- the same result -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("one"), "one", *GRADIENT, "--data.batch_size=8")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Called as a function: the program hands over to a process of its own, whose command line Lightning repeats."""
    folder = tmp_path_factory.mktemp("two")
    os.environ[SHOWN] = str(folder / "shown")
    try:
        assert main(command(folder, "two", *GRADIENT, *TWO, "--data.batch_size=4")) == 0
    finally:
        del os.environ[SHOWN]
    return folder / "two"


def test_gradients_of_two_processes_are_those_of_one(one_process: Path, two_processes: Path) -> None:
    one, two = weights_of(one_process), weights_of(two_processes)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=0, atol=1e-5, msg=f"{key} differs")
    first, second = read_results(one_process / "results.json"), read_results(two_processes / "results.json")
    assert first.experiences[0].epochs == second.experiences[0].epochs == 8
    assert first.test.confusion_matrix == second.test.confusion_matrix
    assert second.environment.devices == 2


def test_training_shows_each_image_once_an_epoch(two_processes: Path) -> None:
    shown: dict[int, list[int]] = {}
    for rank in (0, 1):
        for line in Path(two_processes.parent / f"shown.{rank}").read_text().splitlines():
            _, _, epoch, _, index = json.loads(line)
            shown.setdefault(epoch, []).extend(index)
    experience = read_results(two_processes / "results.json").experiences[0]
    assert sorted(shown) == list(range(8))
    assert all(len(index) == len(set(index)) == experience.train_samples for index in shown.values())


def test_evaluation_counts_each_image_once(one_process: Path, two_processes: Path) -> None:
    # DistributedSampler would have repeated an image to give both processes as many.
    one, two = predictions(one_process), predictions(two_processes)
    assert len(one["index"]) % 2 == 1
    assert np.array_equal(one["index"], two["index"])
    assert len(set(two["index"].tolist())) == len(two["index"])
    assert np.array_equal(two["logits"].astype(np.float32).argmax(axis=2), two["predicted"])
    np.testing.assert_allclose(two["logits"].astype(np.float32), one["logits"].astype(np.float32), atol=1e-2)
    first, second = (read_results(run / "results.json") for run in (one_process, two_processes))
    assert second.test.accuracy == pytest.approx(np.mean(two["predicted"][-1] == two["label"]))
    assert second.experiences[0].evaluation.images == first.experiences[0].evaluation.images
    # A process without an image is given a stand-in, which goes through the network too.
    extra = second.totals.backbone_images - first.totals.backbone_images
    assert 0 <= extra <= 8 * 2


def test_move_to_data_on_two_nodes_makes_the_updates_of_one_process(tmp_path: Path) -> None:
    base = fit(tmp_path, "base", *MOVE, "--trainer.max_epochs=2")
    given = ("--model.base_checkpoint", str(base / "checkpoints" / "experience=0000.ckpt"))
    one = fit(tmp_path, "one", *MOVE, *given, "--data.batch_size=8")
    port = free_port()
    nodes = [
        launch(
            "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", f"--node-rank={node}",
            "--master-addr=127.0.0.1", f"--master-port={port}", "-m", "lightning_vision",
            *command(tmp_path, "two", *MOVE, *given, "--data.batch_size=4", "--trainer.num_nodes=2", "--trainer.strategy=ddp", f"--data.cache_dir={tmp_path / 'cache'}"),
            log=tmp_path / f"node{node}.log",
        )
        for node in (0, 1)
    ]  # fmt: skip
    codes = [node.wait(180) for node in nodes]
    assert codes == [0, 0], (tmp_path / "node0.log").read_text() + (tmp_path / "node1.log").read_text()
    two = tmp_path / "two"
    mine, others = weights_of(one), weights_of(two)
    assert {key: tuple(value.shape) for key, value in mine.items()} == {k: tuple(v.shape) for k, v in others.items()}
    moved = weights_of(base, 0)["network.head.weight"]
    for key, value in mine.items():
        torch.testing.assert_close(others[key], value, rtol=0, atol=1e-6)
    assert not torch.equal(mine["network.head.weight"], moved)
    assert torch.equal(mine["strategy.counts"], others["strategy.counts"])
    a, b = predictions(one), predictions(two)
    assert all(np.array_equal(a[key], b[key]) for key in a if not key.startswith("confidence"))
    alone, together = (read_results(run / "results.json").features for run in (one, two))
    assert alone is not None and together is not None and together.reused == 0
    assert together.computed == alone.computed + alone.reused, "each image is computed by one of the two"
    first, second = figures(one), figures(two)
    assert first["test"]["confusion_matrix"] == second["test"]["confusion_matrix"]
    assert first["accuracy_matrix"] == second["accuracy_matrix"]
    assert first["picked_variant"] == second["picked_variant"]
    assert len(first["anytime_accuracy"]) > 2 and first["anytime_accuracy"] == second["anytime_accuracy"]
    assert "experience 2" not in (tmp_path / "node1.log").read_text()  # rank 0 alone speaks


# ---- stopped, killed, resumed --------------------------------------------------------------------------------------


def test_two_processes_that_are_killed_and_stopped_end_where_they_would_have(
    two_processes: Path, tmp_path: Path, forks: ForkServer
) -> None:
    """One command, four times: rank 1 killed, rank 0 killed, rank 0 asked to stop, let be.

    Lightning starts the ranks of the first two, and their end depends on that; the others start as under torchrun.
    """
    words = command(tmp_path, "again", *GRADIENT, *TWO, "--data.batch_size=4", RESUME)
    run, log = tmp_path / "again", tmp_path / "log"

    def checkpoint_of_epoch(number: int) -> Callable[[], bool]:
        def there() -> bool:
            lines = (tmp_path / "shown.0").read_text().splitlines() if (tmp_path / "shown.0").exists() else []
            return any(json.loads(line)[2] >= number for line in lines)

        return there

    # Rank 1 is killed: rank 0 prints why it cannot continue, and ends.
    first = launch("lightning_vision", *words, log=log, **{SHOWN: str(tmp_path / "shown")})
    wait_for(checkpoint_of_epoch(1), 120, "the second epoch")
    os.kill(children(first.pid)[0], signal.SIGKILL)
    assert first.wait(60) == 1, log.read_text()
    assert (
        "Another process of this run ended" in log.read_text() or "local rank 1 ended with SIGKILL" in log.read_text()
    )

    # Rank 0 is killed: rank 1 ends by itself.
    log.unlink()
    second = launch("lightning_vision", *words, log=log, **{SHOWN: str(tmp_path / "shown")})
    wait_for(checkpoint_of_epoch(3), 120, "the fourth epoch")
    other = children(second.pid)[0]
    second.kill()
    second.wait()
    wait_for(lambda: not alive(other), 60, "the end of rank 1")
    assert re.search(r"\[rank 1\] error: Another process of this run ended|rank 0 \(\d+\) is gone", log.read_text())

    # Rank 0 alone is asked to stop: both write the checkpoint and stop after the same batch.
    stop = interrupt("0::5:2", signal.SIGTERM)
    third = forks.start_ranks(words, tmp_path, free_port(), **stop, **{SHOWN: str(tmp_path / "shown")})
    assert third[0].wait() == 143, third[0].log.read_text()
    assert third[1].wait() in (0, 143), third[1].log.read_text()
    said = "".join(rank.log.read_text() for rank in third)
    assert said.count("Stopped by SIGTERM") == 1
    assert "error:" not in said
    assert [path.name for path in (run / "checkpoints").glob("*")] == ["experience=0000-stage=0-last.ckpt"]
    saved = read_checkpoint(run / "checkpoints" / "experience=0000-stage=0-last.ckpt")
    shares = saved[SUMMANDS]["train_loss.mean_value"]
    assert shares.shape == (2,) and (shares > 0).all(), "each rank continues its own sum of the epoch"
    assert saved["state_dict"]["train_loss.mean_value"] == shares.sum()

    fourth = forks.start_ranks(words, tmp_path, free_port())
    assert [rank.wait() for rank in fourth] == [0, 0], fourth[0].log.read_text()
    check_equal(run, two_processes)


def test_two_processes_resume_from_a_checkpoint_without_the_frozen_weights(tmp_path: Path, forks: ForkServer) -> None:
    """Rank 0 writes them once, and every rank reads them from there."""
    frozen = (*GRADIENT, "--model.strategy=HeadOnly", "--trainer.max_epochs=4")
    words = command(tmp_path, "two", *frozen, *TWO, "--data.batch_size=4", RESUME)
    folder = tmp_path / "two" / "checkpoints"
    stopped = forks.start_ranks(words, tmp_path, free_port(), **interrupt("0::2:2", signal.SIGTERM))
    assert stopped[0].wait() == 143, stopped[0].log.read_text()
    assert stopped[1].wait() in (0, 143), stopped[1].log.read_text()
    last, kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_size)
    assert last.name == "experience=0000-stage=0-last.ckpt" and kept.name.startswith("frozen-")
    resumed = forks.start_ranks(words, tmp_path, free_port())
    assert [rank.wait() for rank in resumed] == [0, 0], resumed[0].log.read_text()
    assert [path.name for path in folder.iterdir()] == ["experience=0000.ckpt"]
    one = weights_of(fit(tmp_path, "one", *frozen, "--data.batch_size=8"))
    two = weights_of(tmp_path / "two")
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=0, atol=1e-5, msg=f"{key} differs")


# ---- what cannot work ----------------------------------------------------------------------------------------------


def test_weights_that_differ_between_processes_are_noticed(tmp_path: Path, forks: ForkServer) -> None:
    """The next fit would spread rank 0's over the others, and no one would know."""
    base = fit(tmp_path, "base", *MOVE)
    given = f"--model.base_checkpoint={base / 'checkpoints' / 'experience=0000.ckpt'}"
    words = command(tmp_path, "run", *MOVE, given, *TWO, "--model.strategy=interruptions.DependsOnRank")
    ranks = forks.start_ranks(words, tmp_path, free_port())
    assert [rank.wait() for rank in ranks] == [1, 1]
    assert "DependsOnRank left different weights on different processes" in ranks[0].log.read_text()


def test_fewer_images_than_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    few = ("--trainer.devices=5", "--trainer.strategy=ddp", "--data.stream.experiences=10")
    assert main(command(tmp_path, "run", *few)) == 2
    assert "and 5 processes. Use fewer processes" in capfd.readouterr().err


def test_processes_that_lose_what_was_learned_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ddp_spawn", "ddp_fork", "ddp_notebook", "fsdp", "deepspeed"):
        assert start(tmp_path, "run", "--trainer.devices=2", f"--trainer.strategy={name}") == 2
        assert f"trainer.strategy='{name}' cannot be used here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
