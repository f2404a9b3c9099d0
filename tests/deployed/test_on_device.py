"""Move-to-Data on the exported head: the framework's update to the last digits, kept through kills, refused where it cannot be."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from deployed.onnx_maker import write_model
from photo_folder import write_photos
from torch import nn

from lightning_vision.data.stream import Experience
from lightning_vision.deployed.head_file import head_path
from lightning_vision.deployed.on_device import OnDeviceClassifier
from lightning_vision.deployed.on_device import move_to_data as move_row
from lightning_vision.errors import CheckpointError, ConfigError, DataError, TrainingError
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network
from strategies import MoveToData
from strategies.move_to_data import move_to_data

C, D = 9, 64
NAMES = [f"class {number}" for number in range(C)]


def data(count: int = 1000, classes: int = C, seed: int = 0) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Features as a ReLU leaves them, and labels."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, D)).clip(0).astype(np.float32)
    return features, generator.integers(0, classes, count).tolist()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx", class_names=NAMES, features=D)


class TestUpdate:
    @pytest.mark.parametrize("epsilon", [1e-8, 1e-6, 1e-4, 1e-2, 0.1, 1.0])
    def test_a_thousand_images_move_the_head_as_the_framework_does(self, path: Path, epsilon: float) -> None:
        classifier = OnDeviceClassifier(path)
        start = classifier.head.weight.copy()
        features, labels = data()
        for feature, label in zip(features, labels, strict=True):
            assert classifier.learn(feature, NAMES[label], epsilon)
        expected = move_to_data(
            torch.from_numpy(start), torch.from_numpy(features), torch.tensor(labels), epsilon
        ).numpy()
        assert np.abs(classifier.head.weight - expected).max() < 1e-12
        # What a run stores in float32 is as near as float32 is.
        stored = move_to_data(
            torch.from_numpy(start).float(), torch.from_numpy(features), torch.tensor(labels), epsilon
        ).numpy()
        assert np.abs(classifier.head.weight - stored).max() < 1e-6
        assert classifier.head.counts.tolist() == np.bincount(labels, minlength=C).tolist()

    def test_classes_of_the_list_that_were_not_seen_get_a_row_as_in_a_run(self, tmp_path: Path) -> None:
        seen = [True] * 6 + [False] * 3
        classifier = OnDeviceClassifier(write_model(tmp_path / "m.onnx", class_names=NAMES, features=D, seen=seen))
        network = Network(nn.Identity(), BackboneFacts("given", D, (0.5,) * 3, (0.5,) * 3), C)
        network.classifier.weight.data = torch.from_numpy(classifier.head.weight).float()
        network.see(range(6))
        strategy, nothing = MoveToData([0.05]), np.arange(0)
        strategy.before_experience(network, Experience(1, "increment", False, (), (), (), nothing, nothing, nothing))
        features, labels = data(300, seed=1)
        features[:3] = 0  # of length 0: such a feature gives no row either
        for begin in range(0, 300, 32):
            strategy.update(
                network, torch.from_numpy(features[begin : begin + 32]), torch.tensor(labels[begin : begin + 32])
            )
        moved = [classifier.learn(v, NAMES[j], 0.05) for v, j in zip(features, labels, strict=True)]
        assert moved == [False] * 3 + [True] * 297
        assert np.abs(classifier.head.weight - strategy.heads[0].numpy()).max() < 1e-6
        assert classifier.head.seen.all()

    def test_the_equation_by_hand(self) -> None:
        row = np.array([3.0, 4.0])  # of length 5; half of the way to (0, 5)
        assert move_row(row, np.array([0.0, 7.0]), 0.5).tolist() == [1.5, 4.5]
        assert row.tolist() == [3.0, 4.0]
        assert move_row(row, np.zeros(2), 0.5).tolist() == [3.0, 4.0]
        assert move_row(row, np.array([1.0, 1.0]), 0.0).tolist() == [3.0, 4.0]

    def test_a_feature_of_length_0_moves_nothing_and_is_not_counted(self, path: Path) -> None:
        classifier = OnDeviceClassifier(path)
        before = classifier.head.weight.copy()
        assert not classifier.learn(np.zeros(D, dtype=np.float32), NAMES[0], 0.5)
        assert (classifier.head.weight == before).all() and classifier.head.counts.sum() == 0

    def test_one_row_moves_and_nothing_else(self, path: Path) -> None:
        classifier = OnDeviceClassifier(path)
        weight, bias = classifier.head.weight.copy(), classifier.head.bias.copy()
        feature = data(1)[0][0]
        kept = feature.copy()
        classifier.learn(feature, NAMES[4], 0.1)
        assert (classifier.head.weight != weight).any(axis=1).tolist() == [number == 4 for number in range(C)]
        assert (classifier.head.bias == bias).all() and (feature == kept).all()


class TestImages:
    def test_a_image_is_learned_by_its_features(self, tmp_path: Path) -> None:
        classifier = OnDeviceClassifier(write_model(tmp_path / "m.onnx"))
        other = OnDeviceClassifier(tmp_path / "m.onnx")
        for photo in sorted(write_photos(tmp_path / "photos", per_class=2).rglob("*.jpg")):
            classifier.learn(photo, photo.parent.name, 0.3)
            other.learn(other.features(photo), photo.parent.name, 0.3)
        assert (classifier.head.weight == other.head.weight).all() and classifier.head.counts.tolist() == [2, 2, 2]

    def test_predictions_follow_the_head_at_once(self, tmp_path: Path) -> None:
        classifier = OnDeviceClassifier(write_model(tmp_path / "m.onnx", seen=[True, True, False]))
        photo = write_photos(tmp_path / "photos", per_class=1) / "dogs" / "0000.jpg"
        before = classifier.predict(photo)
        assert before.probability[0, 2] == 0
        exported = classifier.model.exported_head()
        assert np.abs(before.logits[0] - exported.logits(before.features)[0]).max() < 1e-4
        classifier.learn(photo, "dogs", 1.0)
        after = classifier.predict(photo)
        assert (after.logits[0, :2] == before.logits[0, :2]).all()
        assert after.probability[0, 2] > 0 and after.logits[0, 2] > -1e9


class TestFile:
    def test_what_was_saved_is_taken_up_again(self, path: Path) -> None:
        classifier = OnDeviceClassifier(path)
        features, labels = data(20)
        for v, j in zip(features, labels, strict=True):
            classifier.learn(v, NAMES[j], 1e-8)
        assert classifier.save() == path.with_name("m.head.npz") == head_path(path)
        again = OnDeviceClassifier(path)
        for name in ("weight", "bias", "seen", "counts"):
            found, expected = getattr(again.head, name), getattr(classifier.head, name)
            assert found.dtype == expected.dtype and (found == expected).all()

    def test_a_head_of_another_model_is_refused(self, path: Path, tmp_path: Path) -> None:
        OnDeviceClassifier(path).save()
        other = write_model(tmp_path / "other.onnx", class_names=NAMES, features=D, seed=5)
        head_path(path).rename(head_path(other))
        with pytest.raises(CheckpointError, match=r"other\.head\.npz belongs to another exported classifier"):
            OnDeviceClassifier(other)

    def test_a_damaged_head_is_refused(self, path: Path) -> None:
        classifier = OnDeviceClassifier(path)
        whole = classifier.save().read_bytes()
        refused = 0
        for place in range(0, len(whole), 97):
            head_path(path).write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
            try:  # some bytes of an archive say nothing, such as the date
                assert (OnDeviceClassifier(path).head.weight == classifier.head.weight).all(), place
            except CheckpointError as error:
                assert re.search(r"m\.head\.npz (is|belongs) .* to start from the exported head", str(error))
                refused += 1
        assert refused > 0.9 * len(whole) / 97
        for length in (0, 10, len(whole) // 2, len(whole) - 1):
            head_path(path).write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match=r"m\.head\.npz is not a head file, or is damaged"):
                OnDeviceClassifier(path)

    def test_a_head_of_another_shape_or_of_no_numbers_is_refused(self, path: Path) -> None:
        classifier = OnDeviceClassifier(path)
        classifier.head.weight[0, 0] = np.nan
        classifier.save()
        with pytest.raises(CheckpointError, match=r"expected finite weight float64 \(9, 64\), found float64 \(9, 64\)"):
            OnDeviceClassifier(path)
        classifier.head.weight = np.zeros((9, 32))
        classifier.save()
        with pytest.raises(CheckpointError, match=r"expected finite weight float64 \(9, 64\), found float64 \(9, 32\)"):
            OnDeviceClassifier(path)

    def test_a_folder_that_cannot_be_written_keeps_the_old_head(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classifier = OnDeviceClassifier(path)
        old = classifier.save().read_bytes()
        classifier.learn(data(1)[0][0], NAMES[0], 0.5)

        def full(*args: object, **arrays: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(TrainingError, match=r"Cannot write .*m\.head\.npz: No space left on device"):
            classifier.save()
        assert head_path(path).read_bytes() == old and [file.name for file in path.parent.glob(".*")] == []


SAVES = """
import sys
import numpy as np
from lightning_vision.deployed.on_device import OnDeviceClassifier

classifier = OnDeviceClassifier(sys.argv[1])
while True:
    number = int(classifier.head.counts.sum())
    feature = np.random.default_rng(number).normal(size=classifier.head.weight.shape[1]).astype(np.float32)
    classifier.learn(feature, classifier.class_names[number % len(classifier.class_names)], 0.01)
    classifier.save()
    print(number, flush=True)
"""


def test_a_kill_while_saving_leaves_a_whole_head(tmp_path: Path) -> None:
    """A process that learns and saves in a loop is killed at any moment; the next one continues from the saved file."""
    names = [f"class {number}" for number in range(50)]
    path = write_model(tmp_path / "m.onnx", class_names=names, features=512)
    by_hand = OnDeviceClassifier(path)
    learned = 0
    for kill in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", SAVES, str(path)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(3)]
            time.sleep(0.003 * kill)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        classifier = OnDeviceClassifier(path)
        assert classifier.head.counts.sum() > said[-1] >= learned, "what was said to be saved is there"
        for number in range(learned, int(classifier.head.counts.sum())):
            feature = np.random.default_rng(number).normal(size=512).astype(np.float32)
            by_hand.learn(feature, names[number % 50], 0.01)
        learned = int(classifier.head.counts.sum())
        assert (classifier.head.weight == by_hand.head.weight).all(), "no half of an update, and none lost"


class TestRefused:
    def test_a_class_that_is_not_known(self, path: Path) -> None:
        with pytest.raises(
            DataError,
            match=r"has, found 'clas 3'\. It has, nearest first: class 3, .*, class 5\. A new class takes a run",
        ):
            OnDeviceClassifier(path).learn(np.ones(D, dtype=np.float32), "clas 3", 0.1)

    @pytest.mark.parametrize("epsilon", [-0.1, 1.1, float("nan")])
    def test_an_epsilon_that_is_none(self, path: Path, epsilon: float) -> None:
        with pytest.raises(ConfigError, match="Expected an epsilon within 0 and 1, found"):
            OnDeviceClassifier(path).learn(np.ones(D, dtype=np.float32), NAMES[0], epsilon)

    def test_features_that_do_not_fit(self, path: Path) -> None:
        classifier = OnDeviceClassifier(path)
        with pytest.raises(DataError, match=r"Expected finite features \(64,\), found \(63,\)"):
            classifier.learn(np.ones(D - 1, dtype=np.float32), NAMES[0], 0.1)
        with pytest.raises(DataError, match=r"Expected finite features \(64,\)"):
            classifier.learn(np.full(D, np.nan, dtype=np.float32), NAMES[0], 0.1)
        assert classifier.head.counts.sum() == 0

    def test_a_prediction_that_is_no_linear_head(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "m.onnx", linear_head=False, strategy="strategies.NearestMean")
        with pytest.raises(
            CheckpointError, match=r"m\.onnx predicts with strategies\.NearestMean, which is not a linear classifier"
        ):
            OnDeviceClassifier(path)
