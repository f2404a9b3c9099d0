"""torch.export's files, read again."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loaded_run import SIDE, classifier

from lightning_vision.errors import CheckpointError
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.description import Description
from lightning_vision.exporting.pt2_file import load_pt2, write_pt2
from lightning_vision.exporting.tracing import trace

EXTRA = "extra/lightning_vision.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClassifierModule, Path]:
    """A classifier, and the file that it was written to."""
    model = classifier()
    model.network.see([0, 1])
    module = ClassifierModule(model)
    facts = Description(
        ["red", "green", "blue", "grey"], [True, True, False, False], SIDE, [], [0.5] * 3, [0.5] * 3, 1.0, None,
        "test_resnet", "strategies.HeadOnly", 96, True, None, False,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("pt2") / "m.pt2"
    write_pt2(trace(module, SIDE), facts, path)
    return module, path


@pytest.fixture
def path(made: tuple[ClassifierModule, Path], tmp_path: Path) -> Path:
    """A copy, under another name."""
    return Path(shutil.copy(made[1], tmp_path / "copied.pt2"))


def change(path: Path, entry: str, new: Callable[[bytes], bytes]) -> None:
    """Write an entry of the archive anew."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, new(content) if name.endswith(entry) else content)


def with_fact(key: str, value: Any) -> Callable[[bytes], bytes]:
    return lambda text: json.dumps(json.loads(text) | {key: value}).encode()


def test_it_gives_what_the_module_gives(made: tuple[ClassifierModule, Path], path: Path) -> None:
    program, facts = load_pt2(path)
    assert facts["class_names"] == ["red", "green", "blue", "grey"]
    assert facts["opset"] is None
    for count in (1, 7):
        image = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8)
        with torch.no_grad():
            found, expected = program.module()(image), made[0](image)
        assert found.keys() == expected.keys() == {"logits", "features", "head_weight", "head_bias"}
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)


def test_the_same_classifier_gives_the_same_digest(made: tuple[ClassifierModule, Path], tmp_path: Path) -> None:
    facts = load_pt2(made[1])[1]
    again = Description(**{key: facts[key] for key in Description.__dataclass_fields__})
    write_pt2(trace(made[0], SIDE), again, tmp_path / "again.pt2")
    assert load_pt2(tmp_path / "again.pt2")[1]["digest"] == facts["digest"]


@pytest.mark.parametrize(
    ("entry", "new", "message"),
    [
        ("weight_3", lambda content: bytes([content[0] ^ 1]) + content[1:], "was altered after the export"),
        (EXTRA, with_fact("class_names", ["green", "red", "blue", "grey"]), "was altered after the export"),
        (EXTRA, with_fact("temperature", 3.0), "was altered after the export"),
        (EXTRA, with_fact("schema", 2), "with schema 2; this version reads schema 1"),
        (EXTRA, lambda text: text[:-40], "is damaged or was not written by lightning-vision export"),
        (EXTRA, lambda _: b"[]", "is damaged or was not written by lightning-vision export"),
    ],
)
def test_an_altered_file_is_refused(path: Path, entry: str, new: Callable[[bytes], bytes], message: str) -> None:
    change(path, entry, new)
    with pytest.raises(CheckpointError, match=rf"copied\.pt2 .*{message}"):
        load_pt2(path)


def test_a_truncated_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="is damaged or was not written by lightning-vision export"):
        load_pt2(path)


def test_no_file_and_another_archive(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="which does not exist"):
        load_pt2(tmp_path / "no.pt2")
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("a/b", "c")
    with pytest.raises(CheckpointError, match="is damaged or was not written by"):
        load_pt2(tmp_path / "other.pt2")


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.touched,)


def saved(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def test_code_in_a_file_is_not_run(path: Path, tmp_path: Path) -> None:
    """torch.export.load unpickles these three; a forger could make the digest fit."""
    bad = Malicious(tmp_path / "touched")

    def as_pickle(text: bytes) -> bytes:
        entries = json.loads(text)
        for entry in entries["config"].values():
            entry["use_pickle"] = True
        return json.dumps(entries).encode()

    def as_object(_: bytes) -> bytes:
        return json.dumps({"config": {"c": {"path_name": "opaque_obj_0", "use_pickle": True}}}).encode()

    ways: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("model.pt", lambda _: saved(bad)),
        ("model_weights_config.json", as_pickle),
        ("model_constants_config.json", as_object),
    ]
    for number, (entry, new) in enumerate(ways):
        copied = Path(shutil.copy(path, tmp_path / f"{number}.pt2"))
        change(copied, entry, new)
        change(copied, "weight_0", lambda _: pickle.dumps(bad))
        with pytest.raises(CheckpointError, match="contains more than tensors and a graph, which could be code"):
            load_pt2(copied)
    assert not (tmp_path / "touched").exists()
