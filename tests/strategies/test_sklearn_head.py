"""Scikit-learn's classifiers as a head: against scikit-learn itself on the same features."""

import copy
import io
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from coloured_squares import ColouredSquares
from command_line import changed, checkpoint_of, fit, start, weights_of
from feature_clouds import bare_network, clouds, learn, logits
from interruptions import interrupt
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from test_resume import RESUME, check_equal
from torch import Tensor, nn

from lightning_vision import Network
from lightning_vision.errors import CheckpointError, ConfigError, TrainingError
from lightning_vision.results.schema import read_results
from strategies.sklearn_head import SklearnHead

C, D, BATCH = 3, 12, 16
EXPERIENCE = ColouredSquares().stream[0]
ANEW: dict[type, dict[str, Any]] = {
    RandomForestClassifier: {"n_estimators": 10},
    LogisticRegression: {"C": 0.1},
    LinearDiscriminantAnalysis: {},
}
IN_PARTS: dict[type, dict[str, Any]] = {
    SGDClassifier: {"loss": "log_loss", "alpha": 0.01},
    MLPClassifier: {"hidden_layer_sizes": [7]},
    GaussianNB: {},
}
ALL = ANEW | IN_PARTS


def make(kind: type, **options: Any) -> SklearnHead:
    return SklearnHead(f"{kind.__module__.split('._')[0]}.{kind.__name__}", ALL[kind] | options, seed=0)


def bare(kind: type) -> Any:
    """The estimator as scikit-learn's users make it."""
    made = kind(**ALL[kind])
    return made.set_params(random_state=0) if "random_state" in made.get_params() else made


def taught(kind: type, features: Tensor, labels: Tensor, classes: int = C) -> Any:
    """The same by scikit-learn alone."""
    estimator, x, y = bare(kind), features.numpy(), labels.numpy()
    if kind in ANEW:
        return estimator.fit(x, y)
    for first in range(0, len(y), BATCH):
        estimator.partial_fit(x[first : first + BATCH], y[first : first + BATCH], classes=np.arange(classes))
    return estimator


def probabilities(strategy: SklearnHead, network: Network, features: Tensor) -> Tensor:
    return logits(strategy, network, features).softmax(dim=1)


@pytest.fixture
def network() -> Network:
    return bare_network(C, D)


class TestAgainstScikitLearn:
    @pytest.mark.parametrize("kind", ALL)
    def test_equal_probabilities(self, kind: type, network: Network) -> None:
        features, labels = clouds(C, 40, D)
        strategy, unseen = make(kind), clouds(C, 40, D, seed=1)[0]
        learn(strategy, network, features, labels, EXPERIENCE, BATCH)
        expected = taught(kind, features, labels).predict_proba(unseen.numpy())
        np.testing.assert_allclose(probabilities(strategy, network, unseen), expected, atol=1e-5)
        right = logits(strategy, network, features).argmax(dim=1) == labels
        assert kind is MLPClassifier or right.float().mean() > 0.8, "eight steps are few for a network"

    @pytest.mark.parametrize("kind", ANEW)
    def test_fitted_anew_to_all_images_after_each_experience(self, kind: type, network: Network) -> None:
        features, labels = clouds(C, 40, D)
        strategy = make(kind)
        for end in (50, 51, 120):
            first = len(strategy.labels)
            learn(strategy, network, features[first:end], labels[first:end], EXPERIENCE, BATCH)
            expected = taught(kind, features[:end], labels[:end]).predict_proba(features.numpy())
            np.testing.assert_allclose(probabilities(strategy, network, features), expected, atol=1e-5)
            assert torch.equal(strategy.past, features[:end]) and torch.equal(strategy.labels, labels[:end])

    @pytest.mark.parametrize("kind", IN_PARTS)
    def test_batch_by_batch_keeps_nothing(self, kind: type, network: Network) -> None:
        """Experiences leave no trace: it is one stream of batches."""
        features, labels = clouds(C, 40, D)
        strategy = make(kind)
        for rows in (slice(0, 2 * BATCH), slice(2 * BATCH, 3 * BATCH), slice(3 * BATCH, 120)):
            learn(strategy, network, features[rows], labels[rows], EXPERIENCE, BATCH)
        expected = taught(kind, features, labels).predict_proba(features.numpy())
        np.testing.assert_allclose(probabilities(strategy, network, features), expected, atol=1e-5)
        assert not strategy.past.numel() and not strategy.labels.numel()

    @pytest.mark.parametrize("kind", [RandomForestClassifier, SGDClassifier])
    def test_a_head_with_a_hidden_layer_gives_its_features(self, kind: type) -> None:
        features, labels = clouds(C, 30, D)
        network, strategy = bare_network(C, D, head_hidden=6), make(kind)
        learn(strategy, network, features, labels, EXPERIENCE, BATCH)
        v = network.penultimate(features).detach()
        expected = taught(kind, v, labels).predict_proba(v.numpy())
        np.testing.assert_allclose(probabilities(strategy, network, features), expected, atol=1e-5)

    def test_random_numbers_follow_the_run_unless_they_are_pinned(self, network: Network) -> None:
        features, labels = clouds(C, 40, D)

        def found(run_seed: int, seed: int | None, **random: int) -> Tensor:
            strategy = SklearnHead(estimator_args={"n_estimators": 10, **random}, seed=seed)
            strategy.run_seed = run_seed
            learn(strategy, network, features, labels, EXPERIENCE, BATCH)
            return logits(strategy, network, clouds(C, 40, D, seed=1)[0])

        assert torch.equal(found(0, None), found(0, None)) and not torch.equal(found(0, None), found(1, None))
        assert torch.equal(found(0, 1), found(1, 1)) and torch.equal(found(0, 1), found(0, 2, random_state=1))
        assert not torch.equal(found(0, 0), found(0, 1)) and not torch.equal(found(0, 0), found(0, None))

    @pytest.mark.parametrize(("kind", "nothing"), [(GaussianNB, True), (LinearDiscriminantAnalysis, True), (SGDClassifier, False)])  # fmt: skip
    def test_an_estimator_without_a_random_state_draws_nothing(self, kind: type, nothing: bool) -> None:
        assert make(kind).draws_nothing == nothing


class TestClasses:
    @pytest.mark.parametrize("kind", ALL)
    def test_they_come_one_after_the_other_and_again(self, kind: type) -> None:
        """Down to an experience of one image; a class without an image can never win."""
        network, strategy = bare_network(4, D), make(kind)
        features, labels = clouds(4, 30, D)
        met: set[int] = set()
        for classes, number in (((2,), 30), ((0,), 1), ((0, 1), 60), ((2, 3), 60)):
            rows = torch.isin(labels, torch.tensor(classes)).nonzero()[:number, 0]
            met |= set(classes)
            if kind is LinearDiscriminantAnalysis and number == 1:
                continue  # it needs more images than classes, and more than one of each
            learn(strategy, network, features[rows], labels[rows], EXPERIENCE, BATCH)
            if kind is GaussianNB and number == 1:
                continue  # one image has no variance, see below
            found = logits(strategy, network, features)
            assert not found.isnan().any()
            assert found.isfinite().any(dim=0).nonzero()[:, 0].tolist() == sorted(met)
        assert kind in IN_PARTS or (found.argmax(dim=1) == labels).float().mean() > 0.8

    @pytest.mark.parametrize("kind", [LogisticRegression, RandomForestClassifier, SGDClassifier])
    def test_a_single_class_is_what_is_predicted(self, kind: type, network: Network) -> None:
        strategy, features = make(kind), clouds(C, 5, D)[0]
        learn(strategy, network, features, torch.full((15,), 1), EXPERIENCE, BATCH)
        assert probabilities(strategy, network, features).tolist() == [[0.0, 1.0, 0.0]] * 15
        told = "2 known class(es) are never predicted, because they had no image since the base checkpoint"
        assert list(strategy.notes(network)) == [told]

    @pytest.mark.parametrize("kind", ALL)
    def test_the_head_grows(self, kind: type, network: Network) -> None:
        """A longer class list: what is known of the former classes stays."""
        features, labels = clouds(4, 30, D)
        strategy, old = make(kind), labels < C
        learn(strategy, network, features[old], labels[old], EXPERIENCE, BATCH)
        before = probabilities(strategy, network, features)
        network.rearrange_classes([0, 1, 2, None])
        after = probabilities(strategy, network, features)
        assert torch.equal(after[:, :C], before) and not after[:, C].any()
        learn(strategy, network, features[old][:BATCH], labels[old][:BATCH], EXPERIENCE, BATCH)
        if kind in ANEW:
            learn(strategy, network, features[~old], labels[~old], EXPERIENCE, BATCH)
            assert (logits(strategy, network, features).argmax(dim=1) == labels)[~old].float().mean() > 0.8
        else:
            with pytest.raises(TrainingError, match=r"could not be fitted to 16 image\(s\) of 1 class\(es\): "):
                learn(strategy, network, features[~old], labels[~old], EXPERIENCE, BATCH)

    @pytest.mark.parametrize("kind", ALL)
    def test_before_the_first_fit_the_networks_own_head_predicts(self, kind: type, network: Network) -> None:
        features, strategy = clouds()[0], make(kind)
        strategy.before_experience(network, EXPERIENCE)
        strategy.update(network, features[:0], torch.empty(0, dtype=torch.int64))
        strategy.after_experience(network, EXPERIENCE, [])
        assert torch.equal(logits(strategy, network, features), network.head(features))
        assert list(strategy.notes(network)) == []
        learn(strategy, network, *clouds(), EXPERIENCE)
        assert logits(strategy, network, features[:0]).shape == (0, C)

    def test_in_the_midst_of_an_experience_the_last_fit_predicts(self, network: Network) -> None:
        features, labels = clouds(C, 40, D)
        strategy = make(RandomForestClassifier)
        learn(strategy, network, features[:60], labels[:60], EXPERIENCE)
        before = logits(strategy, network, features)
        strategy.update(network, features[60:], labels[60:])
        assert torch.equal(logits(strategy, network, features), before)


class TestState:
    @pytest.mark.parametrize("kind", ALL)
    @pytest.mark.parametrize("midst", [False, True])
    def test_round_trip(self, kind: type, midst: bool, network: Network) -> None:
        """Through a file that is loaded safely, and on from there; prediction leaves it as it is."""
        features, labels = clouds(C, 40, D)
        copies = features.clone(), labels.clone()
        strategy, other = make(kind), make(kind)
        learn(strategy, network, features[:48], labels[:48], EXPERIENCE, BATCH)
        if midst:
            strategy.update(network, features[48:64], labels[48:64])
        saved = io.BytesIO()
        torch.save(strategy.state_dict(), saved)
        expected = logits(strategy, network, features)
        state = torch.load(io.BytesIO(saved.getvalue()), weights_only=True)
        assert all(torch.equal(value, state[key]) for key, value in strategy.state_dict().items())
        assert state["fitted"].dtype == torch.uint8 and bytes(state["fitted"].numpy()[:2]) == b"PK"
        other.load_state_dict(state)
        for _ in range(2):
            assert torch.equal(logits(other, network, features), expected)
            assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
        for each in (strategy, other, copy.deepcopy(other)):
            learn(each, network, features[64:], labels[64:], EXPERIENCE, BATCH)
            final = each.state_dict()
            assert all(torch.equal(value, final[key]) for key, value in strategy.state_dict().items())
        assert torch.equal(logits(other, network, features), logits(strategy, network, features))
        strategy.load_state_dict(state)  # an older one than its own
        assert torch.equal(logits(strategy, network, features), expected)
        assert torch.equal(features, copies[0]) and torch.equal(labels, copies[1])

    @pytest.mark.parametrize("kind", ALL)
    def test_two_processes_that_are_given_the_same_batches_have_the_same_state(
        self, kind: type, network: Network
    ) -> None:
        features, labels = clouds(C, 40, D)
        ranks = make(kind), make(kind)
        for rank in ranks:
            torch.manual_seed(int(np.random.default_rng().integers(1000)))
            np.random.seed(int(np.random.default_rng().integers(1000)))
            learn(rank, network, features.clone(), labels.clone(), EXPERIENCE, BATCH)
        one, other = (rank.state_dict() for rank in ranks)
        assert one["fitted"].numel() and all(torch.equal(value, other[key]) for key, value in one.items())

    def test_its_declarations(self) -> None:
        strategy = SklearnHead()
        assert strategy.kind == "closed_form" and strategy.freezes_backbone and strategy.needs_base_data

    def test_another_precision(self) -> None:
        """Features are learned as float32; logits come as the features do."""
        features, labels = clouds(C, 40, D)
        double, strategy = bare_network(C, D).double(), make(RandomForestClassifier)
        learn(strategy, double, features.double(), labels, EXPERIENCE)
        found = logits(strategy, double, features.double())
        assert found.dtype == torch.float64 and strategy.past.dtype == torch.float32

    def test_foreign_bytes_are_not_run(self, network: Network) -> None:
        features, labels = clouds(C, 40, D)
        strategy = make(SGDClassifier)
        learn(strategy, network, features, labels, EXPERIENCE)
        state = strategy.state_dict()
        data = skops.io.dumps(nn.Identity())
        state["fitted"] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        strategy.load_state_dict(state)
        refused = r"untrusted parts, so it was not used: Untrusted types .*Identity.* Use checkpoints written by lightning_vision"
        with pytest.raises(CheckpointError, match=refused):
            logits(strategy, network, features)
        with pytest.raises(CheckpointError, match=refused):
            strategy.update(network, features, labels)


class TestRefusals:
    """In this order: skops, the path, the options by name, probabilities, the options by value, parts that are not trusted."""

    def test_without_skops(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "skops"]:
            monkeypatch.delitem(sys.modules, name)

        class Hidden:
            """Finds nothing of it."""

            def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
                if name.split(".")[0] == "skops":
                    raise ModuleNotFoundError(f"No module named {name!r}", name="skops")

        monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
        with pytest.raises(ConfigError, match=r"not installed. Run pip install 'lightning_vision\[sklearn\]'"):
            SklearnHead("no.such.Estimator")

    @pytest.mark.parametrize(
        ("path", "options", "message"),
        [
            ("sklearn.ensemble.RandomForrestClassifier", {}, r"cannot be imported \(.* Similar classifiers: sklearn\.ensemble\.RandomF"),
            ("RandomForestClassifier", {}, r"found 'RandomForestClassifier', .* Similar classifiers: sklearn\.ensemble\.RandomF"),
            ("no.such.Thing", {}, r"cannot be imported \(No module named 'no'\)\. Similar classifiers: sklearn\."),
            ("", {}, r"expected estimator to be the dotted path of a scikit-learn classifier, found ''"),
            ("sklearn.ensemble", {}, r"found 'sklearn\.ensemble', which is not a class but <module"),
            ("os.system", {}, r"found 'os\.system', which is not a class but <built-in function system>"),
            ("sklearn.ensemble.RandomForestRegressor", {"no": 1}, r"is not a classifier\. Use sklearn\.ensemble\.RandomForestC"),
            ("collections.OrderedDict", {}, r"found 'collections\.OrderedDict', a class that is not a classifier\. Use sklearn"),
            ("sklearn.ensemble.RandomForestClassifier", {"trees": 5}, r"keyword argument 'trees'\. Its arguments: n_estimators, "),
            ("sklearn.ensemble.VotingClassifier", {}, r"missing 1 required .* 'estimators'\. Its arguments: estimators, "),
            ("sklearn.svm.LinearSVC", {"C": -1}, r"no predict_proba with the estimator_args .*CalibratedClassifierCV\.$"),
            ("sklearn.linear_model.SGDClassifier", {"loss": "hinge"}, r"no predict_proba .*SGDClassifier with loss: log_loss"),
            ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": -1}, r"must be an int in the range \[1, inf\)"),
            ("sklearn.ensemble.RandomForestClassifier", {"criterion": "x"}, r"cannot be fitted to .* must be a str among"),
            ("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 0}, r"'n_neighbors' .* must be an int in the range"),
            ("sklearn.neighbors.KNeighborsClassifier", {}, r"skops does not trust, .*KDTree\..*algorithm: brute"),
        ],
    )  # fmt: skip
    def test_at_once(self, path: str, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            SklearnHead(path, options)

    @pytest.mark.filterwarnings("ignore::FutureWarning")
    def test_options_that_do_not_go_together_before_anything_is_trained(self, network: Network) -> None:
        strategy = SklearnHead("sklearn.linear_model.LogisticRegression", {"penalty": "l1"})
        with pytest.raises(ConfigError, match=r"fitted to 30 random features of 3 classes: Solver lbfgs supports only"):
            strategy.before_experience(network, EXPERIENCE)

    def test_options_for_each_class(self, network: Network) -> None:
        """Refused where they do not go with the number of classes, and not where they do."""
        priors = [0.2, 0.3, 0.5]
        strategy = SklearnHead("sklearn.naive_bayes.GaussianNB", {"priors": priors})
        learn(strategy, network, *clouds(C, 40, D), EXPERIENCE)
        other = SklearnHead("sklearn.naive_bayes.GaussianNB", {"priors": priors})
        with pytest.raises(ConfigError, match=r"Number of priors must match number of classes"):
            other.before_experience(bare_network(4, D), EXPERIENCE)

    @pytest.mark.parametrize(
        "path", ["sklearn.calibration.CalibratedClassifierCV", "sklearn.ensemble.AdaBoostClassifier"]
    )
    def test_what_is_advised_works(self, path: str, network: Network) -> None:
        strategy = SklearnHead(path)
        features, labels = clouds(C, 40, D)
        learn(strategy, network, features, labels, EXPERIENCE)
        other = SklearnHead(path)
        other.load_state_dict(strategy.state_dict())
        found = logits(other, network, features)
        assert torch.equal(found, logits(strategy, network, features))
        assert (found.argmax(dim=1) == labels).float().mean() > 0.8

    def test_too_few_images(self, network: Network) -> None:
        """What an estimator says of the data is said with what to do."""
        strategy, features = make(LinearDiscriminantAnalysis), clouds()[0]
        with pytest.raises(
            TrainingError, match=r"could not be fitted to 3 image\(s\) of 3 class\(es\): The number of samples"
        ):
            learn(strategy, network, features[[0, 1, 4]], torch.arange(3), EXPERIENCE)

    def test_probabilities_that_are_no_numbers(self, network: Network) -> None:
        strategy, (features, labels) = make(GaussianNB), clouds()
        learn(strategy, network, features[:1], labels[:1], EXPERIENCE)
        with pytest.raises(TrainingError, match=r"GaussianNB returns probabilities that are not finite"):
            logits(strategy, network, features)

    def test_features_that_are_no_numbers(self, network: Network) -> None:
        strategy, (features, labels) = make(SGDClassifier), clouds()
        learn(strategy, network, features, labels, EXPERIENCE)
        with pytest.raises(TrainingError, match=r"some features are not finite"):
            logits(strategy, network, features * torch.nan)


CLASSES = (
    "--data.stream=ClassIncremental",
    "--data.stream.experiences=3",
    "--data.noise=60",
    "--data.batch_size=8",
    "--keep_checkpoints=all",
    "--trainer.callbacks=interruptions.Interrupt",
)
RUNS: dict[str, tuple[str, ...]] = {
    "forest": ("--model.strategy=SklearnHead", "--model.strategy.estimator_args.n_estimators=10"),
    "sgd": (
        "--model.strategy=strategies.sklearn_head.SklearnHead",
        "--model.strategy.estimator=sklearn.linear_model.SGDClassifier",
        '--model.strategy.estimator_args={"loss": "log_loss", "average": true}',
    ),
}


class TestCommandLine:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("runs")
        fit(folder, "base", *CLASSES, "--model.strategy=FullFineTune", "--trainer.max_epochs=3")
        return folder

    def run(self, folder: Path, name: str) -> tuple[Path, tuple[str, ...]]:
        """A whole run, and its options."""
        base = folder / "base" / "checkpoints" / "experience=0000.ckpt"
        options = (*CLASSES, f"--model.base_checkpoint={base}", *RUNS[name])
        return folder / name if (folder / name).exists() else fit(folder, name, *options), options

    @pytest.mark.parametrize("name", RUNS)
    def test_a_run(self, name: str, folder: Path) -> None:
        """Classes come one after the other; not a bit of the network moves."""
        run, _ = self.run(folder, name)
        found, forgets = (read_results(path / "results.json") for path in (run, folder / "base"))
        if name == "forest":
            assert (found.test_accuracy[-1] or 0) > (forgets.test_accuracy[-1] or 0) + 0.2
        state = weights_of(run)
        assert changed(weights_of(folder / "base", 0), state) == {"network.seen"}
        assert int(state["strategy.counts"].sum()) == sum(e.train_samples for e in found.experiences)
        assert len(state["strategy.past"]) == (int(state["strategy.counts"].sum()) if name == "forest" else 0)
        assert [e.trainable_parameters for e in found.experiences] == [0, 0, 0]
        assert checkpoint_of(run)["hyper_parameters"]["strategy"]["init_args"]["estimator"].startswith("sklearn.")

    @pytest.mark.parametrize("name", RUNS)
    def test_one_that_was_stopped_ends_as_if_it_had_not_been(
        self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole, options = self.run(folder, name)
        for key, value in interrupt("1::0:1", signal.SIGTERM).items():
            monkeypatch.setenv(key, value)
        assert start(folder, f"{name}-again", *options) == 128 + signal.SIGTERM
        check_equal(fit(folder, f"{name}-again", *options, RESUME), whole)

    def test_a_bad_option(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert start(tmp_path, "bad", "--model.strategy=SklearnHead", "--model.strategy.estimator_args.trees=5") == 2
        assert "unexpected keyword argument 'trees'. Its arguments: n_estimators" in capsys.readouterr().err
        assert not (tmp_path / "bad").exists()
