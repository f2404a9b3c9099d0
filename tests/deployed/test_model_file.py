"""An exported file is believed only if it is whole; predictions are those of its graph."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed.onnx_maker import PLACEHOLDER, head_of, write_model
from photo_folder import write_photos

from lightning_vision.deployed.model_file import DeployedModel
from lightning_vision.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_photos(tmp_path_factory.mktemp("photos"), per_class=3).rglob("*.jpg"))


def test_what_the_file_says(tmp_path: Path) -> None:
    model = DeployedModel(write_model(tmp_path / "m.onnx", temperature=1.5, threshold=0.7))
    assert model.class_names == ("birds", "cats", "dogs")
    assert (model.temperature, model.threshold) == (1.5, 0.7)
    assert (model.facts.backbone, model.facts.strategy, model.facts.num_features) == (
        "fields",
        "strategies.MoveToData",
        24,
    )
    assert not model.facts.quantized and len(model.facts.digest) == 64


def test_probabilities_are_the_softmax_of_logits_divided_by_the_temperature(tmp_path: Path, photos: list[Path]) -> None:
    found = DeployedModel(write_model(tmp_path / "m.onnx", temperature=2.5)).predict(photos)
    assert found.logits.shape == (9, 3) and found.features.shape == (9, 24)
    weight, bias = head_of(3, 24)
    assert np.abs(found.features @ weight.T + bias - found.logits).max() < 1e-4
    raised = np.exp(found.logits.astype(np.float64) / 2.5)
    expected = raised / raised.sum(axis=1, keepdims=True)
    assert np.abs(found.probability - expected).max() < 1e-12
    assert (found.predicted == expected.argmax(axis=1)).all() and (
        found.confidence == found.probability.max(axis=1)
    ).all()


def test_one_by_one_equals_all_at_once(tmp_path: Path, photos: list[Path]) -> None:
    model = DeployedModel(write_model(tmp_path / "m.onnx"))
    together = model.predict(photos)
    alone = np.concatenate([model.predict([photo]).logits for photo in photos])
    assert np.abs(together.logits - alone).max() < 1e-5


def test_classes_not_seen_have_no_probability(tmp_path: Path, photos: list[Path]) -> None:
    found = DeployedModel(write_model(tmp_path / "m.onnx", seen=[True, False, True], temperature=1e8)).predict(photos)
    assert (found.logits[:, 1] == -1e9).all()
    assert (found.probability[:, 1] == 0).all() and np.allclose(found.probability.sum(axis=1), 1)


def test_a_image_is_rejected_below_the_threshold(tmp_path: Path, photos: list[Path]) -> None:
    plain = DeployedModel(write_model(tmp_path / "m.onnx", temperature=4.0))
    found = plain.predict(photos)
    assert not plain.rejected(found).any()
    limit = float(np.sort(found.confidence)[4])
    strict = DeployedModel(write_model(tmp_path / "strict.onnx", temperature=4.0, threshold=limit))
    assert strict.rejected(found).sum() == 4  # the fifth has just that confidence


def test_a_confidence_that_is_1_in_float32_reaches_a_threshold_of_1(tmp_path: Path, photos: list[Path]) -> None:
    model = DeployedModel(write_model(tmp_path / "m.onnx", temperature=0.05, threshold=1.0))
    found = model.predict(photos)
    confidence = found.confidence
    assert ((confidence < 1) & (confidence.astype(np.float32) == 1)).any()
    assert (model.rejected(found) == (confidence.astype(np.float32) < 1)).all()


def test_every_altered_byte_is_noticed(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.onnx").read_bytes()
    altered = tmp_path / "altered.onnx"
    places = np.random.default_rng(0).choice(len(whole), 200, replace=False)
    for place in places.tolist():
        altered.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=r"altered\.onnx (was altered or damaged|has no digest)"):
            DeployedModel(altered)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in (1, 100, len(whole) // 2):
        cut.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut\.onnx has no digest.*truncated.*lightning-vision export"):
            DeployedModel(cut)
    cut.write_bytes(whole[:-1])
    with pytest.raises(
        CheckpointError, match=r"cut\.onnx was altered or damaged after it was exported: expected the digest"
    ):
        DeployedModel(cut)
    cut.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"cut\.onnx is empty"):
        DeployedModel(cut)
    with pytest.raises(CheckpointError, match=r"There is no exported classifier .*gone\.onnx"):
        DeployedModel(tmp_path / "gone.onnx")


def test_another_schema_names_its_reader(tmp_path: Path) -> None:
    later = write_model(tmp_path / "later.onnx", schema=7, lightning_vision="3.1.4")
    with pytest.raises(
        CheckpointError, match=r"schema 7, written by lightning_vision 3\.1\.4; this version reads schema 1"
    ):
        DeployedModel(later)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"seen": [True]}, "is inconsistent: 3 class names"),
        ({"seen": [False, False, False]}, "is inconsistent"),
        ({"temperature": 0.0}, "is inconsistent"),
        ({"temperature": "warm"}, "incomplete .*ValueError"),
        ({"preprocessing": [{"size": 3}]}, "incomplete .*KeyError: 'op'"),
    ],
)
def test_metadata_that_cannot_be_is_refused(tmp_path: Path, stated: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        DeployedModel(write_model(tmp_path / "m.onnx", stated=stated))


def test_bytes_that_are_no_network_are_refused_by_onnx_runtime(tmp_path: Path) -> None:
    text = b'no network, but {"digest": "' + PLACEHOLDER.encode() + b'"}'
    (tmp_path / "m.onnx").write_bytes(text.replace(PLACEHOLDER.encode(), hashlib.sha256(text).hexdigest().encode()))
    with pytest.raises(CheckpointError, match=r"ONNX Runtime [\d.]+ cannot load .*m\.onnx"):
        DeployedModel(tmp_path / "m.onnx")


def test_values_that_are_no_numbers_are_refused(tmp_path: Path, photos: list[Path]) -> None:
    weight = np.full((3, 24), np.nan, dtype=np.float32)
    with pytest.raises(CheckpointError, match=r"m\.onnx returns values that are not numbers"):
        DeployedModel(write_model(tmp_path / "m.onnx", weight=weight)).predict(photos)


def test_onnx_runtime_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install onnxruntime, or 'lightning_vision\[export\]'"):
        DeployedModel(write_model(tmp_path / "m.onnx"))
