"""ImageNet-R and -A, CORe50 and DomainNet in their layouts on the disk, and what is wrong with them told in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_maker import (
    DOMAIN_NET_CLASSES,
    PUBLISHED_PREFIX,
    SYNSETS,
    published_test_names,
    write_core50,
    write_domain_net,
    write_filelists,
    write_imagenet_r,
    write_published_list,
    write_split_imagenet,
)
from spoiling import Spoil, append, put, remove, together

from datamodules import CORe50, ImageFolder
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import ClassIncremental, DomainIncremental, FromColumn, Joint
from lightning_vision.errors import UserError

NAMES = ["goldfish", "great white shark", "crane (n02012849)", "crane (n03126707)"]


def read(kind: type[StreamDataModule], root: Path, **options: Any) -> Any:
    quick = {"image_size": 16, "num_workers": 0, "val_fraction": 0.0, "stream": Joint()}
    return kind(root, **{**quick, **options})


def counts(data: StreamDataModule) -> dict[str, int]:
    return {str(split): int(count) for split, count in data.samples["split"].value_counts().items()}


class TestImageNetR:
    def test_the_readme_names_the_classes_which_keep_the_order_of_their_folders(self, tmp_path: Path) -> None:
        data = read(ImageFolder, write_imagenet_r(tmp_path / "imagenet-r"), label_names="README.txt")
        assert data.class_names == NAMES
        first = data.samples.groupby("label")["path"].first().str.split("/").str[0]
        assert first.tolist() == list(SYNSETS)

    def test_without_the_option_the_readme_is_pointed_out(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = read(ImageFolder, write_imagenet_r(tmp_path / "imagenet-r"))
        assert data.class_names == list(SYNSETS)
        assert "has the names of the classes. To use them, set data.label_names=README.txt" in capsys.readouterr().err

    @pytest.mark.parametrize("form", ["yaml", "text", "text with class numbers"])
    def test_a_published_list_is_the_test_set(self, form: str, tmp_path: Path) -> None:
        root, names = write_imagenet_r(tmp_path / "imagenet-r"), published_test_names()
        file = write_published_list(tmp_path / "test.yaml", names)
        if form != "yaml":
            file = tmp_path / "test.txt"
            lines = [f"{name} 7" if form != "text" else name.removeprefix(PUBLISHED_PREFIX) for name in names]
            file.write_text("\n".join(lines), encoding="utf-8")
        data = read(ImageFolder, root, test_list=file)
        assert counts(data) == {"train": 32, "test": 8}
        tested = data.samples.loc[data.samples["split"] == "test", "path"]
        assert sorted(tested) == sorted(name.removeprefix(PUBLISHED_PREFIX) for name in names)

    def test_train_and_test_folders(self, tmp_path: Path) -> None:
        data = read(ImageFolder, write_split_imagenet(tmp_path / "imagenet-a"))
        assert counts(data) == {"train": 32, "test": 8} and data.class_names == list(SYNSETS)

    def test_a_published_order_by_number(self, tmp_path: Path) -> None:
        root = write_imagenet_r(tmp_path / "imagenet-r")
        stream = ClassIncremental(4, class_order=[3, 1, 0, 2])
        data = read(ImageFolder, root, label_names="README.txt", stream=stream)
        assert [item.classes for item in data.stream] == [(3,), (1,), (0,), (2,)]


class TestCORe50:
    def test_sessions_and_objects_are_columns(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = write_core50(tmp_path / "core50")
        data = read(CORe50, root)
        assert data.class_names == ["plug_adapter1", "plug_adapter2", "mobile_phone1"]
        assert counts(data) == {"train": 27, "test": 18}
        row = data.samples[data.samples["path"] == "core50_128x128/s4/o6/C_04_06_002.png"].iloc[0]
        assert (row["session"], row["object"], row["group"], row["label"]) == (4, 6, "s4/o6", 2)
        assert set(data.samples.loc[data.samples["split"] == "test", "session"]) == {3, 7}
        assert "3 of 50 classes of CORe50 have images" in capsys.readouterr().err
        inside = read(CORe50, root / "core50_128x128")
        assert inside.samples["path"].iloc[0] == "s1/o1/C_01_01_000.png" and len(inside.samples) == 45

    def test_five_objects_are_a_category(self, tmp_path: Path) -> None:
        data = read(CORe50, write_core50(tmp_path / "core50"), level="category")
        assert data.class_names == ["plug_adapter", "mobile_phone"]
        assert data.samples.groupby("object")["label"].first().to_dict() == {1: 0, 2: 0, 6: 1}

    def test_new_sessions_and_one_test_set_for_all(self, tmp_path: Path) -> None:
        root = write_core50(tmp_path / "core50")
        with pytest.raises(UserError, match=r"no image with session = '3', '7'.*data\.stream\.common_test"):
            read(CORe50, root, stream=DomainIncremental(by="session"))
        data = read(CORe50, root, stream=DomainIncremental(by="session", common_test=True))
        assert [item.name for item in data.stream] == ["1", "2", "4"]
        assert [len(item.test_indices) for item in data.stream] == [6, 6, 6]
        for item in data.stream:
            assert set(data.samples["session"].iloc[item.indices]) == {int(item.name)}
            assert set(data.samples["label"].iloc[item.test_indices]) == {0, 1, 2}, "stratified by class"

    def test_an_official_run_orders_the_batches(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = write_core50(tmp_path / "core50")
        write_filelists(root, sessions=(4, 1))
        stream = FromColumn("batch", common_test=True)
        data = read(CORe50, root, filelists="batches_filelists/NI_inc/run0", stream=stream)
        assert [set(data.samples["session"].iloc[item.indices]) for item in data.stream] == [{4}, {1}]
        assert counts(data) == {"train": 18, "test": 18} and 2 not in set(data.samples["session"])
        assert "9 images in none of its lists, not used" in capsys.readouterr().err

    def test_depth_images_beside_them_are_counted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = write_core50(tmp_path / "core50")
        colour = root / "core50_128x128" / "s1" / "o1" / "C_01_01_000.png"
        colour.with_name("D_01_01_000.png").write_bytes(colour.read_bytes())
        assert len(read(CORe50, root).samples) == 45
        assert "skipped 1 file (1 depth images)" in capsys.readouterr().err

    def test_files_that_could_be_code_are_not_opened(self, tmp_path: Path) -> None:
        """``paths.pkl`` and the others are pickles."""
        root = write_core50(tmp_path / "core50")
        for name in ("paths.pkl", "labels.pkl", "LUP.pkl"):
            (root / name).chmod(0)
        assert len(read(CORe50, root).samples) == 45


class TestDomainNet:
    @pytest.mark.parametrize("lists", ["", "splits", "txt"])
    def test_domains_are_a_column_and_the_lists_the_split(
        self, lists: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = write_domain_net(tmp_path / "domainnet", lists=lists)
        data = read(ImageFolder, root, stream=DomainIncremental())
        assert data.class_names == list(DOMAIN_NET_CLASSES) and counts(data) == {"train": 36, "test": 18}
        assert [item.name for item in data.stream] == ["clipart", "real", "sketch"]
        for item in data.stream:
            rows = [*item.indices, *item.test_indices]
            assert {path.split("/")[0] for path in data.samples["path"].iloc[rows]} == {item.name}
        told = capsys.readouterr().err
        assert "is DomainNet: its labels and official split are used" in told and "9 images not named" in told

    def test_a_class_that_one_domain_does_not_train(self, tmp_path: Path) -> None:
        """The t-shirts of the paintings are in the test list alone."""
        root = write_domain_net(tmp_path / "domainnet", domains=("clipart", "painting"))
        file = root / "painting_train.txt"
        kept = [line for line in file.read_text().split("\n") if "t-shirt" not in line]
        file.write_text("\n".join(kept))
        data = read(ImageFolder, root, stream=DomainIncremental())
        assert [item.classes for item in data.stream] == [(0, 1, 2), (0, 2)]
        assert set(data.samples["label"].iloc[data.stream[1].test_indices]) == {0, 1, 2}

    def test_a_root_one_level_too_high(self, tmp_path: Path) -> None:
        root = write_domain_net(tmp_path / "datasets" / "domainnet")
        with pytest.raises(UserError, match="one level too high for DomainNet"):
            read(ImageFolder, root.parent)


def rename(old: str, new: str) -> Spoil:
    return lambda root: (root / old).rename(root / new)


def test_list_of(*names: str) -> Spoil:
    return put("test.txt", "".join(f"{name}\n" for name in names))


test_list_of.__test__ = False  # type: ignore[attr-defined]  # no test, whatever its name

RUN = "batches_filelists/NI_inc/run0"
IMAGES = "core50_128x128"


def make_run(root: Path) -> Path:
    write_core50(root)
    write_filelists(root)
    return root


@pytest.mark.parametrize(
    ("make", "spoil", "kind", "options", "words"),
    [
        (write_imagenet_r, put("README.txt", "n01443537 goldfish\n"), ImageFolder, {"label_names": "README.txt"}, ["README.txt has no name for 3 class folders", "'n01484850'"]),
        (write_imagenet_r, remove("README.txt"), ImageFolder, {"label_names": "README.txt"}, ["data.label_names: there is no file", "README.txt"]),
        (write_imagenet_r, put("README.txt", "Renditions.\n"), ImageFolder, {"label_names": "README.txt"}, ["data.label_names", "has 1 names and no labels"]),
        (write_imagenet_r, remove("README.txt"), ImageFolder, {"test_list": "test.txt"}, ["data.test_list: there is no file", "test.txt"]),
        (write_imagenet_r, put("test.txt", "# none\n"), ImageFolder, {"test_list": "test.txt"}, ["test.txt is empty", "the name of an image on each line"]),
        (write_imagenet_r, test_list_of("n01443537/art_0.jpg", *(f"n01443537/none_{n}.jpg" for n in range(9))), ImageFolder, {"test_list": "test.txt"}, ["9 of 10 names not found", "'n01443537/none_0.jpg'", "and 4 more"]),
        (write_imagenet_r, test_list_of("art_0.jpg"), ImageFolder, {"test_list": "test.txt"}, ["1 of 1 name of the name of several images"]),
        (write_imagenet_r, put("test.yaml", "targets: [1, 2]\n"), ImageFolder, {"test_list": "test.yaml"}, ["must hold a list of names, alone or under the key 'data'"]),
        (write_imagenet_r, test_list_of(*(f"{s}/{r}_{n}.jpg" for s in SYNSETS for r in ("art", "cartoon", "misc", "sketch", "tattoo") for n in (0, 1))), ImageFolder, {"test_list": "test.txt"}, ["names all 40 images; none is left to learn from"]),
        (write_imagenet_r, test_list_of("n01443537/art_0.jpg"), ImageFolder, {"test_list": "test.txt", "split": "80/20"}, ["data.test_list and data.split=80/20 both divide the data"]),
        (write_split_imagenet, test_list_of("n01443537/misc_0.jpg"), ImageFolder, {"test_list": "test.txt"}, ["are divided already", "Remove one of the two"]),
        (write_core50, rename(IMAGES, "core50"), CORe50, {}, ["CORe50 was not found in", "one level too high", "https://vlomonaco.github.io/core50"]),
        (write_core50, remove(IMAGES), CORe50, {}, ["CORe50 was not found in", "core50_128x128/s1/o1/C_01_01_000.png"]),
        (write_core50, lambda root: (root / "core50_32x32").mkdir(), CORe50, {}, ["several sizes, 'core50_128x128', 'core50_32x32'", "Choose one"]),
        (write_core50, rename(f"{IMAGES}/s4", f"{IMAGES}/s12"), CORe50, {}, ["s12: CORe50 has the sessions s1 to s11"]),
        (write_core50, rename(f"{IMAGES}/s4/o6", f"{IMAGES}/s4/o51"), CORe50, {}, [f"{IMAGES}/s4/o51: CORe50 has the objects o1 to o50"]),
        (write_core50, rename(f"{IMAGES}/s4/o6", f"{IMAGES}/s4/o7"), CORe50, {}, ["3 problems", "o7/C_04_06_000.png: is no image of this session and object, whose names are C_04_07_<frame>.png", "on_bad_image=skip"]),
        (write_core50, remove(f"{IMAGES}/s1/o1/C_01_01_000.png"), CORe50, {"filelists": RUN}, ["data.filelists: there is no folder", "such as batches_filelists/NI_inc/run0"]),
        (make_run, remove(f"{RUN}/train_batch_01_filelist.txt"), CORe50, {"filelists": RUN}, ["lacks train_batch_01_filelist.txt", "Unpack batches_filelists.zip again"]),
        (make_run, remove(f"{RUN}/test_filelist.txt"), CORe50, {"filelists": RUN}, ["lacks test_filelist.txt"]),
        (make_run, put("batches_filelists/NI_inc/note.txt", ""), CORe50, {"filelists": "batches_filelists/NI_inc"}, ["no list of a training batch in", "the folder of one run"]),
        (make_run, remove(f"{IMAGES}/s4/o6"), CORe50, {"filelists": RUN}, ["train_batch_00_filelist.txt: 3 of 9 images not found", "'s4/o6/C_04_06_000.png'"]),
        (make_run, append(f"{RUN}/train_batch_01_filelist.txt", "s4/o1/C_04_01_000.png 0\n"), CORe50, {"filelists": RUN}, ["train_batch_01_filelist.txt: 1 image of an earlier list", "those of _cum repeat all earlier batches"]),
        (write_domain_net, remove("sketch_test.txt"), ImageFolder, {}, ["sketch/ lacks 'sketch_test.txt', its official list", "https://ai.bu.edu/M3SDA"]),
        (write_domain_net, together(remove("sketch")), ImageFolder, {}, ["there is no folder sketch/ for the images of sketch_*.txt"]),
        (write_domain_net, put("skech_train.txt", "skech/umbrella/a.jpg 328\n"), ImageFolder, {}, ["the lists of 'skech': no domain of DomainNet has this name (similar: 'sketch')"]),
        (write_domain_net, append("real_train.txt", "clipart/umbrella/clipart_003_000001.jpg 328\nreal/umbrella/x.jpg many\n"), ImageFolder, {}, ["real_train.txt: 2 lines not of the form real/<class>/<image> <class number>", "line 13 (clipart/umbrella/clipart_003_000001.jpg 328)"]),
        (write_domain_net, append("real_train.txt", "".join(f"real/umbrella/none_{n}.jpg 328\n" for n in range(30))), ImageFolder, {}, ["30 problems", "real_train.txt line 13: image not found (real/umbrella/none_0.jpg)", "and 10 more"]),
        (write_domain_net, append("real_test.txt", "real/umbrella/real_003_000007.jpg 1\n"), ImageFolder, {}, ["real_test.txt: 1 line with another class number", "umbrella is 1, and was 328"]),
        (write_domain_net, append("real_train.txt", "real/vase/real_004_000001.jpg 328\n"), ImageFolder, {}, ["the lists give the number 328 to several classes: 'umbrella', 'vase'"]),
        (write_domain_net, put("real_train.txt", "\n"), ImageFolder, {}, ["real_train.txt has no lines that can be used", "download it again"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    make: Callable[[Path], Path],
    spoil: Spoil,
    kind: type[StreamDataModule],
    options: dict[str, Any],
    words: list[str],
    tmp_path: Path,
) -> None:
    root = make(tmp_path / "data")
    spoil(root)
    with pytest.raises(UserError) as caught:
        read(kind, root, **options)
    for word in words:
        assert word in str(caught.value)


def test_core50_given_to_image_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is CORe50 .* Read it with the datamodule CORe50"):
        read(ImageFolder, write_core50(tmp_path / "core50"))
