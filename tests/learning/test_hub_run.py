"""A run to the Hugging Face Hub and back, with the Hub's own client and a Hub on the loopback."""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import checkpoint_of, fit, start
from hub_server import OWNER, TOKEN, HubServer, hub_of
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

import lightning_vision as lv
from lightning_vision.cli import main
from lightning_vision.comparison.reporting import build_report
from lightning_vision.errors import CheckpointError, ConfigError, DataError, TrainingError
from lightning_vision.learning.hub_run import HASHES, WEIGHTS, local_run, name_of, output_folder
from lightning_vision.report.page import ReportFiles
from lightning_vision.report.runs import GatheredRuns
from lightning_vision.storage.file_hashes import FileHashes
from lightning_vision.storage.hub_address import read_address

NAME = f"{OWNER}/squares"
ADDRESS = f"hf://{NAME}"
HOSTILE = 'red](http://evil) <script>alert(1)</script> | `x`\n---\nlicense: mit\n"]: &a *a !!python/object:os.system'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a strategy with a state of its own, with a secret and a folder of this machine among its options."""
    folder = tmp_path_factory.mktemp("runs")
    return fit(folder, "squares", "--model.strategy=StreamingLDA", "--wandb.group=mine", f"--data.root={folder}")


@pytest.fixture(scope="module")
def hub(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub that has the run."""
    with hub_of(tmp_path_factory.mktemp("hub")) as server:
        assert main(["push", str(run), NAME]) == 0
        yield server


@pytest.fixture
def files(hub: HubServer) -> Iterator[dict[str, bytes]]:
    """The files of the last commit; a new commit with changed ones is undone at the end."""
    repository = hub.repositories[NAME]
    commits = dict(repository.commits)
    yield dict(next(reversed(commits.values())))
    repository.commits = commits


def images(count: int = 4) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 20, 24, 3), dtype=np.uint8)


def test_what_is_pushed(hub: HubServer, run: Path, files: dict[str, bytes]) -> None:
    assert {
        "README.md",
        HASHES,
        WEIGHTS,
        "config.yaml",
        "results.json",
        "metrics.csv",
        "predictions.npz",
    } <= files.keys()
    assert not [name for name in files if "errors" in name or "emissions" in name or name.endswith((".ckpt", ".pt"))]
    everything = b"\n".join(files.values())
    assert str(run.parent).encode() not in everything, "no folder of this machine"
    assert TOKEN.encode() not in everything
    assert yaml.safe_load(files["config.yaml"])["data"]["init_args"]["root"] == run.parent.name
    assert hub.repositories[NAME].private is False


def test_the_weights_are_those_of_the_checkpoint(run: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(files[WEIGHTS])
    found, expected = load_file(tmp_path / WEIGHTS), checkpoint_of(run)["state_dict"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in found)


def test_the_card_is_read_by_the_hub(run: Path, files: dict[str, bytes]) -> None:
    text = files["README.md"].decode()
    data: Any = ModelCard(text).data
    results = lv.open_run(run).results
    measured = {each.metric_type: each.metric_value for each in data.eval_results}
    assert measured["accuracy"] == pytest.approx(results.test.accuracy, abs=1e-4)
    assert measured["average_incremental_accuracy"] == pytest.approx(results.average_incremental_accuracy, abs=1e-4)
    assert (data.library_name, data.pipeline_tag) == ("lightning_vision", "image-classification")
    assert {"StreamingLDA", "test_resnet", "InstanceIncremental"} <= set(data.tags)
    assert f'lv.open_run("{ADDRESS}")' in text


def test_an_opened_run_is_the_run(hub: HubServer, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the images of its data: the datamodule is not even asked to read them."""
    here = lv.open_run(run)
    expected = here.predict(images())
    monkeypatch.setattr("coloured_squares.ColouredSquares.read_samples", lambda self: pytest.fail("data was read"))
    there = lv.open_run(ADDRESS, trust_run=True)
    assert there.results.model_dump(exclude={"run"}) == here.results.model_dump(exclude={"run"})
    assert there.accuracy_matrix.equals(here.accuracy_matrix)
    assert there.predictions.equals(here.predictions)
    assert there.curves.equals(here.curves)
    assert there.predict(images()).equals(expected), "bit for bit"
    assert there.classifier().class_names == here.results.class_names
    assert there.path == lv.open_run(ADDRESS, trust_run=True).path, "written once"


def test_it_is_evaluated_where_its_data_is(hub: HubServer, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = lv.open_run(ADDRESS, trust_run=True, data_root=run.parent)
    assert there.test().scores.accuracy == lv.open_run(run).results.test.accuracy

    def nothing(self: object) -> None:
        raise DataError("data.root: nothing is there.")

    monkeypatch.setattr("coloured_squares.ColouredSquares.read_samples", nothing)
    with pytest.raises(DataError, match=r"without the images of its data.*data_root=FOLDER"):
        lv.open_run(ADDRESS, trust_run=True).test()


def test_the_command_line_reads_it(hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.fromarray(images()[0]).save(tmp_path / "photo.png")
    words = ["--ckpt_path", ADDRESS, "--trust_run", "true", str(tmp_path / "photo.png")]
    assert main(["predict", *words, "--output", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_text().count("\n") == 2


def test_its_figures_stay_and_what_is_written_about_it_is_where_one_works(
    hub: HubServer, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = local_run(ADDRESS)
    before = {path: path.read_bytes() for path in here.iterdir() if path.is_file()}
    assert main(["test", "--ckpt_path", ADDRESS, "--trust_run", "true", f"--data.root={run.parent}"]) == 0
    assert "is not changed: it is a copy of the run as it was pushed" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in here.iterdir() if path.is_file()} == before
    assert (output_folder(here), name_of(here)) == (Path(), "squares")
    assert (output_folder(run), name_of(run)) == (run, run.name)


def test_a_report_reads_it(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page itself is not drawn, which takes seconds."""
    written: list[Path] = []

    def write(comparison: GatheredRuns, output: Path, images: object) -> ReportFiles:
        written.append(output)
        return ReportFiles(output / "report.html", [], [])

    monkeypatch.setattr("lightning_vision.comparison.reporting.write_report", write)
    (group,) = build_report(ADDRESS)[0].groups
    assert [each.path for each in group.runs] == [local_run(ADDRESS)] and written == [Path("report")]
    assert main(["report", ADDRESS, "--output", "page"]) == 0 and written[-1] == Path("page")


def test_a_run_starts_from_it(hub: HubServer, tmp_path: Path) -> None:
    base = f"--model.base_checkpoint={ADDRESS}"
    assert start(tmp_path, "next", base, "--data.stream.base_fraction=0", "--model.strategy=HeadOnly") == 0
    config = yaml.safe_load((tmp_path / "next" / "config.yaml").read_text())
    assert config["model"]["base_checkpoint"] == ADDRESS, "the run can be repeated on another machine"


def test_without_network_the_cache_is_read(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = local_run(ADDRESS)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    assert local_run(ADDRESS) == path
    with pytest.raises(
        CheckpointError, match=r"hf://researcher/other is not in the cache .* HF_HUB_OFFLINE \(found: offline is on"
    ):
        local_run("hf://researcher/other")
    with pytest.raises(TrainingError, match="the Hugging Face Hub cannot be reached"):
        lv.open_run(path).push("researcher/other")
    assert len(hub.asked) == asked


def test_a_commit_is_opened_by_its_hash(hub: HubServer, files: dict[str, bytes]) -> None:
    repository = hub.repositories[NAME]
    first = next(iter(repository.commits))
    repository.commit({"results.json": b"{}"})
    assert local_run(f"{ADDRESS}@{first}").name == first
    with pytest.raises(CheckpointError, match="there is no commit, branch or tag 'v9'"):
        local_run(f"{ADDRESS}@v9")


@pytest.mark.parametrize("name", [WEIGHTS, "config.yaml", "results.json", "predictions.npz"])
def test_altered_files_are_refused(hub: HubServer, files: dict[str, bytes], name: str) -> None:
    content = bytearray(files[name])
    content[-1] ^= 1
    hub.repositories[NAME].commit({name: bytes(content)})
    with pytest.raises(
        CheckpointError, match=rf"{name} was altered after the run was pushed: expected the SHA-256 \w+, found"
    ):
        lv.open_run(ADDRESS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "a later version of lightning_vision wrote it: expected schema 1"),
        ({"files": {"../../etc/passwd.json": "0" * 64}}, r"is damaged: .*found \['../../etc/passwd.json'\]"),
        ({"files": {"checkpoints/a/b.ckpt": "0" * 64}}, "is damaged"),
        ({"files": {}}, "holds no run: expected model.safetensors"),
        ({"files": []}, "is damaged"),
    ],
)
def test_a_list_of_hashes_that_is_none(hub: HubServer, files: dict[str, bytes], change: Any, words: str) -> None:
    listed = {**json.loads(files[HASHES]), **change}
    hub.repositories[NAME].commit({HASHES: json.dumps(listed).encode()})
    with pytest.raises(CheckpointError, match=words):
        local_run(ADDRESS)


def test_weights_that_are_none(hub: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    for content, words in ((b"no tensors", "is damaged"), (None, "was not written by lightning_vision")):
        if content is None:
            save_file({"a": torch.zeros(1)}, tmp_path / WEIGHTS)
            content = (tmp_path / WEIGHTS).read_bytes()
        (tmp_path / WEIGHTS).write_bytes(content)
        listed = json.loads(files[HASHES])
        listed["files"][WEIGHTS] = FileHashes.of(tmp_path, [WEIGHTS], "").files[WEIGHTS]
        hub.repositories[NAME].commit({WEIGHTS: content, HASHES: json.dumps(listed).encode()})
        with pytest.raises(CheckpointError, match=words):
            local_run(ADDRESS)


def test_nothing_of_a_hostile_configuration_is_run(hub: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    config = yaml.safe_load(files["config.yaml"])
    config["data"] = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(tmp_path / "run")]}}
    text = yaml.safe_dump(config).encode()
    (tmp_path / "config.yaml").write_bytes(text)
    listed = json.loads(files[HASHES])
    listed["files"] |= FileHashes.of(tmp_path, ["config.yaml"], "").files
    hub.repositories[NAME].commit({"config.yaml": text, HASHES: json.dumps(listed).encode()})
    with pytest.raises(ConfigError, match=r"subprocess\.Popen.*must not run arbitrary code"):
        lv.open_run(ADDRESS).predict(images())
    assert not (tmp_path / "run").exists()


def test_a_repository_of_something_else(hub: HubServer) -> None:
    with pytest.raises(CheckpointError, match="there is no such repository on the Hugging Face Hub, or it is private"):
        local_run("hf://researcher/nothing")
    hub.repositories["researcher/bert"] = type(hub.repositories[NAME])()
    hub.repositories["researcher/bert"].commit({"config.json": b"{}"})
    with pytest.raises(
        CheckpointError,
        match=r"no whole run of lightning_vision: it has no file lightning_vision\.json\. Expected a repository",
    ):
        local_run("hf://researcher/bert")


@pytest.mark.parametrize(
    "name", ["squares", "a/b/c", "../a/b", "a/b--c", "-a/b", "a/b\n", "a/" + "b" * 96, "a/b.git", "hf://"]
)
def test_a_malformed_name(name: str, run: Path) -> None:
    with pytest.raises(ConfigError, match="Expected the name of a repository on the Hugging Face Hub, owner/name"):
        read_address(name)


def test_what_cannot_be_pushed(hub: HubServer, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = shutil.copytree(run, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    for words, code, told in (
        ([str(bare), NAME], 1, "Expected a checkpoint or the directory of a run with at least one finished experience"),
        (
            [str(tmp_path / "none"), NAME],
            1,
            "push: expected a run directory (with config.yaml and results.json), found none",
        ),
        ([str(run), "other/squares"], 2, "refuses this login (403). Expected a token that may write into 'other'"),
        ([str(run), f"{NAME}@main"], 2, "expected owner/name, found the revision 'main'"),
        ([str(run), NAME, "--output", str(run)], 2, "--output: expected an empty folder"),
    ):
        assert main(["push", *words]) == code
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("token", "told"), [(None, "found none: log in with `hf auth login`"), ("hf_wrong", "refuses this login (401)")]
)
def test_no_login_and_no_token_in_a_log(
    token: str | None,
    told: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with hub_of(tmp_path, token) as server:
        assert main(["push", str(run), NAME]) == 2
        assert not server.repositories
    said = capsys.readouterr()
    assert told in said.err
    assert str(token) not in said.err + said.out + caplog.text


def test_hostile_class_names_stay_text(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    content = json.loads((copy / "results.json").read_text())
    old, new = json.dumps(content["class_names"][0]), json.dumps(HOSTILE)
    (copy / "results.json").write_text(json.dumps(content).replace(old, new))
    checkpoint = checkpoint_of(copy)
    checkpoint["lightning_vision"]["class_names"][0] = HOSTILE
    torch.save(checkpoint, sorted((copy / "checkpoints").glob("experience=*.ckpt"))[-1])
    assert main(["push", str(copy), NAME, "--output", str(tmp_path / "repo")]) == 0
    text = (tmp_path / "repo" / "README.md").read_text()
    front, body = re.split(r"^---$", text, flags=re.MULTILINE)[1:]
    data: Any = ModelCard(text).data
    assert data.license == "unknown"
    assert yaml.safe_load(front)["license"] == "unknown"
    assert "<script>" not in body and "](http" not in body.replace(r"\]", "")
    row = next(line for line in body.splitlines() if "evil" in line and line.startswith("| "))
    assert len(re.findall(r"(?<!\\)\|", row)) == 8, "one cell"
