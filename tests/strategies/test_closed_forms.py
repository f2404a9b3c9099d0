"""What the closed forms that keep statistics have in common: order, batches, restarts, classes that come and come again."""

import signal
from pathlib import Path

import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import changed, checkpoint_of, fit, start, weights_of
from feature_clouds import bare_network, clouds, learn, logits
from interruptions import interrupt
from test_resume import RESUME, check_equal

from lightning_vision import ContinualClassifier, Network, Strategy
from lightning_vision.results.schema import read_results
from strategies import queued_strategy
from strategies.acil import ACIL
from strategies.dsal import DSAL
from strategies.fecam import FeCAM
from strategies.klda import KLDA
from strategies.nearest_mean import NearestMean
from strategies.ran_pac import RanPAC
from strategies.streaming_lda import StreamingLDA

C, D = 3, 12
EXPERIENCE = ColouredSquares().stream[0]
QUEUED = ("lda", "ranpac", "fecam", "acil", "dsal", "klda")
ALL = ("cosine", "euclidean", *QUEUED)


def make(name: str) -> Strategy:
    made: dict[str, Strategy] = {
        "cosine": NearestMean(),
        "euclidean": NearestMean("euclidean"),
        "lda": StreamingLDA(),
        "ranpac": RanPAC(projections=50),
        "fecam": FeCAM(),
        "acil": ACIL(50),
        "dsal": DSAL(50),
        "klda": KLDA(50, gamma=0.02),
    }
    return made[name]


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal up to 1e-5 of the largest logit: a logit near 0 is a difference of larger ones."""
    return bool((one - other).abs().max() < 1e-5 * other.abs().max())


@pytest.fixture
def network() -> Network:
    return bare_network(C, D)


@pytest.fixture
def short_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are absorbed several times within an experience."""
    monkeypatch.setattr(queued_strategy, "QUEUE", 20)


@pytest.mark.usefixtures("short_queue")
@pytest.mark.parametrize("name", [name for name in ALL if name != "lda"])
@pytest.mark.parametrize("per_class", [40, 4])
def test_the_same_head_for_any_order(name: str, per_class: int, network: Network) -> None:
    features, labels = clouds(C, per_class, D, negative=False)
    one = make(name)
    learn(one, network, features, labels, EXPERIENCE)
    expected = logits(one, network, clouds(negative=False, seed=1)[0])
    orders = [torch.arange(len(labels)).flip(0), torch.argsort(labels, stable=True)]
    orders += [torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    for order, batch_size in zip(orders, (1, 7, 16, 1000), strict=True):
        other = make(name)
        learn(other, network, features[order], labels[order], EXPERIENCE, batch_size)
        assert close(logits(other, network, clouds(negative=False, seed=1)[0]), expected)


@pytest.mark.usefixtures("short_queue")
@pytest.mark.parametrize("name", [name for name in ALL if name != "dsal"])  # its residual is that of an experience
def test_any_cut_into_batches_and_experiences(name: str, network: Network) -> None:
    """Classes that are seen again continue from their statistics; an experience may have one image."""
    features, labels = clouds(C, 30, D, negative=False)
    whole, parts = make(name), make(name)
    learn(whole, network, features, labels, EXPERIENCE, batch_size=90)
    for cut in (slice(0, 1), slice(1, 50), slice(50, 89), slice(89, 90)):
        learn(parts, network, features[cut], labels[cut], EXPERIENCE, batch_size=11)
        found = logits(parts, network, features)
        assert not found.isnan().any()
        met = torch.unique(labels[: cut.stop])
        assert torch.equal(found[0].isfinite().nonzero()[:, 0], met), "a class without an image can never win"
    assert close(logits(parts, network, features), logits(whole, network, features))


@pytest.mark.parametrize("name", ALL)
def test_before_the_first_update_the_networks_own_head_predicts(name: str, network: Network) -> None:
    features, strategy = clouds()[0], make(name)
    strategy.before_experience(network, EXPERIENCE)
    assert torch.equal(logits(strategy, network, features), network.head(features))
    strategy.after_experience(network, EXPERIENCE, [])
    assert torch.equal(logits(strategy, network, features), network.head(features))
    assert list(strategy.notes(network)) == []


@pytest.mark.parametrize("name", ALL)
def test_a_known_class_without_data_is_reported(name: str, network: Network) -> None:
    features, labels = clouds(2, 40, D, negative=False)
    strategy = make(name)
    learn(strategy, network, features, labels, EXPERIENCE)
    expected = "1 known class(es) are never predicted, because they had no image since the base checkpoint"
    assert list(strategy.notes(network))[-1] == expected
    assert (logits(strategy, network, features)[:, 2] == -torch.inf).all()


@pytest.mark.usefixtures("short_queue")
@pytest.mark.parametrize("name", QUEUED)
def test_features_wait_for_others(name: str, network: Network) -> None:
    features, labels = clouds(C, 10, D, negative=False)
    strategy = make(name)
    for number, waiting in ((7, 7), (12, 19), (1, 0), (10, 10)):
        strategy.update(network, features[:number], labels[:number])
        assert len(strategy.get_buffer("waiting")) == len(strategy.get_buffer("waiting_labels")) == waiting
    assert int(strategy.get_buffer("counts").sum()) == 20
    strategy.after_experience(network, EXPERIENCE, [])
    assert len(strategy.get_buffer("waiting")) == 0 and int(strategy.get_buffer("counts").sum()) == 30


@pytest.mark.usefixtures("short_queue")
@pytest.mark.parametrize("name", ALL)
def test_state(name: str, network: Network) -> None:
    """It makes a round trip, prediction leaves it as it is, and inputs are not changed."""
    features, labels = clouds(C, 30, D, negative=False)
    copies = features.clone(), labels.clone()
    strategy, other, late = make(name), make(name), make(name)
    learn(strategy, network, features[:60], labels[:60], EXPERIENCE)
    before = {key: value.clone() for key, value in strategy.state_dict().items()}
    expected = logits(strategy, network, features)
    assert all(torch.equal(value, before[key]) for key, value in strategy.state_dict().items())
    other.load_state_dict(before)
    assert torch.equal(logits(other, network, features), expected)
    for each in (strategy, other):
        learn(each, network, features[60:], labels[60:], EXPERIENCE)
    assert torch.equal(logits(other, network, features), logits(strategy, network, features))
    # In the midst of an experience, before anything was solved.
    late.update(network, features[:60], labels[:60])
    midst = {key: value.clone() for key, value in late.state_dict().items()}
    torch.testing.assert_close(logits(late, network, features), expected)
    assert all(torch.equal(value, midst[key]) for key, value in late.state_dict().items())
    strategy.load_state_dict(midst)
    torch.testing.assert_close(logits(strategy, network, features), expected)
    assert torch.equal(features, copies[0]) and torch.equal(labels, copies[1])
    assert strategy.kind == "closed_form" and strategy.freezes_backbone and strategy.needs_base_data


@pytest.mark.parametrize("name", ALL)
def test_a_head_with_a_hidden_layer_gives_its_features(name: str) -> None:
    features, labels = clouds(C, 30, D)
    network, plain = bare_network(C, D, head_hidden=6), bare_network(C, 6)
    strategy, expected = make(name), make(name)
    learn(strategy, network, features, labels, EXPERIENCE)
    v = network.penultimate(features).detach()
    learn(expected, plain, v, labels, EXPERIENCE)
    assert close(logits(strategy, network, features), logits(expected, plain, v))


RUNS = {
    "NearestMean": ("--model.strategy=strategies.nearest_mean.NearestMean",),
    "StreamingLDA": ("--model.strategy=strategies.streaming_lda.StreamingLDA",),
    "RanPAC": ("--model.strategy=strategies.ran_pac.RanPAC", "--model.strategy.projections=100"),
    "FeCAM": ("--model.strategy=strategies.fecam.FeCAM",),
    "ACIL": ("--model.strategy=strategies.acil.ACIL", "--model.strategy.expansion=100"),
    "DSAL": ("--model.strategy=strategies.dsal.DSAL", "--model.strategy.expansion=100"),
    "KLDA": ("--model.strategy=strategies.klda.KLDA", "--model.strategy.expansion=100"),
}
CLASSES = (
    "--data.stream=ClassIncremental",
    "--data.stream.experiences=3",
    "--data.noise=60",
    "--data.batch_size=8",
    "--keep_checkpoints=all",
    "--trainer.callbacks=interruptions.Interrupt",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and what full fine-tuning makes of the classes that come then."""
    folder = tmp_path_factory.mktemp("runs")
    fit(folder, "forgets", *CLASSES, "--model.strategy=FullFineTune", "--trainer.max_epochs=3")
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_a_run(name: str, folder: Path) -> None:
    """Classes come one after the other: all are known at the end, and not a bit of the network has moved."""
    base = folder / "forgets" / "checkpoints" / "experience=0000.ckpt"
    run = fit(folder, name, *CLASSES, f"--model.base_checkpoint={base}", *RUNS[name])
    found, forgets = (read_results(path / "results.json") for path in (run, folder / "forgets"))
    assert (found.test_accuracy[-1] or 0) > (forgets.test_accuracy[-1] or 0) + 0.2
    assert found.forgetting is not None and forgets.forgetting is not None and found.forgetting < forgets.forgetting
    assert changed(weights_of(folder / "forgets", 0), weights_of(run)) == {"network.seen"}
    counts = weights_of(run)["strategy.counts"]
    assert int(counts.sum()) == sum(e.train_samples for e in found.experiences), "the base's data counts too"
    assert [e.trainable_parameters for e in found.experiences] == [0, 0, 0]


@pytest.mark.parametrize("name", ["RanPAC", "FeCAM", "DSAL", "KLDA"])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = folder / "forgets" / "checkpoints" / "experience=0000.ckpt"
    options = (*CLASSES, f"--model.base_checkpoint={base}", *RUNS[name])
    whole = folder / name if (folder / name).exists() else fit(folder, name, *options)
    for key, value in interrupt("1::0:1", signal.SIGTERM).items():
        monkeypatch.setenv(key, value)
    assert start(folder, f"{name}-again", *options) == 128 + signal.SIGTERM
    check_equal(fit(folder, f"{name}-again", *options, RESUME), whole)


def test_the_classifier_itself_predicts_as_the_strategy_does(tmp_path: Path) -> None:
    """Callers of the model outside the loop must not get a head that was never trained."""
    run = fit(tmp_path, "means", "--model.strategy=strategies.nearest_mean.NearestMean", "--data.stream=Joint")
    checkpoint = checkpoint_of(run)
    model = ContinualClassifier(
        "test_resnet", False, strategy=NearestMean(), class_names=["a", "b", "c", "d"], image_size=16
    )
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()
    image = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        features = model.network.features(model.network.normalise(image))
        expected = model.strategy.predict(model.network, features)
        assert isinstance(expected, torch.Tensor)
        torch.testing.assert_close(model(image), expected)
