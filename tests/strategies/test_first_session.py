"""Adaptation of a backbone to the first experience, and what follows on the adapted backbone."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import checkpoint_of, fit, start
from tiny_network import HALF, tiny_batch, tiny_experience, tiny_network
from torch import Tensor, nn

from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.tracing import trace
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.checkpoint_file import load_file
from lightning_vision.learning.checkpoint_identity import FROZEN, GRAFTED_SCHEMA
from lightning_vision.learning.earlier_checkpoints import as_it_was
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy, trainable
from lightning_vision.program.open_checkpoint import open_checkpoint
from lightning_vision.results.schema import read_results
from strategies import APER, FirstSession, NearestMean, RanPAC, SequentialLoRA

VIT = ("--model.backbone=test_vit", "--keep_checkpoints=all", "--model.optimizer=SGD", "--model.optimizer.lr=0.1")
GRAFTS = ("adapter", "tokens", "scale_shift", "low_rank")


def first(mode: str, *options: str) -> list[str]:
    return ["--model.base_strategy=FirstSession", f"--model.base_strategy.mode={mode}", *options]


def batches_of(loaded: LoadedCheckpoint, experience: int) -> list[Any]:
    return [loaded.model.normalised(batch) for batch in loaded.datamodule.ordered_loader(experience)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One in each mode, each under another closed form."""
    folder = tmp_path_factory.mktemp("first_session")
    following = {
        "adapter": ["--model.strategy=RanPAC", "--model.strategy.projections=16", "--model.strategy.ridge=1"],
        "tokens": ["--model.strategy=FeCAM"],
        "scale_shift": ["--model.strategy=APER"],
        "low_rank": ["--model.strategy=StreamingLDA", "--model.strategy.shrinkage=0.1"],
        "fine_tune": ["--model.strategy=APER"],
    }
    return {mode: fit(folder, mode, *VIT, *first(mode), *options) for mode, options in following.items()}


@pytest.mark.parametrize("mode", [*GRAFTS, "fine_tune"])
def test_the_backbone_is_adapted_once_and_its_features_are_cached(mode: str, runs: dict[str, Path]) -> None:
    run = runs[mode]
    states = [checkpoint_of(run, t)["state_dict"] for t in range(3)]
    names = [name for name in states[0] if name.startswith(("network.backbone.", "network.original."))]
    assert all(torch.equal(state[name], states[0][name]) for state in states[1:] for name in names)
    assert read_results(run / "results.json").features.cached  # type: ignore[union-attr]
    later = load_file(run / "checkpoints" / "experience=0001.ckpt")
    assert set(names) <= set(later[FROZEN]["names"]), "weights and grafts that do not change are in a file of their own"
    identity = checkpoint_of(run)["lightning_vision"]
    assert identity["schema"] == GRAFTED_SCHEMA
    assert [graft["kind"] for graft in identity["grafts"]] == ([] if mode == "fine_tune" else [mode])
    assert identity["keeps_original"] is (mode == "fine_tune")


@pytest.mark.parametrize("mode", [*GRAFTS, "fine_tune"])
def test_a_checkpoint_is_opened_with_what_was_set_into_the_backbone(mode: str, runs: dict[str, Path]) -> None:
    loaded = open_checkpoint(runs[mode])
    model = loaded.model.eval()
    batch = model.normalised(next(iter(loaded.datamodule.evaluation_loader("test"))))
    with torch.no_grad():
        after = model.network.features(batch["image"])
        before = model.network.original_features(batch["image"])
        assert not torch.equal(before, after)
        with as_it_was(model, runs[mode] / "checkpoints" / "experience=0000.ckpt", loaded.datamodule.stream):
            assert torch.equal(model.network.features(batch["image"]), after)
    if mode in ("scale_shift", "fine_tune"):  # APER has features of its own
        return
    module = ClassifierModule(model)
    left = [name for name in module.state_dict() if ".grafts." in name]
    assert bool(left) == (mode in ("adapter", "tokens")), "what can be folded in is folded in"
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    program = trace(module, 16).module()
    assert torch.allclose(
        program(images)["features"], model.network.features(model.network.normalise(images)), atol=1e-5
    )
    assert model.network.grafts, "the model itself is not changed"


def test_ran_pac_learns_the_features_of_the_adapted_backbone(runs: dict[str, Path]) -> None:
    loaded = open_checkpoint(runs["adapter"])
    own = loaded.model.strategy
    assert isinstance(own, RanPAC)
    again = RanPAC(projections=16, ridge=1)
    again.run_seed = loaded.model.seed
    network = loaded.model.network
    with torch.no_grad():
        for t in range(3):
            for batch in batches_of(loaded, t):
                again.update(network, network.features(batch), batch["label"])
    again.after_experience(network, loaded.datamodule.stream[2], [])
    assert torch.allclose(again.weight, own.weight, atol=1e-4)


@pytest.mark.parametrize("mode", ["scale_shift", "fine_tune"])
def test_aper_learns_both_backbones_features(mode: str, runs: dict[str, Path]) -> None:
    loaded = open_checkpoint(runs[mode])
    network, own = loaded.model.network, loaded.model.strategy
    assert isinstance(own, APER)
    fresh = torch.load(runs[mode] / "checkpoints" / "experience=0000.ckpt", weights_only=True)["state_dict"]
    means = NearestMean()
    with torch.no_grad():
        for t in range(3):
            for batch in batches_of(loaded, t):
                image = batch["image"]
                means.update(
                    network,
                    torch.cat([network.original_features(image), network.features(image)], dim=1),
                    batch["label"],
                )
    assert (
        fresh
        and torch.allclose(own.sums, means.sums, atol=1e-3)
        and own.sums.shape[1] == 2 * network.facts.num_features
    )
    assert read_results(runs[mode] / "results.json").seen_accuracy[-1] is not None


def test_aper_with_an_untrained_graft_is_the_nearest_mean() -> None:
    network, batch = tiny_network(), tiny_batch([0, 1, 2, 3, 0, 1])
    FirstSession("scale_shift").before_experience(network, tiny_experience(0, batch))
    aper, doubled, plain = APER(), NearestMean(), NearestMean()
    aper.before_experience(network, tiny_experience(0, batch))
    assert network.original is None, "grafts can be switched off: no copy is needed"
    v = network.features(batch).detach()
    both = aper.features(network, batch["image"]).detach()
    assert torch.equal(both, torch.cat([v, v], dim=1))
    for strategy, given in ((aper, both), (doubled, both), (plain, v)):
        strategy.update(network, given, batch["label"])
    assert torch.equal(logits(aper, network, both), logits(doubled, network, both))
    assert torch.allclose(logits(aper, network, both), logits(plain, network, v), atol=1e-6)


def test_aper_on_three_images_by_hand() -> None:
    """phi = (1, 0), (0, 1), (1, 1) and phi* = phi with the second entry doubled, of classes 0, 1, 0."""
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.eye(2)
    network = Network(nn.Sequential(nn.Flatten(), layer), BackboneFacts("none", 2, HALF, HALF), 2)
    strategy, image = APER(temperature=1.0), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).view(3, 2, 1, 1)
    strategy.before_experience(network, tiny_experience(0, tiny_batch([0, 1, 0])))
    layer.weight.data = torch.diag(torch.tensor([1.0, 2.0]))
    features = strategy.features(network, image).detach()
    assert features.tolist() == [[1, 0, 1, 0], [0, 1, 0, 2], [1, 1, 1, 2]]
    strategy.update(network, features, torch.tensor([0, 1, 0]))
    # The mean of class 0 is (2, 1, 2, 2) / 2, of length sqrt(13) / 2; that of class 1 is (0, 1, 0, 2).
    expected = [[4 / 26**0.5, 0], [5 / 65**0.5, 1], [9 / 91**0.5, 5 / 35**0.5]]
    torch.testing.assert_close(logits(strategy, network, features), torch.tensor(expected))


def logits(strategy: NearestMean, network: Any, features: Tensor) -> Tensor:
    found = strategy.predict(network, features)
    assert isinstance(found, Tensor)
    return found


def test_aper_predicts_by_the_head_before_it_has_means_and_needs_the_backbone_from_before() -> None:
    network, batch = tiny_network(), tiny_batch([0, 1])
    both = torch.randn(2, 10)
    assert torch.equal(logits(APER(), network, both), network.head(both[:, 5:]))
    network.trained_before_run = True
    with pytest.raises(
        ConfigError, match="APER needs the backbone as it was before it was trained, and the base checkpoint"
    ):
        APER().before_experience(network, tiny_experience(0, batch))
    network.head = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.ReLU(), torch.nn.Linear(3, 4))
    with pytest.raises(ConfigError, match=r"Set model\.head_hidden: 0; found 3"):
        APER().check_network(network)


def test_a_base_with_grafts_is_the_start_of_another_run(runs: dict[str, Path], tmp_path: Path) -> None:
    base = f"--model.base_checkpoint={runs['adapter'] / 'checkpoints' / 'experience=0000.ckpt'}"
    run = fit(tmp_path, "on", *VIT, base, "--model.strategy=NearestMean")
    there, here = checkpoint_of(runs["adapter"], 0), checkpoint_of(run, 2)
    assert here["lightning_vision"]["grafts"] == there["lightning_vision"]["grafts"]
    names = [name for name in there["state_dict"] if name.startswith("network.backbone.")]
    assert all(torch.equal(here["state_dict"][name], there["state_dict"][name]) for name in names)


@pytest.mark.parametrize(
    "strategy", [FirstSession("low_rank", {"rank": 2, "scale": 0.5, "layers": ["1"]}), SequentialLoRA(2, scale=0.5, layers=["1"])]
)  # fmt: skip
def test_one_step_of_what_is_learned_on_three_images(strategy: Strategy) -> None:
    """z = tanh((W + s B A) x + b) H^T + c; L is the mean CE; A, B, H and c move, W and b do not."""
    network, batch = tiny_network(), tiny_batch([0, 1, 2])
    strategy.before_experience(network, tiny_experience(0, batch))
    a, b, h, c = trainable(strategy.parameters_to_train(network))[1]
    b.data.normal_()
    layer: Any = network.backbone.get_submodule("1")
    kept = [layer.grafts.weight.original, layer.bias]
    w, shift, *hand = (value.detach().clone().requires_grad_() for value in (*kept, a, b, h, c))
    x = batch["image"].flatten(1)
    z = (x @ (w + 0.5 * hand[1][0] @ hand[0][0]).T + shift).tanh() @ hand[2].T + hand[3]
    expected = -z.log_softmax(dim=1)[range(3), batch["label"]].mean()
    loss = strategy.loss(network, batch)
    torch.testing.assert_close(loss, expected)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD([a, b, h, c], lr=0.1).step()
    for found, before, gradient in zip((a, b, h, c), hand, torch.autograd.grad(expected, hand), strict=True):
        torch.testing.assert_close(found, before - 0.1 * gradient)
    assert torch.equal(kept[0], w) and torch.equal(kept[1], shift)


def test_a_grafted_base_is_retrained_from_the_base_alone(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.Module.compile", lambda self: setattr(self, "_compiled_call_impl", self._call_impl))
    base = f"--model.base_checkpoint={runs['adapter'] / 'checkpoints' / 'experience=0000.ckpt'}"
    compiled = [*VIT, base, "--model.strategy=NearestMean", "--model.compile=true"]
    assert start(tmp_path, "refused", *compiled) == CheckpointError.exit_code
    assert "a compiled backbone cannot take a graft" in " ".join(capsys.readouterr().err.split())
    options = [*VIT, base, "--model.strategy=Retrain", "--stop_after=1"]
    assert start(tmp_path, "refused", *options) == ConfigError.exit_code
    assert "Retrain restarts from the initial weights, and the base sets grafts" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
    run = fit(tmp_path, "from_base", *options, "--model.strategy.start=base")
    assert [graft["key"] for graft in checkpoint_of(run)["lightning_vision"]["grafts"]] == ["first"]


def test_merging_after_each_experience_does_not_change_the_function() -> None:
    network, batch = tiny_network(), tiny_batch([0, 1, 2])
    strategy = SequentialLoRA(rank=2, layers=["1"], merge=True)
    names = list(network.state_dict())
    strategy.before_experience(network, tiny_experience(0, batch))
    assert [tuple(p.shape) for p in strategy.parameters_to_train(network)] == [(1, 2, 12), (1, 5, 2), (4, 5), (4,)]
    network.grafted("lora", "b")[0].data.normal_()
    before = network(batch).detach()
    strategy.after_experience(network, tiny_experience(0, batch), [batch])
    assert torch.allclose(network(batch), before, atol=1e-6) and list(network.state_dict()) == names
    SequentialLoRA(rank=2, layers=["1"]).after_experience(network, tiny_experience(0, batch), [batch])


def test_a_change_that_cannot_be_merged_is_refused_before_it_is_learned() -> None:
    network = tiny_network()
    FirstSession("scale_shift").check_network(network)
    SequentialLoRA(rank=2, layers=["1"]).check_network(network)
    with pytest.raises(ConfigError, match=r"The graft 'first' was set before 'lora' over the same weights"):
        SequentialLoRA(rank=2, layers=["1"], merge=True).check_network(network)


def test_merged_changes_are_not_in_the_checkpoint_and_the_run_goes_on_after_a_stop(tmp_path: Path) -> None:
    options = [*VIT, "--model.strategy=SequentialLoRA", "--model.strategy.rank=2", "--model.strategy.merge=true"]
    whole = fit(tmp_path, "whole", *options)
    part = fit(tmp_path, "part", *options, "--stop_after=1")
    assert "grafts" not in checkpoint_of(part)["lightning_vision"]
    fit(tmp_path, "part", *options, "--ckpt_path=last")
    one, other = (checkpoint_of(run)["state_dict"] for run in (whole, part))
    assert all(torch.equal(one[name], other[name]) for name in one if name.startswith("network."))
    assert not torch.equal(
        one["network.backbone.blocks.0.attn.qkv.weight"],
        checkpoint_of(whole, 0)["state_dict"]["network.backbone.blocks.0.attn.qkv.weight"],
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (first("adapter"), "ResNet has no transformer blocks .* which adapter needs. Use scale_shift or low_rank"),
        (first("scale_shift", "--model.compile=true"), "model.compile is true, and a compiled backbone cannot take a graft"),
        (first("low_rank", "--model.base_strategy.options={rank: 500}"), "rank 500 is above the width of the layer"),
        (first("fine_tune", "--model.base_strategy.options={rank: 5}"), "no options of fine_tune; found 'fine_tune'"),
        (first("adapter", "--model.base_strategy.options={with: 5}"), "adapter has no option 'with'; it has 'width'"),
        (first("scale_shift", "--model.strategy=Retrain"), r"Retrain restarts from the initial weights, and the base sets grafts .*, or set model\.strategy\.start: base\."),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_training(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.Module.compile", lambda self: setattr(self, "_compiled_call_impl", self._call_impl))
    assert start(tmp_path, "refused", *options) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(said, error), error
    assert not (tmp_path / "refused").exists(), "nothing is written"


@pytest.mark.parametrize("keep", [True, False])
def test_fine_tune_leaves_the_statistics_of_batch_norm_alone(keep: bool, tmp_path: Path) -> None:
    """Only where it is asked for do they follow the images of experience 0; the weights of batch norm are trained anyway."""
    kept = [] if keep else ["--model.base_strategy.keep_statistics=false"]
    words = ["--model.strategy=APER", "--stop_after=0", "--model.base_epochs=2", *first("fine_tune", *kept)]
    state = checkpoint_of(fit(tmp_path, "run", *words))["state_dict"]
    own, original = "network.backbone.", "network.original.backbone."
    names = [name.removeprefix(own) for name in state if name.startswith(own)]
    same = {name: torch.equal(state[own + name], state[original + name]) for name in names}
    statistics = [name for name in names if name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert len(statistics) > 6 and all(same[name] == keep for name in statistics)
    assert not any(same[name] for name in names if name.endswith(("bn1.weight", "bn1.bias")))
