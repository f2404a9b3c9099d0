"""The classification datasets of torchvision, on small ones in their real layouts."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from test_configs import SMALL, SMALL_PHOTOS, fit
from torchvision_maker import CIFAR100, PETS, drawn, write_cifar100, write_eurosat, write_mnist, write_pets, write_svhn

from datamodules import TorchvisionDataset
from datamodules.published_datasets import PUBLISHED
from lightning_vision.data.scenarios import ClassIncremental, Joint
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.image_sources import FileImages
from lightning_vision.program.shipped_configs import config_folder


def read(dataset: str, root: Path | str, **options: Any) -> TorchvisionDataset:
    quick: dict[str, Any] = {"image_size": 16, "num_workers": 0, "val_fraction": 0.0, "stream": Joint()}
    return TorchvisionDataset(dataset, root, **{**quick, **options})


def counts(data: TorchvisionDataset) -> dict[str, int]:
    return {str(split): int(count) for split, count in data.samples["split"].value_counts().items()}


class TestInMemory:
    def test_mnist(self, tmp_path: Path) -> None:
        data = read("MNIST", write_mnist(tmp_path))
        assert data.class_names[:2] == ["0 - zero", "1 - one"] and counts(data) == {"train": 30, "test": 10}
        assert data.samples["path"].iloc[[0, 30]].tolist() == ["train/000000", "test/000000"]
        for row in (0, 7, 29, 30, 39):
            number = row if row < 30 else 1000 + row - 30
            expected = torch.from_numpy(drawn(int(data.samples["label"][row]), number, 28)[..., 1])
            assert torch.equal(data.image(row), expected.expand(3, 28, 28))

    def test_cifar100(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        order = ["whale", *(name for name in CIFAR100 if name != "whale")]
        stream = ClassIncremental(experiences=20, class_order=order)
        data = read("CIFAR100", write_cifar100(tmp_path, monkeypatch), stream=stream)
        assert data.class_names == CIFAR100 and counts(data) == {"train": 300, "test": 100}
        assert [CIFAR100[label] for label in data.stream[0].classes] == [
            "apple",
            "aquarium_fish",
            "baby",
            "bear",
            "whale",
        ]
        assert np.array_equal(data.image(299).permute(1, 2, 0).numpy(), drawn(99, 299, 32))

    def test_the_labels_of_svhn_are_its_digits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = read("SVHN", write_svhn(tmp_path / "svhn", monkeypatch))
        assert data.class_names == [str(digit) for digit in range(10)]
        assert data.samples["label"].tolist()[:10] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
        assert np.array_equal(data.image(9).permute(1, 2, 0).numpy(), drawn(10, 9, 32))

    def test_without_official_parts_they_are_split_off(self) -> None:
        data = read(
            "FakeData", "", arguments={"size": 40, "image_size": [3, 8, 8], "num_classes": 2}, test_fraction=0.25
        )
        assert counts(data) == {"train": 30, "test": 10} and data.class_names == ["0", "1"]

    def test_equal_content_has_equal_digests_wherever_it_lies(self, tmp_path: Path) -> None:
        first, second = (read("MNIST", write_mnist(tmp_path / name)) for name in ("a", "b"))
        assert np.array_equal(first.prepared.digests, second.prepared.digests)
        assert len(np.unique(first.prepared.digests, axis=0)) == 40


class TestFiles:
    def test_pets_are_read_as_files(self, tmp_path: Path) -> None:
        data = read("OxfordIIITPet", write_pets(tmp_path))
        assert isinstance(data.prepared.own_source, FileImages) and data.cache_path is not None
        assert data.class_names == list(PETS) and counts(data) == {"train": 12, "test": 6}
        assert data.samples["path"].iloc[0] == "oxford-iiit-pet/images/Abyssinian_1.jpg"
        assert np.abs(data.image(0).permute(1, 2, 0).numpy().mean((0, 1)) - drawn(0, 1, 40).mean((0, 1))).max() < 2
        assert set(data.facts()["format"]) == {"JPEG"}

    def test_parts_may_be_chosen(self, tmp_path: Path) -> None:
        data = read("OxfordIIITPet", write_pets(tmp_path), splits={"train": "test", "test": "trainval"})
        assert counts(data) == {"train": 6, "test": 12}

    def test_a_damaged_file_is_named(self, tmp_path: Path) -> None:
        write_pets(tmp_path)
        (tmp_path / "oxford-iiit-pet" / "images" / "Abyssinian_2.jpg").write_bytes(b"")
        with pytest.raises(DataError, match=r"Abyssinian_2\.jpg"):
            read("OxfordIIITPet", tmp_path)
        assert counts(read("OxfordIIITPet", tmp_path, on_bad_image="skip")) == {"train": 11, "test": 6}


class TestRefused:
    def test_a_missing_dataset(self, tmp_path: Path) -> None:
        place = re.escape(str(tmp_path))
        words = (
            f"CIFAR10 was not found in {place}, which is empty; expected in {place}: cifar-10-batches-py/ with data_b"
        )
        with pytest.raises(DataError, match=f"{words}.*--data.download true downloads it"):
            read("CIFAR10", tmp_path)

    def test_a_dataset_that_torchvision_cannot_download(self, tmp_path: Path) -> None:
        for download in (False, True):
            with pytest.raises(DataError, match=r"ImageNet was not found .*torchvision cannot download ImageNet"):
                read("ImageNet", tmp_path, download=download)

    def test_a_pickle_with_another_checksum_is_not_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Harm:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "harm"),)

        import pickle

        write_cifar100(tmp_path / "data", monkeypatch)
        for name in ("train", "meta"):
            path = tmp_path / "data" / "cifar-100-python" / name
            published = path.read_bytes()
            path.write_bytes(pickle.dumps(Harm()))
            with pytest.raises(DataError, match=r"its checksum \(MD5\) is not the published one: replace it"):
                read("CIFAR100", tmp_path / "data")
            path.write_bytes(published)
        assert not (tmp_path / "harm").exists()
        assert read("CIFAR100", tmp_path / "data").num_classes == 100

    def test_a_download_without_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def offline(*given: object, **options: object) -> None:
            raise URLError("Name or service not known")

        monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", offline)
        words = "CIFAR10 could not be downloaded to .*URLError.*copy the files.*cifar-10-batches-py/"
        with pytest.raises(DataError, match=words):
            read("CIFAR10", tmp_path / "there", download=True)

    @pytest.mark.parametrize(
        ("dataset", "options", "match"),
        [
            ("CIFAR", {}, "has no 'CIFAR'. Similar names: 'CIFAR10"),
            ("ImageFolder", {}, "use --data ImageFolder"),
            ("MNIST", {"arguments": {"transform": 3}}, "'transform' cannot be given"),
            ("OxfordIIITPet", {"arguments": {"partition": 3}}, "has no argument 'partition'. It has 'split'"),
            ("MNIST", {"splits": {"train": "x"}}, "MNIST has no argument split"),
            ("OxfordIIITPet", {"splits": {"training": "x"}}, "expected a value .*'train', 'val', 'test'"),
            ("OxfordIIITPet", {"splits": {"train": "training"}}, "cannot be made with .*Unknown value 'training'"),
            ("OxfordIIITPet", {"arguments": {"target_types": "segmentation"}}, "'target_types' cannot be given"),
            ("OxfordIIITPet", {"arguments": {"split": "test"}}, "data.splits chooses: {train: test}"),
            ("CelebA", {}, "the parts of CelebA are not known here"),
        ],
    )
    def test_options(self, dataset: str, options: dict[str, Any], match: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=match):
            read(dataset, write_pets(tmp_path), **options)


def test_what_is_there_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", lambda self: pytest.fail("it is there"))
    assert read("MNIST", write_mnist(tmp_path), download=True).num_classes == 10


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    data = read("EuroSAT", write_eurosat(tmp_path), test_fraction=0.5)
    assert data.class_names == ["Forest", "River"] and counts(data) == {"train": 6, "test": 6}
    assert data.samples["path"].iloc[0] == "eurosat/2750/Forest/Forest_0.jpg"


def test_a_download_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def arrives(self: Any) -> None:
        if not (Path(self.root) / "MNIST").exists():
            write_mnist(Path(self.root))

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", arrives)
    assert counts(read("MNIST", tmp_path / "new", download=True)) == {"train": 30, "test": 10}


def test_a_dataset_of_another_task_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.FakeData, "__getitem__", lambda self, row: (None, {"box": [0, 1]}))
    with pytest.raises(
        ConfigError, match=r"one class number an image; FakeData has labels such as \{'box': \[0, 1\]\}"
    ):
        read("FakeData", tmp_path, arguments={"size": 3})


def test_facts_fit_torchvision() -> None:
    """Every dataset is one of torchvision's, and has an argument ``split`` where values of it are known."""
    import inspect

    for name, facts in PUBLISHED.items():
        arguments = inspect.signature(getattr(torchvision.datasets, name)).parameters
        assert facts.splits is None or "split" in arguments, name


def test_every_config_of_published_datasets_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {path.stem for path in (config_folder() / "published").glob("*.yaml")}
    benchmarks = {"imagenet_r", "imagenet_a", "cub200", "core50", "domainnet"}
    benchmarks |= {"online_cifar10_er", "online_cifar10_er_ace", "gdumb_cifar10"}
    assert names == {"cifar100", "hugging_face", "web_dataset", *benchmarks}, "their own tests run the others"
    write_cifar100(tmp_path / "data", monkeypatch)
    few = {"data.root": tmp_path / "data", "data.init_args.stream.init_args.experiences": 2}
    results = fit(tmp_path / "runs", "run", ["configs/published/cifar100.yaml"], {**SMALL, **SMALL_PHOTOS, **few})
    assert results.run.complete and results.class_names == CIFAR100
    assert [record.name.split(",")[0] for record in results.experiences] == ["road", "house"]


def test_emnist_is_chosen_by_an_argument(tmp_path: Path) -> None:
    """Its argument ``split`` names a set of characters and no part of it."""
    raw = write_mnist(tmp_path) / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (tmp_path / "MNIST" / "raw").iterdir():
        name = file.name.replace("t10k", "test")
        file.rename(raw / f"emnist-digits-{name}")
    data = read("EMNIST", tmp_path, arguments={"split": "digits"})
    assert counts(data) == {"train": 30, "test": 10} and data.class_names == [str(digit) for digit in range(10)]
    with pytest.raises(ConfigError, match="missing 1 required positional argument: 'split'"):
        read("EMNIST", tmp_path)
