"""results.json: nothing undefined is written, and what was written is read back."""

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
from made_results import NAN, made
from pydantic import ValidationError

from lightning_vision.errors import TrainingError
from lightning_vision.results.schema import Results, read_results, without_measurements, write_results


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
