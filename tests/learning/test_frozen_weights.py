"""Frozen weights: in one file of a run, named by the checkpoints within it, and put together again whatever reads them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from command_line import checkpoint_of, fit, start, weights_of
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_network import tiny_network
from torch import Tensor
from trusting import write_ood_images

from lightning_vision.cli import main
from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoint_file import load_file, save_checkpoint
from lightning_vision.learning.checkpoint_identity import FROZEN
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.frozen_weights import FrozenWeights, weight_hash
from lightning_vision.learning.network import Network, freeze
from lightning_vision.learning.stage_checkpoints import AtomicCheckpoints, StageCheckpoints
from lightning_vision.trust.kept_calibration import KEY, Trusted, keep_trusted, read_trusted

# ---- what is left out ----------------------------------------------------------------------------------------------


def checkpoint(network: Network) -> dict[str, Any]:
    """What a run saves of a network."""
    return {
        "state_dict": torch.nn.ModuleDict({"network": network}).state_dict(),
        "lightning_vision": {"schema": 1},
        "epoch": 3,
    }


def saved(frozen: FrozenWeights, network: Network, name: str = "last.ckpt", *, write: bool = True) -> dict[str, Any]:
    """What is in the file of a checkpoint."""
    save_checkpoint(frozen.left_out(checkpoint(network), write=write), frozen.folder / name)
    return load_file(frozen.folder / name)  # type: ignore[no-any-return]


def check_whole(path: Path, network: Network) -> None:
    """A checkpoint is read with the weights that the network has now, bit by bit."""
    found, expected = read_checkpoint(path), checkpoint(network)
    assert found.keys() == expected.keys() and found["lightning_vision"]["schema"] == 1
    assert found["state_dict"].keys() == expected["state_dict"].keys()
    assert all(torch.equal(found["state_dict"][name], value) for name, value in expected["state_dict"].items())
    assert found["state_dict"]._metadata == expected["state_dict"]._metadata


@pytest.fixture
def network() -> Network:
    """A linear backbone with batch norm, frozen, and a head."""
    made = tiny_network(norm=True)
    freeze(made.backbone)
    return made


@pytest.fixture
def frozen(network: Network, tmp_path: Path) -> FrozenWeights:
    """At the beginning of a stage that trains the head."""
    made = FrozenWeights(tmp_path)
    made.begin_stage(network)
    return made


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("frozen-*"))


class TestLeftOut:
    def test_the_backbone_is_in_a_file_of_its_own_and_comes_back(self, network: Network, frozen: FrozenWeights) -> None:
        given = checkpoint(network)
        before = dict(given["state_dict"])
        frozen.left_out(given, write=True)
        assert given.keys() == {"state_dict", "lightning_vision", "epoch"} and dict(given["state_dict"]) == before
        found = saved(frozen, network)
        assert set(found["state_dict"]) == {"network.head.weight", "network.head.bias", "network.seen"}
        assert found["lightning_vision"]["schema"] == 2, "earlier versions say that a later one wrote it"
        (name,) = files(frozen.folder)
        assert found[FROZEN]["file"] == name
        assert set(load_file(frozen.folder / name)) == {n for n in before if n.startswith("network.backbone.")}
        check_whole(frozen.folder / "last.ckpt", network)

    def test_it_is_written_once(self, network: Network, frozen: FrozenWeights) -> None:
        saved(frozen, network)
        (name,) = files(frozen.folder)
        written = (frozen.folder / name).stat().st_mtime_ns
        for _ in range(2):
            frozen.begin_stage(network)
            network.classifier.weight.data.add_(1)
            saved(frozen, network)
        again = FrozenWeights(frozen.folder)  # of a resumed run
        again.begin_stage(network)
        saved(again, network)
        assert files(frozen.folder) == [name] and (frozen.folder / name).stat().st_mtime_ns == written
        (frozen.folder / name).unlink()
        saved(again, network)
        check_whole(frozen.folder / "last.ckpt", network)

    @pytest.mark.parametrize("changed", ["1.weight", "2.running_mean"])
    def test_what_changes_in_place_is_in_the_checkpoint(
        self, changed: str, network: Network, frozen: FrozenWeights
    ) -> None:
        """Not even torch's version counters notice a change of ``data``."""
        saved(frozen, network)
        value = network.backbone.state_dict(keep_vars=True)[changed]
        value.data.mul_(-1).add_(1e-3)
        for name in ("last.ckpt", "experience=0001.ckpt"):
            found = saved(frozen, network, name, write=name == "last.ckpt")
            assert f"network.backbone.{changed}" in found["state_dict"]
            assert f"network.backbone.{changed}" not in found[FROZEN]["names"]
            check_whole(frozen.folder / name, network)
        assert len(files(frozen.folder)) == 1, "no file for each change"

    def test_a_stage_that_trains_a_part(self, network: Network, frozen: FrozenWeights) -> None:
        """What is trained is in the checkpoint, running statistics included; the rest is in the file that there is."""
        saved(frozen, network)
        norm = network.backbone.get_submodule("2").requires_grad_(True)
        frozen.begin_stage(network)
        with torch.no_grad():
            norm.get_parameter("weight").add_(0.5)
        norm.get_buffer("running_var").add_(1)
        found = saved(frozen, network)
        names = {n.removeprefix("network.") for n in found["state_dict"]}
        assert {"backbone.2.weight", "backbone.2.running_var"} < names
        assert not any(name.startswith("backbone.1") for name in names) and len(files(frozen.folder)) == 1
        check_whole(frozen.folder / "last.ckpt", network)

    def test_a_stage_that_trains_all(self, network: Network, frozen: FrozenWeights) -> None:
        network.requires_grad_(True)
        frozen.begin_stage(network)
        assert saved(frozen, network).keys() == {"state_dict", "lightning_vision", "epoch"}
        assert files(frozen.folder) == []

    def test_a_file_is_deleted_once_no_checkpoint_names_it(self, network: Network, frozen: FrozenWeights) -> None:
        saved(frozen, network, "experience=0001.ckpt")
        (first,) = files(frozen.folder)
        network.backbone.get_parameter("1.weight").data.add_(1)
        frozen.begin_stage(network)
        saved(frozen, network, "experience=0002.ckpt")
        (second,) = set(files(frozen.folder)) - {first}
        frozen.drop_unused(ends=False)
        assert set(files(frozen.folder)) == {first, second}
        (frozen.folder / "experience=0001.ckpt").unlink()
        (frozen.folder / "experience=0002.ckpt").unlink()
        frozen.drop_unused(ends=False)
        assert files(frozen.folder) == [second], "the next experience needs it most likely"
        (frozen.folder / "damaged.ckpt").write_bytes(b"unreadable: it may name any file")
        frozen.drop_unused(ends=True)
        assert files(frozen.folder) == [second]
        (frozen.folder / "damaged.ckpt").unlink()
        frozen.drop_unused(ends=True)
        assert files(frozen.folder) == []

    def test_only_the_checkpoints_of_the_stage(self, network: Network, frozen: FrozenWeights) -> None:
        """The user's own are copied elsewhere."""
        last, other = frozen.folder / "last.ckpt", frozen.folder / "users" / "last.ckpt"
        plugin = StageCheckpoints([last], frozen)
        for path in (last, other):
            plugin.save_checkpoint(checkpoint(network), str(path))
            expected = checkpoint(network)["state_dict"]
            loaded = plugin.load_checkpoint(path, weights_only=True)["state_dict"]
            assert all(torch.equal(loaded[name], value) for name, value in expected.items())
        assert FROZEN in load_file(last) and FROZEN not in load_file(other)


def test_a_weights_hash_is_of_its_bits() -> None:
    value = torch.randn(4, 3, 2, 2)
    same = value.clone(memory_format=torch.channels_last)
    assert weight_hash(same) == weight_hash(value) == weight_hash(torch.nn.Parameter(value))
    nan = torch.full((2,), torch.nan)
    assert weight_hash(nan) == weight_hash(nan.clone())
    different = [
        value, value.reshape(3, 4, 2, 2), value.flip(0), value.double(), value.view(torch.int32),
        torch.zeros(2), -torch.zeros(2), nan, torch.zeros(0), torch.tensor(0.0), torch.tensor(False), torch.zeros(2, dtype=torch.bfloat16),
    ]  # fmt: skip
    assert len({weight_hash(each) for each in different}) == len(different)


# ---- a file that is missing or not what it was ---------------------------------------------------------------------


def gone(file: Path) -> None:
    file.rename(file.parent.parent / file.name)


def altered(file: Path) -> None:
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] += 1
    torch.save(weights, file)


def incomplete(file: Path) -> None:
    weights = load_file(file)
    weights.popitem()
    torch.save(weights, file)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def other(file: Path) -> None:
    torch.save([1], file)


FAULTS: dict[Callable[[Path], None], str] = {
    gone: r"last\.ckpt holds only what was trained; the frozen weights of its backbone are in {file}, and there is no such file in .* Copy it",
    altered: r"last\.ckpt takes the frozen weights .*{file} was changed after it was written",
    incomplete: r"last\.ckpt takes .*{file} was changed",
    cut: r"last\.ckpt takes .*{file} is damaged",
    other: r"last\.ckpt takes .*{file} was changed",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_file_that_is_needed_is_named(
    fault: Callable[[Path], None], network: Network, frozen: FrozenWeights
) -> None:
    saved(frozen, network)
    (name,) = files(frozen.folder)
    fault(frozen.folder / name)
    with pytest.raises(CheckpointError, match=FAULTS[fault].replace("{file}", name)):
        read_checkpoint(frozen.folder / "last.ckpt")
    again = FrozenWeights(frozen.folder)  # such a file is not used, but written again
    again.begin_stage(network)
    saved(again, network)
    check_whole(frozen.folder / "last.ckpt", network)


@pytest.mark.parametrize(
    "entry", [{"file": "../frozen-0123456789abcdef.pt"}, {"file": 3}, {}, "frozen", {"file": "last.ckpt"}]
)
def test_a_checkpoint_names_no_file_elsewhere(entry: object, network: Network, tmp_path: Path) -> None:
    save_checkpoint({**checkpoint(network), FROZEN: entry}, tmp_path / "odd.ckpt")
    with pytest.raises(CheckpointError, match=r"odd\.ckpt is damaged: expected the name of a file of frozen weights"):
        read_checkpoint(tmp_path / "odd.ckpt")


def test_weights_that_the_file_does_not_have(network: Network, frozen: FrozenWeights) -> None:
    found = saved(frozen, network)
    odd: list[Any] = [["network.backbone.9.weight"], [[]], None]
    for names in odd:
        save_checkpoint({**found, FROZEN: {**found[FROZEN], "names": names}}, frozen.folder / "odd.ckpt")
        with pytest.raises(CheckpointError, match=r"odd\.ckpt is damaged: frozen-.* does not hold all the weights"):
            read_checkpoint(frozen.folder / "odd.ckpt")


# ---- a run ---------------------------------------------------------------------------------------------------------

FROZEN_RUN = (
    "--model.strategy=HeadOnly",
    "--model.base_strategy=HeadOnly",
    "--trainer.max_epochs=3",
    "--keep_checkpoints=all",
    "--trainer.callbacks=test_frozen_weights.Weighed",
)


class Weighed(Callback):
    """Notes what lies in the folder of checkpoints before each epoch but a stage's first."""

    seen: ClassVar[list[dict[str, tuple[int, int]]]] = []
    """Bytes and date of each file."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = next(c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and not c.monitor)
        if trainer.current_epoch and last.dirpath is not None:
            stats = {path.name: path.stat() for path in Path(last.dirpath).iterdir()}
            self.seen.append({name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()})


@pytest.fixture(scope="module")
def seen() -> list[dict[str, tuple[int, int]]]:
    Weighed.seen.clear()
    return Weighed.seen


@pytest.fixture(scope="module")
def run(seen: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three experiences on a frozen backbone, all checkpoints kept."""
    return fit(tmp_path_factory.mktemp("runs"), "run", *FROZEN_RUN)


def bytes_of(state: dict[str, Tensor], prefix: str) -> int:
    return sum(value.nbytes for name, value in state.items() if name.startswith(prefix))


def test_bytes_written(run: Path, seen: list[dict[str, tuple[int, int]]]) -> None:
    """A checkpoint within a stage is the head, its optimizer and what Lightning adds; the backbone is written once."""
    backbone, head = (bytes_of(weights_of(run), f"network.{part}.") for part in ("backbone", "head"))
    assert len(seen) == 6, "three experiences of three epochs"
    written = {name: stat for state in seen for name, stat in state.items() if name.startswith("frozen-")}
    assert len(written) == 1 and len({state[name] for state in seen for name in written}) == 1, "once a run"
    (file,) = written
    assert backbone < written[file][0] < 1.2 * backbone + 50_000, "the overhead of a zip file"
    inner = [size for state in seen for name, (size, _) in state.items() if "stage=" in name]
    whole = (run / "checkpoints" / "experience=0000.ckpt").stat().st_size
    assert max(inner) < 3 * head + 50_000 < backbone < whole
    sizes = {path.name: path.stat().st_size for path in (run / "checkpoints").iterdir()}
    assert sorted(sizes) == ["experience=0000.ckpt", "experience=0001.ckpt", "experience=0002.ckpt", file]
    assert sizes["experience=0001.ckpt"] < 3 * head + 50_000 and sizes["experience=0002.ckpt"] > backbone
    first, second, third = (weights_of(run, t) for t in range(3))
    assert first.keys() == second.keys() == third.keys()
    assert all(torch.equal(first[n], second[n]) for n in first if n.startswith("network.backbone."))


def test_the_first_and_the_last_checkpoint_hold_all_weights(tmp_path: Path) -> None:
    """Also where a run stops; a run that keeps the last needs no other file then, and resumes all the same."""
    last = ("--keep_checkpoints=last", RESUME, "--data.stream.experiences=4")
    run = fit(tmp_path, "run", *FROZEN_RUN, *last, "--stop_after=2")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["experience=0000.ckpt", "experience=0002.ckpt"]  # fmt: skip
    fit(tmp_path, "run", *FROZEN_RUN, *last)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["experience=0000.ckpt", "experience=0003.ckpt"]  # fmt: skip
    assert all(FROZEN not in load_file(path) for path in (run / "checkpoints").iterdir())
    assert ContinualClassifier.load_from_checkpoint(run / "checkpoints" / "experience=0003.ckpt", weights_only=True)


RESUME = "--ckpt_path=last"
TASKS = {
    "validate": ("validate",),
    "test": ("test",),
    "ood": ("test", "--ood_data=ood_images"),
    "predict": ("predict",),
    "explain": ("explain", "--measured=4", "--neighbours=4", "--earlier=all"),
    "export": ("export", "--format=onnx"),
}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that failed in the second stage of its second experience: the checkpoint of the first one is left."""
    folder = tmp_path_factory.mktemp("interrupted")
    assert start(folder, "run", "--model.strategy=trial_strategies.HeadThenNotANumber") == 1
    return folder / "run"


BETWEEN, WITHIN = "experience=0001.ckpt", "experience=0001-stage=0-last.ckpt"


@pytest.fixture(params=[BETWEEN, WITHIN])
def partial(
    request: pytest.FixtureRequest, run: Path, interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A checkpoint without the frozen weights, in a copy of its run directory."""
    of = interrupted if "stage" in request.param else run
    path: Path = shutil.copytree(of, tmp_path / "copied elsewhere") / "checkpoints" / request.param
    assert FROZEN in load_file(path)
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize(
    ("partial", "task"),
    [(BETWEEN, task) for task in TASKS]
    + [(WITHIN, task) for task in TASKS if task != "export"],  # its model card needs the results of the experience
    indirect=["partial"],
)
def test_each_task_of_a_checkpoint(
    partial: Path, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ood_images(tmp_path / "ood_images")
    words = [*TASKS[task], f"--ckpt_path={partial}", "--trust_run=true"]
    assert main(words) == 0, capsys.readouterr().err
    (file,) = partial.parent.glob("frozen-*.pt")
    file.rename(tmp_path / file.name)
    assert main(words) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"{partial.name} holds only what was trained; the frozen weights of its backbone are in {file.name}" in said


def test_a_calibration_is_stored_with_all_weights(partial: Path) -> None:
    """What is written again was read as a whole."""
    before = read_checkpoint(partial)
    keep_trusted(Trusted(temperature=2.0), partial)
    (file,) = partial.parent.glob("frozen-*.pt")
    file.unlink()
    after = read_checkpoint(partial)
    assert after.keys() - before.keys() == {KEY} and read_trusted(partial) == Trusted(temperature=2.0)
    assert all(torch.equal(after["state_dict"][name], value) for name, value in before["state_dict"].items())


def test_a_run_starts_from_one(partial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (f"--model.base_checkpoint={partial}", "--data.stream.base_fraction=0", "--model.strategy=HeadOnly")
    on = fit(tmp_path, "on", *words)
    before, after = read_checkpoint(partial)["state_dict"], weights_of(on)
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("network.backbone."))
    alone = shutil.copy(partial, tmp_path / "alone.ckpt")
    assert start(tmp_path, "no", f"--model.base_checkpoint={alone}", *words[1:]) == 1
    assert "alone.ckpt holds only what was trained" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "no").exists()


def test_a_report_needs_none(run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copied / "checkpoints")
    assert main(["report", str(copied), f"--output={tmp_path / 'report'}"]) == 0


def test_lightning_itself_says_which_file_it_would_need(partial: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"frozen-\w+\.pt beside it, which Lightning does not read\. Use .*open_run"
    ):
        ContinualClassifier.load_from_checkpoint(partial, weights_only=True)


def test_a_run_whose_file_is_gone_says_so_when_it_resumes(
    interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(interrupted, tmp_path / "run")
    (file,) = (run / "checkpoints").glob("frozen-*.pt")
    file.unlink()
    again = ("--model.strategy=trial_strategies.HeadThenNotANumber", RESUME)
    assert start(tmp_path, "run", *again) == 1
    assert f"of its backbone are in {file.name}" in " ".join(capsys.readouterr().err.split())
    (run / "checkpoints" / "experience=0001-stage=0-last.ckpt").unlink()  # it resumes from the end of experience 0 then
    assert start(tmp_path, "run", *again) == 1
    assert "The loss is nan" in " ".join(capsys.readouterr().err.split())


def test_a_users_own_checkpoints_hold_all_weights(tmp_path: Path) -> None:
    own = (
        "--trainer.callbacks=ModelCheckpoint", f"--trainer.callbacks.dirpath={tmp_path / 'own'}",
        "--trainer.callbacks.every_n_epochs=1", "--trainer.callbacks.save_top_k=-1",
    )  # fmt: skip
    run = fit(tmp_path, "run", "--model.strategy=HeadOnly", "--model.base_strategy=HeadOnly", *own)
    found = list((tmp_path / "own").iterdir())
    assert len(found) == 3
    for path in found:
        assert load_file(path)["state_dict"].keys() == checkpoint_of(run)["state_dict"].keys()


def test_other_trainers_write_whole_checkpoints(network: Network, tmp_path: Path) -> None:
    AtomicCheckpoints().save_checkpoint(checkpoint(network), tmp_path / "whole.ckpt")
    assert FROZEN not in load_file(tmp_path / "whole.ckpt")
    check_whole(tmp_path / "whole.ckpt", network)
