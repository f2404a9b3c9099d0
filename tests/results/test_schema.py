"""results.json: nothing undefined is written, nothing damaged is read, and docs/results.md names every field."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from lightning_vision.errors import CheckpointError, TrainingError
from lightning_vision.results import schema as module
from lightning_vision.results.schema import Results, read_results, without_measurements, write_results
from lightning_vision.results.scores import score_predictions

NAN = float("nan")
NAMES = ["zebra", "äpfel"]
DOC = Path(__file__).parents[2] / "docs" / "results.md"


def made(seconds: float = 1.5) -> Results:
    """Results after one of two experiences, with one variant, from real predictions."""
    scores = score_predictions([0, 0, 1, 1], [0, 1, 1, 1], [0.9, 0.8, 0.7, 0.6], NAMES)
    price = {"seconds": seconds, "energy_kwh": seconds * 1e-5, "co2eq_kg": None}
    return Results.model_validate(
        {
            "schema": 2,
            "run": {
                "name": "first",
                "strategy": {"class_path": "strategies.MoveToData", "init_args": {"epsilon": [1e-6, 0.1]}},
                "base_strategy": None,
                "data": {"class_path": "datamodules.Digits", "train": 8},
                "scenario": "ClassIncremental",
                "experiences": 2,
                "seed": 3,
                "stream_hash": "ab",
                "split_hash": "cd",
                "config_hash": "ef",
                "complete": False,
            },
            "class_names": NAMES,
            "accuracy_matrix": np.array([[0.75, NAN]]).tolist(),
            "test_accuracy": [0.75],
            "seen_accuracy": [0.5],
            "chance": [0.5, NAN],
            "initial_accuracy": None,
            "average_accuracy": 0.75,
            "average_incremental_accuracy": 0.75,
            "forgetting": NAN,
            "backward_transfer": None,
            "forward_transfer": None,
            "task": {"accuracy": [1.0], "accuracy_matrix": [[1.0, None]]},
            "test": scores,
            "first_test": scores,
            "picked_variant": ["epsilon=1e-06"],
            "variants": {
                "epsilon=1e-06": {
                    "key": "epsilon",
                    "value": 1e-6,
                    "test_accuracy": [0.75],
                    "val_accuracy": [0.5],
                    "accuracy_matrix": [[0.75, None]],
                    "test": scores,
                    "extra": {"n_epsilon": {"zebra": 1e-6, "äpfel": 2e-6}},
                }
            },
            "experiences": [
                {
                    "index": 0,
                    "name": "base",
                    "classes": [0],
                    "train_samples": 8,
                    "val_samples": 2,
                    "test_samples": 2,
                    "epochs": 4,
                    "stopped_early": False,
                    **price,
                    "samples_per_second": 8 / seconds,
                    "trainable_parameters": 22,
                    "peak_memory_bytes": int(seconds * 1000),
                    "backbone_images": 32,
                    "evaluation": {**price, "images": 6},
                }
            ],
            "notes": ["after experience 0: two images"],
            "base": {**price, "from_checkpoint": None},
            "network": {"backbone": "resnet18", "total_parameters": 22, "macs": None},
            "memory_bytes": 176,
            "features": {
                "cached": True,
                "reason": "",
                "computed": 6,
                "reused": 2,
                "seconds": seconds,
                "saved_seconds": 0.5,
                "smallest_cosine": None,
            },
            "totals": {**price, "backbone_images": 38},
            "energy": {"mode": "estimated", "country": "FRA", "grid_gco2_per_kwh": 56.0 * seconds},
            "environment": {
                "python": "3.11.2",
                "torch": "2.15.0",
                "lightning": "2.6.6",
                "timm": f"1.0.{int(seconds)}",
                "device": "cpu",
                "devices": 1,
                "precision": "32-true",
                "git_commit": None,
            },
        }
    )


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(made(), path)
    once = read_results(path)
    assert once.schema_version == 2
    assert once.run.strategy.init_args == {"epsilon": [1e-6, 0.1]}
    assert once.test.confusion_matrix == [[1, 1], [0, 2]]
    assert once.environment.model_extra == {"timm": "1.0.1"}

    text = path.read_text(encoding="utf-8")
    write_results(once, path)
    assert path.read_text(encoding="utf-8") == text
    assert read_results(path) == once
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_by_itself(tmp_path: Path) -> None:
    """What a reader without this package finds: the names of the contract, null for NaN, a row of a matrix per line."""
    path = tmp_path / "results.json"
    write_results(made(), path)
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    assert list(content)[:2] == ["schema", "run"]
    assert content["schema"] == 2
    assert content["accuracy_matrix"] == [[0.75, None]]
    assert content["chance"] == [0.5, None]
    assert content["forgetting"] is None
    assert "\n      [1,1],\n      [0,2]\n" in text
    assert "äpfel" in text


def test_not_finite_never_reaches_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = made()
    # After construction, in places that pydantic does not look at again.
    results.accuracy_matrix[0][0] = float("inf")
    results.test.per_class["zebra"]["precision"] = NAN
    results.run.strategy.init_args["limit"] = [float("-inf"), {"deep": NAN}]
    results.test_accuracy.append(np.float64("nan"))
    write_results(results, path)
    read = read_results(path)
    assert read.accuracy_matrix == [[None, None]]
    assert read.test.per_class["zebra"]["precision"] is None
    assert read.run.strategy.init_args["limit"] == [None, {"deep": None}]
    assert read.test_accuracy == [0.75, None]
    assert np.isinf(results.accuracy_matrix[0][0] or 0), "what was given is not changed"


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda r: setattr(r.totals, "seconds", NAN), "totals.seconds"),
        (lambda r: setattr(r.experiences[0], "epochs", NAN), "experiences.0.epochs"),
        (lambda r: r.variants["epsilon=1e-06"].extra["n_epsilon"].update(zebra=NAN), "n_epsilon.zebra"),
        (lambda r: r.class_names.append(7), "class_names.2"),
    ],
)
def test_what_cannot_be_null_is_refused_and_the_old_file_stays(
    tmp_path: Path, spoil: Callable[[Results], None], field: str
) -> None:
    path = tmp_path / "results.json"
    write_results(made(), path)
    before = path.read_bytes()
    results = made()
    spoil(results)
    with pytest.raises(ValidationError, match=re.escape(field)):
        write_results(results, path)
    assert path.read_bytes() == before


def test_misspelt_field_is_refused() -> None:
    values = made().model_dump(by_alias=True)
    values["run"]["sead"] = 3
    values["test"]["per_class"]["zebra"]["recal"] = 0.5
    with pytest.raises(ValidationError, match=r"(?s)run\.sead.*zebra\.recal"):
        Results.model_validate(values)


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    write_results(made(), path)
    before = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(TrainingError, match=r"No space left on device.*--ckpt_path last"):
        write_results(made(2.5), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere.*No such file or directory"):
        write_results(made(), tmp_path / "nowhere" / "results.json")
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="Not a directory"):
        write_results(made(), tmp_path / "file" / "results.json")


def test_leftover_of_a_killed_write_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    (tmp_path / ".results.tmp.json").write_text('{"schema": 1, "ru')
    write_results(made(), path)
    assert read_results(path).run.name == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """Another process writes as fast as it can, and is killed; every read in between finds a whole file."""
    path = tmp_path / "results.json"
    write_results(made(), path)
    script = (
        "import sys\nfrom lightning_vision.results.schema import read_results, write_results\n"
        "results = read_results(sys.argv[1])\nprint('ready', flush=True)\n"
        "while True:\n    results.run.seed += 1\n    write_results(results, sys.argv[1])\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])},
    ) as writer:
        try:
            if writer.stdout is None or writer.stdout.readline().strip() != b"ready":
                raise RuntimeError("the writing process did not start")
            seeds = {read_results(path).run.seed for _ in range(300)}
        finally:
            writer.kill()
    assert len(seeds) > 1
    assert read_results(path).run.seed >= max(seeds)


def as_schema_1() -> dict[str, Any]:
    """The same results as version 0.1 wrote them."""
    content: dict[str, Any] = json.loads(made().model_dump_json(by_alias=True))
    content["schema"] = 1
    for later in ("task", "anytime_accuracy", "average_anytime_accuracy", "memory_bytes", "files"):
        del content[later]
    for variant in content["variants"].values():
        del variant["key"], variant["value"]
    features = content["features"]
    for now, then in (("cached", "kept"), ("reason", "why"), ("smallest_cosine", "cosine")):
        features[then] = features.pop(now)
    return content


def test_schema_1_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(as_schema_1()))
    now = json.loads(made().model_dump_json(by_alias=True))
    found = read_results(path)
    assert found == Results.model_validate(now | {"task": None, "memory_bytes": None})
    assert (found.variants["epsilon=1e-06"].key, found.variants["epsilon=1e-06"].value) == ("epsilon", 1e-6)
    write_results(found, path)
    assert json.loads(path.read_text())["schema"] == 2
    assert read_results(path) == found


@pytest.mark.parametrize("name", ["second head", "head=last"])
def test_a_variant_of_schema_1_may_bear_any_name(tmp_path: Path, name: str) -> None:
    content = as_schema_1()
    content["variants"] = {name: content["variants"]["epsilon=1e-06"]}
    (tmp_path / "results.json").write_text(json.dumps(content))
    variant = read_results(tmp_path / "results.json").variants[name]
    assert variant.key is None and variant.value is None


class TestMatricesOfTheirOwn:
    """Over 200 experiences or classes, matrices are kept in files beside results.json."""

    def large(self, classes: int = 201, experiences: int = 201) -> Results:
        names = [f"class {number}" for number in range(classes)]
        label = np.arange(classes)
        scores = score_predictions(label, np.minimum(label + 1, classes - 1), np.full(classes, 0.5), names)
        row = [0.25, *[None] * (experiences - 1)]
        values = made().model_dump(by_alias=True)
        values |= {
            "class_names": names,
            "accuracy_matrix": [row],
            "task": {"accuracy": [0.5], "accuracy_matrix": [row]},
        }
        values |= {"test": scores, "first_test": scores, "forgetting": None, "chance": [0.5, None]}
        values["variants"]["epsilon=1e-06"] |= {"test": scores, "accuracy_matrix": [row]}
        return Results.model_validate(values)

    def test_all_are_read_back(self, tmp_path: Path) -> None:
        path, results = tmp_path / "results.json", self.large()
        write_results(results, path)
        content = json.loads(path.read_text())
        variant = content["variants"]["epsilon=1e-06"]
        assert content["accuracy_matrix"] is content["task"]["accuracy_matrix"] is variant["accuracy_matrix"] is None
        assert content["test"]["confusion_matrix"] is variant["test"]["confusion_matrix"] is None
        assert sorted(content["files"]) == [
            "accuracy_matrix",
            "first_test.confusion_matrix",
            "task.accuracy_matrix",
            "test.confusion_matrix",
            "variants.epsilon=1e-06.accuracy_matrix",
            "variants.epsilon=1e-06.test.confusion_matrix",
        ]
        assert sorted({"results.json", *content["files"].values()}) == sorted(
            found.name for found in tmp_path.iterdir()
        )
        with np.load(tmp_path / content["files"]["test.confusion_matrix"]) as file:
            assert file.files == ["test.confusion_matrix"] and file["test.confusion_matrix"].trace() == 1
        assert np.load(tmp_path / content["files"]["accuracy_matrix"]).shape == (1, 201)
        found = read_results(path)
        assert found.model_copy(update={"files": {}}) == results

    def test_200_stay_in_the_file(self, tmp_path: Path) -> None:
        write_results(self.large(200, 200), tmp_path / "results.json")
        assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
        assert json.loads((tmp_path / "results.json").read_text())["files"] == {}

    def test_only_the_large_ones_leave(self, tmp_path: Path) -> None:
        write_results(self.large(2, 201), tmp_path / "results.json")
        content = json.loads((tmp_path / "results.json").read_text())
        assert content["test"]["confusion_matrix"] == [[0, 1], [0, 1]] and content["accuracy_matrix"] is None

    @pytest.mark.parametrize("count", [255, 256, 2**40])
    def test_counts_of_any_size(self, count: int, tmp_path: Path) -> None:
        path, results = tmp_path / "results.json", self.large()
        results.test.confusion_matrix[3][4] = count
        write_results(results, path)
        assert read_results(path).test.confusion_matrix == results.test.confusion_matrix

    def test_what_is_no_number_is_refused_or_becomes_one(self, tmp_path: Path) -> None:
        path, results = tmp_path / "results.json", self.large()
        matrix: Any = results.test.confusion_matrix
        matrix[3][4], results.accuracy_matrix[0][1:3] = 2.0, [NAN, float("inf")]
        write_results(results, path)
        found = read_results(path)
        assert "test.confusion_matrix" in found.files and found.test.confusion_matrix[3][4] == 2
        assert found.accuracy_matrix[0][:4] == [0.25, None, None, None]
        matrix[3][4] = 2.5
        with pytest.raises(ValidationError, match="confusion_matrix"):
            write_results(results, path)
        assert read_results(path) == found

    def test_the_same_matrices_have_the_same_file(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        write_results(self.large(), path)
        first = read_results(path).files
        write_results(self.large(), path)
        assert read_results(path).files == first

    def test_a_later_writing_replaces_the_file_of_what_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        results = Results.model_validate(self.large().model_dump(by_alias=True))  # without lists that are shared
        write_results(results, path)
        first = read_results(path).files
        written = {name: (tmp_path / name).stat().st_mtime_ns for name in first.values()}
        results.test.confusion_matrix[0][:2] = [1, 0]
        write_results(results, path)
        files = read_results(path).files
        assert files.keys() == first.keys()
        assert [place for place in files if files[place] != first[place]] == ["test.confusion_matrix"]
        assert sorted(found.name for found in tmp_path.iterdir()) == sorted({"results.json", *files.values()})
        kept = [name for name in files.values() if name in written]
        assert all((tmp_path / name).stat().st_mtime_ns == written[name] for name in kept)

    def test_rows_are_appended(self, tmp_path: Path) -> None:
        """To the file that is there, so that a long stream does not write all its rows again after each experience."""
        path, results = tmp_path / "results.json", self.large(2, 201)
        results.experiences[:] = results.experiences[:1]
        write_results(results, path)
        name = read_results(path).files["accuracy_matrix"]
        before, inode = read_results(path), (tmp_path / name).stat().st_ino
        results.experiences.append(results.experiences[0])
        results.accuracy_matrix.append([0.5, 0.75, *[None] * 199])
        with pytest.MonkeyPatch.context() as patch:  # killed after the rows and before results.json
            patch.setattr(module, "write_text_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                write_results(results, path)
        assert len(np.load(tmp_path / name)) == 2 and read_results(path) == before
        write_results(results, path)
        found = read_results(path)
        assert found.accuracy_matrix == results.accuracy_matrix and found.files == before.files
        assert (tmp_path / name).stat().st_ino == inode
        results.accuracy_matrix[1][0] = 0.25  # the last experience was evaluated again
        write_results(results, path)
        found = read_results(path)
        assert found.accuracy_matrix == results.accuracy_matrix and found.files["accuracy_matrix"] != name
        assert not (tmp_path / name).exists()

    def test_matrices_that_one_file_holds_are_read(self, tmp_path: Path) -> None:
        """As versions before wrote them."""
        path, results = tmp_path / "results.json", self.large()
        write_results(results, path)
        content = json.loads(path.read_text())
        arrays: dict[str, Any] = {}
        for place, name in content["files"].items():
            found = np.load(tmp_path / name)
            arrays[place] = found[place] if name.endswith(".npz") else found
        np.savez(tmp_path / "matrices-0.npz", **arrays)
        path.write_text(json.dumps(content | {"files": dict.fromkeys(arrays, "matrices-0.npz")}))
        assert read_results(path).model_copy(update={"files": {}}) == results

    def test_a_kill_between_the_two_files_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, results = tmp_path / "results.json", self.large()
        write_results(results, path)
        before = read_results(path)
        results.test.confusion_matrix[0][:2] = [1, 0]
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_text_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                write_results(results, path)
        assert read_results(path) == before

    @pytest.mark.parametrize(
        ("spoil", "match"),
        [
            (lambda path: path.unlink(), "No such file"),
            (lambda path: path.write_bytes(path.read_bytes()[:300]), "beside it, but"),
            (lambda path: path.write_bytes(b""), "beside it, but"),
        ],
    )
    @pytest.mark.parametrize("place", ["accuracy_matrix", "test.confusion_matrix"])
    def test_without_its_file(self, tmp_path: Path, spoil: Callable[[Path], object], match: str, place: str) -> None:
        path = tmp_path / "results.json"
        write_results(self.large(), path)
        name = read_results(path).files[place]
        spoil(tmp_path / name)
        with pytest.raises(CheckpointError, match=match) as caught:
            read_results(path)
        assert name in str(caught.value) and "Restore" in str(caught.value)

    def test_a_file_elsewhere_is_not_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        write_results(self.large(), path)
        path.write_text(re.sub(r"matrices-[\w-]+(\.np[yz])", r"../elsewhere\1", path.read_text()))
        with pytest.raises(CheckpointError, match=r"in the folder of results\.json"):
            read_results(path)


def spoilt(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(made().model_dump_json(by_alias=True))
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (spoilt(lambda c: None)[:400], r"truncated or damaged.*--ckpt_path last"),
        ("", r"truncated or damaged"),
        (spoilt(lambda c: c.update(forgetting=NAN)), r"NaN is not JSON"),
        ("[1, 2]", r"a field `schema` from 1 to 2.*found None"),
        ("{}", r"a field `schema` from 1 to 2.*found None"),
        (spoilt(lambda c: c.update(schema="1")), r"found '1'"),
        (spoilt(lambda c: c.update(schema=True)), r"found True"),
        (spoilt(lambda c: c.update(schema=3, further=[])), r"found schema 3: a newer.*Update lightning_vision"),
        (spoilt(lambda c: c.pop("test")), r"(?s)1 problem.*test: Field required"),
        (spoilt(lambda c: c["run"].update(seed="3")), r"(?s)run\.seed: Input should be a valid integer, found '3'"),
        (spoilt(lambda c: c["test_accuracy"].append("high")), r"(?s)test_accuracy\.1: .*valid number, found 'high'"),
        (spoilt(lambda c: c["energy"].update(mode="guessed")), r"(?s)energy\.mode: .*'measured' or 'estimated'"),
        (spoilt(lambda c: c.update(class_names=list(range(40)))), r"(?s)40 problem.*and 30 more"),
    ],
)
def test_damaged_file(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=match) as caught:
        read_results(path)
    assert str(path) in str(caught.value)


def test_missing_and_binary_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No such file or directory.*folder of a run"):
        read_results(tmp_path / "results.json")
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_results(tmp_path / "results.json")


def test_without_measurements() -> None:
    fast, slow = made(seconds=1.5), made(seconds=60.0)
    assert fast != slow
    kept = without_measurements(slow)
    assert json.dumps(kept) == json.dumps(without_measurements(fast))  # as text, since NaN is not equal to itself
    assert slow.totals.seconds == 60.0

    left = json.dumps(kept)
    for name in ("seconds", "samples_per_second", "energy", "co2eq", "peak_memory", "environment", "torch"):
        assert name not in left
    assert kept["totals"] == {}
    assert kept["base"] == {"from_checkpoint": None}
    assert kept["experiences"][0]["evaluation"] == {"images": 6}


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.test.confusion_matrix[0].reverse(),
        lambda r: r.variants["epsilon=1e-06"].val_accuracy.append(0.5),
        lambda r: setattr(r.experiences[0], "trainable_parameters", 33),
        lambda r: setattr(r.run, "stream_hash", "other"),
    ],
)
def test_without_measurements_keeps_what_a_run_must_repeat(change: Callable[[Results], None]) -> None:
    results = made()
    results.test.confusion_matrix[0][:] = [2, 1]
    changed = copy.deepcopy(results)
    change(changed)
    assert json.dumps(without_measurements(changed)) != json.dumps(without_measurements(results))


def test_a_class_named_like_a_measurement_is_kept() -> None:
    results = made()
    results.test.per_class["seconds"] = results.test.per_class.pop("zebra")
    assert "seconds" in without_measurements(results)["test"]["per_class"]


SECTIONS: dict[str, type[Any]] = {
    "The file": module.Results,
    "run": module.Run,
    "run.strategy": module.Component,
    "task": module.Task,
    "test": module.Scores,
    "test.per_class.*": module.ClassScores,
    "test.top_confusions[]": module.Confusion,
    "variants.*": module.Variant,
    "experiences[]": module.ExperienceRecord,
    "experiences[].evaluation": module.Evaluation,
    "base": module.Base,
    "network": module.Network,
    "totals": module.Totals,
    "features": module.Features,
    "energy": module.Energy,
    "environment": module.Environment,
}


def test_every_field_is_documented_and_no_other() -> None:
    documented: dict[str, list[str]] = {}
    for line in DOC.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## `?([^`]+)`?$", line):
            documented[heading[1]] = []
        elif row := re.match(r"\| `(\w+)` \|", line):
            documented[list(documented)[-1]].append(row[1])
    arrays = ["index", "path_hash", "label", "part", "group", "predicted", "confidence"]  # as test_run.py finds them
    documented = {section: rows for section, rows in documented.items() if rows}
    assert documented == {section: fields(model) for section, model in SECTIONS.items()} | {"predictions.npz": arrays}


def fields(model: type[Any]) -> list[str]:
    if issubclass(model, BaseModel):
        return [field.alias or name for name, field in model.model_fields.items()]
    return list(model.__annotations__)


def test_example_of_the_docs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(made(), tmp_path / "results.json")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out == "first: test accuracy 0.750\nzebra 0.5\näpfel 1.0\n"
