"""The configs of the field's benchmarks and of published streams: each runs, or gives the order that was published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from benchmark_maker import SYNSETS, write_core50, write_domain_net, write_filelists, write_imagenet_r
from label_maker import write_cub
from photo_folder import write_photos
from test_configs import SMALL, SMALL_PHOTOS, fit

from lightning_vision.cli import main
from lightning_vision.data.scenarios import ClassIncremental
from lightning_vision.program.shipped_configs import config_folder
from lightning_vision.results.schema import Results, read_results

EXPERIENCES = "data.init_args.stream.init_args.experiences"
NAMES = ["goldfish", "great white shark", "crane (n02012849)", "crane (n03126707)"]
PHOTO_NAMES = ["birds", "cats", "dogs"]
CORE50_NAMES = ["plug_adapter1", "plug_adapter2", "mobile_phone1"]


def write_core50_run(root: Path) -> Path:
    write_core50(root)
    write_filelists(root)
    return root


DATASETS: dict[str, tuple[Callable[[Path], Path], dict[str, Any], list[str], int]] = {
    "imagenet_r": (write_imagenet_r, {EXPERIENCES: 2}, NAMES, 2),
    "imagenet_a": (write_imagenet_r, {EXPERIENCES: 2}, NAMES, 2),
    "cub200": (write_cub, {EXPERIENCES: 2}, ["001.Gull", "002.Wren"], 2),
    "core50": (write_core50, {}, CORE50_NAMES, 3),
    "domainnet": (write_domain_net, {}, ["aircraft_carrier", "t-shirt", "umbrella"], 3),
    "online_cifar10_er": (write_photos, {EXPERIENCES: 3}, PHOTO_NAMES, 3),
    "online_cifar10_er_ace": (write_photos, {EXPERIENCES: 3}, PHOTO_NAMES, 3),
    "gdumb_cifar10": (write_photos, {}, PHOTO_NAMES, 1),
}
"""How the tree is made, what is changed for so few images, the class names, and the number of experiences."""
OF_COLUMNS = {
    "core50_ni": (write_core50, {}, ["1", "2", "4"]),
    "core50_run": (write_core50_run, {"data.init_args.filelists": "batches_filelists/NI_inc/run0"}, ["0", "1", "2"]),
    "domainnet": (write_domain_net, {}, ["clipart", "real", "sketch"]),
}
"""Streams of columns: the tree, options, and the names of the experiences."""
OF_CLASSES = {
    "cifar100": 100,
    "imagenet": 200,
    "cub200": 200,
    "core50": 50,
}
"""The number of classes of the datasets of the other streams."""
ORDERS = {
    "cifar100_podnet_order_1": ("cifar100", "cifar100_b50_10x5", [87, 0, 52]),
    "cifar100_podnet_order_2": ("cifar100", "cifar100_b50_10x5", [58, 30, 93]),
    "cifar100_podnet_order_3": ("cifar100", "cifar100_b50_10x5", [71, 54, 45]),
    "imagenet_r_coda_order": ("imagenet_r", "imagenet_r_20x10", [80, 145, 90]),
}
"""Orders without a stream: a config and a stream that they are combined with, and their first classes."""
SHIPPED = {path.stem: path for path in sorted((config_folder() / "streams").glob("*.yaml"))}


def run(folder: Path, name: str, make: Callable[[Path], Path], configs: list[str], options: dict[str, Any]) -> Results:
    root = make(folder / "data")
    few = {"trainer.limit_train_batches": 1, "data.init_args.batch_size": 4, "data.root": root}
    return fit(folder / "runs", name, configs, {**SMALL, **SMALL_PHOTOS, **few, **options})


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset(name: str, tmp_path: Path) -> None:
    make, options, class_names, experiences = DATASETS[name]
    results = run(tmp_path, name, make, [f"configs/published/{name}.yaml"], options)
    assert results.run.complete and results.class_names == class_names
    assert len(results.experiences) == experiences
    assert (results.anytime_accuracy is None) is not name.startswith("online")


@pytest.mark.parametrize("name", OF_COLUMNS)
def test_a_stream_of_columns(name: str, tmp_path: Path) -> None:
    make, options, experiences = OF_COLUMNS[name]
    config = f"configs/published/{'domainnet' if name == 'domainnet' else 'core50'}.yaml"
    results = run(tmp_path, name, make, [config, f"configs/streams/{name}.yaml"], options)
    assert [record.name for record in results.experiences] == experiences


def classes_of(stream: ClassIncremental, count: int) -> list[list[int]]:
    """The classes of each experience, in the order in which they appear."""
    labels = np.repeat(np.arange(count), 3).astype(np.int64)
    paths = [f"{row}.jpg" for row in range(3 * count)]
    samples = pd.DataFrame({"path": paths, "label": labels, "split": ["train", "train", "test"] * count})
    return [list(item.classes) for item in stream.build(samples, [f"class {n}" for n in range(count)])]


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in {*OF_COLUMNS, *ORDERS}])
def test_a_stream_of_classes(name: str) -> None:
    """The name says into how many experiences of how many classes the dataset is cut."""
    options = yaml.safe_load(SHIPPED[name].read_text())["data"]["init_args"]["stream"]["init_args"]
    count = next(count for dataset, count in OF_CLASSES.items() if name.startswith(dataset))
    found = classes_of(ClassIncremental(**options), count)
    if name == "core50_nc":
        assert [len(classes) for classes in found] == [10, *[5] * 8]
        return
    experiences, each = map(int, name.rpartition("_")[2].split("x"))
    base = [50] if "_b50_" in name else []
    assert [len(classes) for classes in found] == base + [each] * experiences
    order = np.random.RandomState(1993).permutation(count).tolist()
    assert set(found[0]) == set(order[: len(found[0])]) and set(found[-1]) == set(order[-each:])


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_replaces_that_of_a_stream(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, stream, first = ORDERS[name]
    configs = [f"published/{dataset}", f"streams/{stream}", f"streams/{name}"]
    words = [word for config in configs for word in ("--config", f"configs/{config}.yaml")]
    assert main(["fit", *words, "--data.root=data", "--print_config"]) == 0
    options = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["stream"]["init_args"]
    asked = yaml.safe_load(SHIPPED[stream].read_text())["data"]["init_args"]["stream"]["init_args"]
    assert (options["experiences"], options["base_classes"]) == (asked["experiences"], asked["base_classes"])
    assert options["class_order_seed"] is None and options["class_order"][:3] == first
    assert sorted(options["class_order"]) == list(
        range(next(n for key, n in OF_CLASSES.items() if name.startswith(key)))
    )


@pytest.mark.parametrize("value", ["null", "1994"])
def test_a_seed_on_the_command_line(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A value of an object in an object, which the parser hands on as text."""
    words = ["fit", "--config=configs/published/imagenet_r.yaml", "--data.root=data", "--print_config"]
    assert main([*words, f"--data.stream.class_order_seed={value}", "--data.stream.base_classes=null"]) == 0
    options = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["stream"]["init_args"]
    assert options["class_order_seed"] == (None if value == "null" else 1994) and options["base_classes"] is None


def test_an_own_order_by_number(tmp_path: Path) -> None:
    order = tmp_path / "order.yaml"
    init_args = {"class_order": [3, 1, 0, 2], "class_order_seed": None}
    stream = {"class_path": "lightning_vision.ClassIncremental", "init_args": init_args}
    order.write_text(yaml.safe_dump({"data": {"init_args": {"stream": stream}}}), encoding="utf-8")
    root = write_imagenet_r(tmp_path / "data")
    options = {**SMALL, **SMALL_PHOTOS, "trainer.limit_train_batches": 1, "data.root": root, EXPERIENCES: 4}
    words = [f"--{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in options.items()]
    place = [
        f"--trainer.default_root_dir={tmp_path}",
        "--run_name=run",
        "--energy.enabled=false",
        "--wandb.mode=disabled",
    ]
    assert main(["fit", "--config=configs/published/imagenet_r.yaml", f"--config={order}", *words, *place]) == 0
    results = read_results(tmp_path / "run" / "results.json")
    assert [record.name for record in results.experiences] == [NAMES[number] for number in (3, 1, 0, 2)]


def test_a_published_seed_on_the_command_line(tmp_path: Path) -> None:
    options = {EXPERIENCES: 4, "data.init_args.stream.init_args.class_order_seed": 1995}
    results = run(tmp_path, "by_seed", write_imagenet_r, ["configs/published/imagenet_r.yaml"], options)
    order = np.random.RandomState(1995).permutation(len(SYNSETS)).tolist()
    assert [record.name for record in results.experiences] == [NAMES[number] for number in order]


def test_every_stream_is_tried() -> None:
    assert {*OF_COLUMNS, *ORDERS} | {name for name in SHIPPED if name.startswith(tuple(OF_CLASSES))} == SHIPPED.keys()
