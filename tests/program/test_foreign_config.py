"""What is taken of a configuration that the user did not name."""

from pathlib import Path
from typing import Any

import pytest

from lightning_vision.program.foreign_config import UntrustedError, take_foreign, take_foreign_data
from lightning_vision.storage.cache_folder import beside, user_cache

HERE = Path("run/config.yaml")


def component(path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("strategy", component("strategies.MoveToData", epsilons=[0.1, 0.2])),
        ("strategy", component("strategies.move_to_data.MoveToData")),
        ("base_strategy", component("lightning_vision.learning.strategy.Strategy")),
        (
            "strategy",
            component("strategies.SklearnHead", estimator="sklearn.svm.SVC", estimator_args={"kernel": "rbf"}),
        ),
        (
            "strategy",
            component(
                "strategies.SklearnHead",
                estimator="sklearn.calibration.CalibratedClassifierCV",
                estimator_args={"estimator": component("sklearn.svm.LinearSVC", C=0.5)},
            ),
        ),
        ("strategy", component("strategies.AvalanchePlugin", plugin="EWCPlugin", plugin_args={"ewc_lambda": 0.4})),
        ("strategy", component("strategies.AvalanchePlugin", plugin="avalanche.training.plugins.EWCPlugin")),
        ("optimizer", component("torch.optim.AdamW", lr=1e-3, betas=[0.9, 0.999], foreach=None)),
        ("optimizer", component("torch.optim.adamw.AdamW", lr=1e-3)),
        ("lr_scheduler", component("torch.optim.lr_scheduler.CosineAnnealingLR", T_max=3)),
        ("lr_scheduler", component("torch.optim.lr_scheduler.ReduceLROnPlateau", mode="max")),
        ("lr_scheduler", component("lightning.pytorch.cli.ReduceLROnPlateau", monitor="val/loss")),
        ("lr_scheduler", component("lightning_vision.recipes.WarmupCosine")),
        ("backbone", "resnet18.tv_in1k"),
    ],
)
def test_known_classes_with_plain_arguments_are_taken_as_they_are(key: str, value: Any) -> None:
    assert take_foreign({"model": {key: value}}, HERE)["model"][key] == value


def test_a_short_name_is_written_out() -> None:
    taken = take_foreign({"model": {"strategy": "HeadOnly"}}, HERE)
    assert taken["model"]["strategy"] == component("strategies.head_only.HeadOnly")


@pytest.mark.parametrize(
    ("section", "key", "found"),
    [
        ({"strategy": "nowhere.Own"}, "model.strategy", "nowhere.Own"),
        ({"strategy": component("lightning_vision.program.stream_cli.StreamCLI")}, "model.strategy", "StreamCLI"),
        ({"strategy": component("strategies.SklearnHead", estimator="os.system")}, "estimator", "os.system"),
        ({"strategy": component("strategies.SklearnHead", estimator="sklearn.svm.SVC.fit")}, "estimator", "fit"),
        ({"strategy": component("strategies.SklearnHead", estimator="sklearn_of_mine.SVC")}, "estimator", "sklearn_of_mine"),
        ({"optimizer": component("torch.optim.optimizer.Callable")}, "model.optimizer", "Callable"),
        ({"optimizer": component("torch.hub.load")}, "model.optimizer", "torch.hub.load"),
        ({"optimizer": component("torch.optim.SGD", lr="nowhere.Own")}, "model.optimizer.init_args.lr", "nowhere.Own"),
        ({"backbone": {"class_path": "nowhere.Own"}}, "model.backbone", "nowhere.Own"),
        ({"_strategy": 1}, "model._strategy", "1"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_its_key(section: dict[str, Any], key: str, found: str) -> None:
    with pytest.raises(UntrustedError) as caught:
        take_foreign({"model": section}, HERE)
    assert f"{HERE}: model." in str(caught.value)
    assert key in str(caught.value)
    assert found in str(caught.value)
    assert "--trust_run true" in str(caught.value)


def test_a_class_that_the_command_line_names_is_trusted_and_its_arguments_are_not() -> None:
    own = component("trial_strategies.LastBlock")
    with pytest.raises(UntrustedError, match=r"model.strategy: expected a Strategy .*'trial_strategies.LastBlock'"):
        take_foreign({"model": {"strategy": own}}, HERE)
    assert (
        take_foreign({"model": {"strategy": own}}, HERE, named=["trial_strategies.LastBlock"])["model"]["strategy"]
        == own
    )
    more = component("trial_strategies.LastBlock", part=component("os.system"))
    with pytest.raises(UntrustedError, match=r"init_args.part: expected no class, found 'os.system'"):
        take_foreign({"model": {"strategy": more}}, HERE, named=["trial_strategies.LastBlock"])


def test_of_the_trainer_recipes_are_taken_and_nothing_that_watches_or_writes() -> None:
    recipe = component("lightning_vision.recipes.TestTimeAugmentation")
    stock = component("lightning.pytorch.callbacks.EarlyStopping", monitor="val/loss")
    section = {
        "accelerator": "cpu", "strategy": "auto", "devices": "1", "precision": "bf16-mixed", "callbacks": [stock, recipe],
        "logger": component("nowhere.Own"), "profiler": "simple", "default_root_dir": "/somewhere", "plugins": None,
    }  # fmt: skip
    taken = take_foreign({"trainer": section}, HERE)["trainer"]
    assert taken == {
        "accelerator": "cpu", "strategy": "auto", "devices": "1", "precision": "bf16-mixed", "callbacks": [recipe], "plugins": None,
    }  # fmt: skip


def test_weights_and_bases_are_those_of_the_checkpoint() -> None:
    section = {"pretrained": True, "backbone_weights": "/somewhere/weights.bin", "base_checkpoint": "/somewhere"}
    assert take_foreign({"model": section}, HERE)["model"] == {
        "pretrained": False,
        "backbone_weights": None,
        "base_checkpoint": None,
    }


def test_transforms_are_torchvisions() -> None:
    asked = ["resize", {"ColorJitter": {"hue": 0.1}}, component("torchvision.transforms.v2.RandomApply", transforms=[component("torchvision.transforms.v2.RandomGrayscale")])]  # fmt: skip
    data = component("datamodules.Digits", eval_transforms=asked)
    assert take_foreign_data(data, HERE)["init_args"]["eval_transforms"] == asked
    for unknown in ("os.system", {"Lambda": {"lambd": component("os.system")}}, component("torch.nn.Linear")):
        with pytest.raises(UntrustedError, match="eval_transforms"):
            take_foreign_data(component("datamodules.Digits", eval_transforms=[unknown]), HERE)


def test_caches_are_made_only_where_they_are_the_users(tmp_path: Path) -> None:
    data = component("datamodules.ImageFolder", root=str(tmp_path / "photos"), cache_dir="/somewhere")
    (tmp_path / "photos").mkdir()
    assert take_foreign_data(data, HERE)["init_args"]["cache_dir"] == str(user_cache())
    kept = beside(tmp_path / "photos")
    kept.mkdir()
    assert take_foreign_data(data, HERE)["init_args"]["cache_dir"] is None  # beside the data, as when it was trained
    (kept / "a.lock").symlink_to(tmp_path / "elsewhere")
    assert take_foreign_data(data, HERE)["init_args"]["cache_dir"] == str(user_cache())


def test_an_archive_is_unpacked_only_where_it_is_the_users(tmp_path: Path) -> None:
    data = component("datamodules.ImageFolder", root=str(tmp_path / "photos.zip"), cache_dir="/somewhere")
    (tmp_path / "photos.zip").touch()
    assert take_foreign_data(data, HERE)["init_args"]["cache_dir"] == str(user_cache())


def test_nothing_is_downloaded_to_where_a_stranger_says() -> None:
    data = component("datamodules.TorchvisionDataset", root="/somewhere", dataset="MNIST", download=True)
    assert take_foreign_data(data, HERE)["init_args"]["download"] is False
