"""Avalanche's benchmarks as streams, on benchmarks that are generated here: nothing is downloaded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import fit
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from datamodules import Avalanche
from lightning_vision.data.scenarios import DomainIncremental, FromColumn, Joint
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.results.schema import read_results

pytestmark = pytest.mark.filterwarnings("ignore")
HERE = "test_avalanche"
"""This file is a module that a dotted path may name."""
NORMALISED = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.1] * 3)])


class Images(Dataset[tuple[Any, int]]):
    """Images of 8x6 pixels whose red is ten times the class and whose green is the row."""

    def __init__(self, count: int, classes: int = 4, kind: str = "pil", blue: int = 0, shape: str = "") -> None:
        self.targets = [row % classes for row in range(count)]
        self.classes = ["ant", "bee", "cat", "dog"][:classes]
        self.kind, self.blue, self.shape = kind, blue, shape

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        image = Image.new("RGB", (8, 6), (10 * self.targets[row], row, self.blue))
        return image if self.kind == "pil" else np.asarray(image), self.targets[row]


def new_classes(count: int = 40, **options: Any) -> Any:
    from avalanche.benchmarks import nc_benchmark

    given = {"n_experiences": 2, "task_labels": False, "shuffle": False} | options
    train, test = Images(count), Images(count // 2, blue=200)
    return nc_benchmark(train, test, train_transform=NORMALISED, eval_transform=NORMALISED, **given)


def new_instances(count: int = 48) -> Any:
    from avalanche.benchmarks import ni_benchmark

    return ni_benchmark(Images(count), Images(count // 2, blue=200), 3, balance_experiences=True)


def tensors(
    experiences: int = 2, tests: int | None = None, kind: str = "unit", classes: int = 3, size: int = 16
) -> Any:
    """Learnable images as tensors: a float32 from 0 to 1, normalised, or grey."""
    from avalanche.benchmarks import tensors_benchmark

    def part(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(count) % classes
        unit = (labels[:, None, None, None] / classes + torch.rand(count, 3, size, size) / classes).clamp(0, 1)
        values = {"unit": unit, "normalised": (unit - 0.5) / 0.2, "grey": (unit[:, :1] * 255).to(torch.uint8)}[kind]
        return values, labels

    return tensors_benchmark(
        [part(24) for _ in range(experiences)],
        [part(12) for _ in range(experiences if tests is None else tests)],
        task_labels=[0] * experiences,
        complete_test_set_only=tests == 1,
    )


def inverted(experiences: int = 2) -> Any:
    """Domains as PermutedMNIST makes them: a frozen transform an experience, here one that inverts the second."""
    from avalanche.benchmarks import nc_benchmark
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset as make_dataset
    from avalanche.benchmarks.utils.data import make_avalanche_dataset
    from avalanche.benchmarks.utils.transform_groups import DefaultTransformGroups

    def part(count: int, number: int) -> Any:
        frozen = DefaultTransformGroups((v2.RandomInvert(p=1.0) if number else v2.Identity(), None))
        plain = make_dataset(Images(count))
        return make_avalanche_dataset(plain, frozen_transform_groups=frozen)

    return nc_benchmark(
        [part(24, number) for number in range(experiences)],
        [part(12, number) for number in range(experiences)],
        experiences,
        task_labels=False,
        shuffle=False,
        class_ids_from_zero_in_each_exp=True,
        one_dataset_per_exp=True,
        train_transform=NORMALISED,
        eval_transform=NORMALISED,
    )


def with_validation() -> Any:
    from avalanche.benchmarks import benchmark_with_validation_stream

    made = benchmark_with_validation_stream(new_classes(), 0.25, shuffle=True, seed=1)
    made.streams  # noqa: B018 - a copy, so another stream is put beside
    made._streams["replay"] = made.streams["train"]
    return made


def without_test() -> Any:
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset

    made = benchmark_from_datasets(train=[as_classification_dataset(Images(40)) for _ in range(2)])
    made.class_names = ["Ameise", "Biene", "Katze", "Hund"]
    return made


def mismatched() -> Any:
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset

    sets = [as_classification_dataset(Images(8)) for _ in range(5)]
    return benchmark_from_datasets(train=sets[:3], test=sets[3:])


def drawing() -> Any:
    """An order of classes without a seed of its own."""
    return new_classes(shuffle=True)


def offline(dataset_root: str | None = None) -> Any:
    raise OSError(f"no network to fill {dataset_root} from")


class Unfit:
    """What is no benchmark of images and classes."""

    class _Experience:
        dataset = None

    streams = {"train": [_Experience()]}  # noqa: RUF012 - read only


unfit = Unfit()
nothing = 3


def read(function: str, arguments: dict[str, Any] | None = None, **options: Any) -> Avalanche:
    small = {"batch_size": 4, "num_workers": 0, "image_size": 8} | options
    return Avalanche(f"{HERE}.{function}", arguments, **small)


def counts(data: Avalanche) -> list[tuple[int, int, int]]:
    """Images of each experience in training, validation and test data."""
    return [(len(item.indices), len(item.val_indices), len(item.test_indices)) for item in data.stream]


class TestStreams:
    def test_new_classes(self) -> None:
        data = read("new_classes")
        assert data.class_names == ["ant", "bee", "cat", "dog"]
        assert [[data.class_names[label] for label in item.classes] for item in data.stream] == [
            ["ant", "bee"],
            ["cat", "dog"],
        ]
        assert isinstance(data.scenario, FromColumn) and counts(data) == [(18, 2, 10), (18, 2, 10)]
        assert data.samples["path"].iloc[[0, 20, 40]].tolist() == ["train/0/0", "train/1/0", "test/0/0"]
        described = data.describe()
        assert described["init_args"]["benchmark"] == "test_avalanche.new_classes"
        assert described["init_args"]["stream"]["init_args"] == {
            "seed": 0,
            "column": "experience",
            "date_format": None,
            "common_test": False,
        }
        batch = next(iter(data.evaluation_loader("test")))
        assert batch["image"].shape == (4, 3, 8, 8) and batch["image"][:, 2].unique().tolist() == [200]

    def test_each_image_is_its_own_row_s(self) -> None:
        data = read("new_classes")
        for row in range(len(data.samples)):
            red, green, blue = data.load_image(row)[:, 3, 3].tolist()
            assert red == 10 * data.samples["label"][row]
            assert green % 4 == data.samples["label"][row]
            assert (blue == 200) == (data.samples["split"][row] == "test")
        assert data.load_image(0).shape == (3, 6, 8) and data.load_image(0).dtype == torch.uint8

    def test_one_test_set_for_new_classes_goes_by_class(self) -> None:
        from avalanche.benchmarks import nc_benchmark

        made = new_classes()
        single = nc_benchmark(Images(40), Images(20, blue=200), 1, False, shuffle=False)
        made._streams["test"] = single.streams["test"]
        globals()["made"] = made
        data = read("made")
        assert data.samples.loc[data.samples["split"] == "test"].groupby("experience")["label"].unique().map(
            sorted
        ).tolist() == [[0, 1], [2, 3]]
        with pytest.raises(ConfigError, match=r"test_avalanche\.made is already a benchmark and is not called"):
            read("made", {"count": 3})

    def test_one_test_set_for_new_instances_is_dealt(self, capsys: pytest.CaptureFixture[str]) -> None:
        data = read("new_instances")
        assert [part[2] for part in counts(data)] == [8, 8, 8]
        test = data.samples[data.samples["split"] == "test"]
        assert (test.groupby(["experience", "label"]).size() == 2).all()
        assert "has one test experience for 3 training experiences" in capsys.readouterr().err
        assert read("new_instances").split_hash == data.split_hash
        assert read("new_instances").stream.hash == data.stream.hash, "what it draws is drawn by data.seed"

    def test_what_is_drawn_is_drawn_by_the_seed_and_nothing_else_is_moved(self) -> None:
        torch.manual_seed(5)
        before = torch.rand(3)
        torch.manual_seed(5)
        orders = [[item.classes for item in read("drawing", seed=seed).stream] for seed in (0, 0, 1, 2, 3)]
        assert torch.equal(torch.rand(3), before)
        assert orders[0] == orders[1]
        assert any(order != orders[0] for order in orders)

    def test_frozen_transforms_are_part_of_the_images(self) -> None:
        data = read("inverted", stream=DomainIncremental(by="experience"))
        assert data.load_image(1)[:, 0, 0].tolist() == [0, 4, 0]  # class by class, so the second image is row 4
        assert data.load_image(24 + 1)[:, 0, 0].tolist() == [255, 251, 255]
        assert data.stream.full_matrix and counts(data)[1][2] == 12

    def test_a_validation_stream_and_others(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert counts(read("with_validation")) == [(15, 5, 10), (15, 5, 10)]
        assert "the streams 'replay' are not used" in capsys.readouterr().err

    def test_without_a_test_stream_one_is_cut(self) -> None:
        data = read("without_test")
        assert data.class_names == ["Ameise", "Biene", "Katze", "Hund"]
        assert [sum(part) for part in counts(data)] == [40, 40] and [part[2] for part in counts(data)] == [8, 8]

    def test_one_experience_is_learned_jointly(self) -> None:
        data = read("tensors", {"experiences": 1})
        assert isinstance(data.scenario, Joint) and counts(data)[0][2] == 12

    def test_class_numbers(self, capsys: pytest.CaptureFixture[str]) -> None:
        order = {"fixed_class_order": [3, 1, 0, 2]}
        plain = read("new_classes", order)
        assert [set(item.classes) for item in plain.stream] == [{1, 3}, {0, 2}]
        first = read("new_classes", order | {"class_ids_from_zero_from_first_exp": True})
        assert first.class_names == ["dog", "bee", "ant", "cat"]
        assert "equal numbers" not in capsys.readouterr().err
        each = read("new_classes", order | {"class_ids_from_zero_in_each_exp": True})
        assert each.class_names == ["0", "1"]
        assert "equal numbers are treated as one class" in capsys.readouterr().err


class TestImages:
    @pytest.mark.parametrize("kind", ["unit", "grey"])
    def test_tensors(self, kind: str) -> None:
        data = read("tensors", {"kind": kind})
        image = data.load_image(2)
        assert image.shape == (3, 16, 16) and image.dtype == torch.uint8
        assert int(image.min()) >= 165
        assert data.class_names == ["0", "1", "2"]
        if kind == "grey":
            assert torch.equal(image[0], image[2])

    @pytest.mark.parametrize(
        ("given", "pixel"),
        [
            (np.full((4, 5, 3), 7, dtype=np.uint8), [7, 7, 7]),
            (np.full((4, 5), 0.5, dtype=np.float32), [128, 128, 128]),
            (np.full((4, 5, 1), True), [255, 255, 255]),
            (np.full((4, 5), 0x1234, dtype=np.uint16), [0x12] * 3),
            (torch.full((1, 4, 5), 9, dtype=torch.int64), [9, 9, 9]),
            (Image.new("RGBA", (5, 4), (10, 20, 30, 0)), [255, 255, 255]),
            (Image.new("L", (5, 4), 33), [33, 33, 33]),
            (Image.new("1", (5, 4), 1), [255, 255, 255]),
        ],
    )
    def test_of_any_kind(self, given: Any, pixel: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Images, "__getitem__", lambda self, row: (given, self.targets[row]))
        image = read("new_classes").load_image(0)
        assert image.shape == (3, 4, 5) and image.dtype == torch.uint8
        assert image[:, 1, 1].tolist() == pixel

    @pytest.mark.parametrize(
        ("given", "match"),
        [
            (np.zeros((4, 5, 4, 3)), r"train experience 0: expected an image of 1 or 3 channels .* \(4, 5, 4, 3\)"),
            (np.full((4, 5), np.nan), "expected float64 pixels from 0 to 1, found nan to nan"),
            (np.full((4, 5), 300), "expected int64 pixels from 0 to 255, found 300 to 300"),
            ("a/path.jpg", "expected an image .*, found a str"),
        ],
    )
    def test_what_is_none_is_refused(self, given: Any, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Images, "__getitem__", lambda self, row: (given, self.targets[row]))
        with pytest.raises(DataError, match=match):
            read("new_classes")

    def test_normalised_by_the_data_set_itself(self) -> None:
        with pytest.raises(DataError, match=r"from 0 to 1, found -2.* to .*dataset normalises its images"):
            read("tensors", {"kind": "normalised"})


class TestRefused:
    @pytest.mark.parametrize(
        ("function", "arguments", "error", "match"),
        [
            ("new_clases", {}, ConfigError, "test_avalanche has no 'new_clases'. Similar names: new_classes"),
            ("tensors", {"sise": 3}, ConfigError, r"cannot be called with \{'sise': 3\}: .*'sise'\. It takes \(exp"),
            ("nothing", {}, ConfigError, "returned a int; expected an Avalanche benchmark with a stream 'train'"),
            ("unfit", {}, DataError, "train experience 0 has no dataset with targets"),
            ("mismatched", {}, DataError, "the test stream has 2 experiences and the training stream 3"),
            (
                "offline",
                {},
                DataError,
                "could not be created with .*'dataset_root': '/data/there'.*OSError: no network",
            ),
        ],
    )
    def test_in_words(self, function: str, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            read(function, arguments, root="/data/there")

    def test_what_avalanche_refuses(self) -> None:
        with pytest.raises(DataError, match=r"could not be created with .*ValueError: Invalid mutually exclusive"):
            both = {"class_ids_from_zero_from_first_exp": True, "class_ids_from_zero_in_each_exp": True}
            read("new_classes", both)

    def test_no_module(self) -> None:
        for path in ("SplitMNIST", "no_such_module.SplitMNIST"):
            with pytest.raises(ConfigError, match=f"expected a dotted path .*, found '{path}'"):
                Avalanche(path)

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "avalanche"]:
            monkeypatch.delitem(sys.modules, name)

        class Hidden:
            """Finds nothing of it."""

            def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
                if name.split(".")[0] == "avalanche":
                    raise ModuleNotFoundError(f"No module named {name!r}", name="avalanche")

        monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
        with pytest.raises(ConfigError, match=r"not installed\. pip install 'lightning_vision\[avalanche\]'"):
            Avalanche("avalanche.benchmarks.SplitMNIST", {"n_experiences": 5})


def test_a_run_through_the_command_line(tmp_path: Path) -> None:
    """Options as a person gives them; the images are transformed as those of any datamodule."""
    run = fit(
        tmp_path,
        "tensors",
        "--data=datamodules.Avalanche",
        "--data.benchmark=test_avalanche.tensors",
        "--data.arguments={experiences: 2}",
        "--data.num_workers=0",
        "--data.image_size=16",
        "--data.eval_transforms=[resize]",
        "--data.stream=FromColumn",
        "--data.stream.column=experience",
    )
    results = read_results(run / "results.json")
    assert results.run.complete and results.run.experiences == 2
    assert results.test.accuracy is not None
    assert results.run.scenario == "FromColumn"


def test_avalanche_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, datamodules.avalanche; sys.exit('avalanche' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
