"""Move-to-Data: the equation against its oracle and identities, and what a run makes of it."""

import json
from pathlib import Path

import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import changed, checkpoint_of, fit, start, weights_of
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network
from lightning_vision.results.schema import read_results
from strategies import MoveToData
from strategies.move_to_data import DEFAULT_EPSILONS, imprint, move_to_data

C, D, N = 9, 64, 1000


def data(classes: int = C, dimensions: int = D, count: int = N) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, features as a ReLU leaves them, labels."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(classes, dimensions, generator=generator) / 8
    features = torch.randn(count, dimensions, generator=generator).relu()
    return weight, features, torch.randint(0, classes, (count,), generator=generator)


def oracle(weight: Tensor, features: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """The equation as it is written: one sample after the other, in float64, never rounded in between."""
    w = weight.double().clone()
    for v, j in zip(features.double(), labels.tolist(), strict=True):
        w[j] += epsilon * (w[j].norm() * v / v.norm() - w[j])
    return w


def a_network(classes: int = 4, head_hidden: int = 0, head_dropout: float = 0.0) -> Network:
    torch.manual_seed(0)
    facts = BackboneFacts("none", D, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    network = Network(nn.Flatten(), facts, classes, head_hidden=head_hidden, head_dropout=head_dropout)
    network.see(range(classes))
    return network.eval()


def increment() -> Experience:
    return ColouredSquares(stream=InstanceIncremental(experiences=2)).stream[1]


class TestEquation:
    @pytest.mark.parametrize("epsilon", [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    def test_a_thousand_updates_equal_the_oracle(self, epsilon: float) -> None:
        weight, features, labels = data()
        moved, expected = move_to_data(weight, features, labels, epsilon), oracle(weight, features, labels, epsilon)
        movement, wanted = moved.double() - weight, expected - weight
        assert (movement - wanted).norm() < 0.01 * wanted.norm()
        assert ((moved - expected).norm(dim=1) < 1e-5 * expected.norm(dim=1)).all()

    def test_batch_after_batch_loses_nothing_to_rounding(self) -> None:
        """Rounded to float32 after each batch, 88 % of the movement at 1e-8 would silently be lost."""
        weight, features, labels = data()
        network, strategy = a_network(C), MoveToData([1e-8, 1e-6])
        network.classifier.weight.data.copy_(weight)
        strategy.before_experience(network, increment())
        for n in range(N):
            strategy.update(network, features[n : n + 1], labels[n : n + 1])
        for head, epsilon in zip(strategy.heads, (1e-8, 1e-6), strict=True):
            wanted = oracle(weight, features, labels, epsilon) - weight
            assert (head - weight - wanted).norm() < 1e-6 * wanted.norm()

    def test_epsilon_0_changes_no_bit(self) -> None:
        weight, features, labels = data()
        weight[0, :3] = torch.tensor([-0.0, 1e-42, 3e38])
        moved = move_to_data(weight, features, labels, 0.0)
        assert torch.equal(moved.view(torch.int32), weight.view(torch.int32))
        swept = move_to_data(weight.repeat(2, 1, 1), features, labels, torch.tensor([0.0, 0.1]))
        assert torch.equal(swept[0].view(torch.int32), weight.view(torch.int32))
        assert not torch.equal(swept[1], weight)

    @pytest.mark.parametrize(("classes", "dimensions"), [(9, 64), (1, 7), (1, 2048), (196, 33)])
    def test_each_head_of_a_sweep_equals_its_own_run_bit_for_bit(self, classes: int, dimensions: int) -> None:
        weight, features, labels = data(classes, dimensions, 300)
        epsilons = torch.tensor(DEFAULT_EPSILONS, dtype=torch.float64)
        swept = move_to_data(weight.repeat(len(epsilons), 1, 1), features, labels, epsilons)
        for head, epsilon in zip(swept, DEFAULT_EPSILONS, strict=True):
            assert torch.equal(head, move_to_data(weight, features, labels, epsilon))

    def test_no_length_grows_and_the_law_of_cosines_holds(self) -> None:
        weight, features, _ = data(count=C)
        for epsilon in (0.0, 0.1, 0.5, 0.9, 1.0):
            moved = move_to_data(weight.double(), features, torch.arange(C), epsilon)
            cosine = F.cosine_similarity(weight.double(), features.double())
            share = (1 - epsilon) ** 2 + epsilon**2 + 2 * epsilon * (1 - epsilon) * cosine
            torch.testing.assert_close(moved.norm(dim=1) ** 2, weight.double().norm(dim=1) ** 2 * share)
            assert (moved.norm(dim=1) <= weight.double().norm(dim=1) * (1 + 1e-12)).all()

    def test_epsilon_1_takes_the_last_samples_direction(self) -> None:
        weight, features, labels = data()
        moved = move_to_data(weight, features, labels, 1.0)
        for j in range(C):
            last = features[labels == j][-1]
            torch.testing.assert_close(moved[j], last / last.norm() * weight[j].norm())

    def test_a_samples_own_score_never_falls(self) -> None:
        weight, features, labels = data(count=50)
        for epsilon in (1e-4, 0.1, 0.5, 1.0):
            for v, j in zip(features, labels, strict=True):
                moved = move_to_data(weight.double(), v[None].double(), j[None], epsilon)
                assert moved[j] @ v.double() >= weight[j].double() @ v.double() - 1e-12

    def test_the_old_direction_keeps_a_share_of_its_own_after_n_images(self) -> None:
        """Images at right angles to the row: what is left of it along its own direction is (1 - epsilon)^n."""
        weight = torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64)
        features = torch.tensor([[0.0, 3.0, 1.0]], dtype=torch.float64).repeat(40, 1)
        for epsilon in (1e-3, 0.1):
            moved = move_to_data(weight, features, torch.zeros(40, dtype=torch.int64), epsilon)
            torch.testing.assert_close(moved[0, 0], torch.tensor(2 * (1 - epsilon) ** 40, dtype=torch.float64))

    def test_classes_do_not_interact(self) -> None:
        weight, features, labels = data()
        together = move_to_data(weight, features, labels, 0.01)
        for j in range(C):
            own = labels == j
            alone = move_to_data(weight, features[own], labels[own], 0.01)
            assert torch.equal(alone[j], together[j])
            others = torch.arange(C) != j
            assert torch.equal(alone[others], weight[others])

    def test_order_within_a_class_matters_and_is_kept(self) -> None:
        weight, features, labels = data(count=200)
        forwards = move_to_data(weight, features, labels, 0.1)
        assert not torch.allclose(forwards, move_to_data(weight, features.flip(0), labels.flip(0), 0.1))
        halves = move_to_data(
            move_to_data(weight.double(), features[:77], labels[:77], 0.1), features[77:], labels[77:], 0.1
        )
        torch.testing.assert_close(halves.float(), forwards)

    def test_a_feature_or_a_row_of_length_0_moves_nothing(self) -> None:
        weight, features, labels = data(count=20)
        features[5], labels[5] = 0.0, 0
        without = torch.arange(20) != 5
        assert torch.equal(
            move_to_data(weight, features, labels, 0.1), move_to_data(weight, features[without], labels[without], 0.1)
        )
        weight[1] = 0.0
        assert torch.equal(move_to_data(weight, features, labels, 0.1)[1], weight[1])
        assert torch.equal(move_to_data(weight, torch.zeros(20, D), labels, 0.1), weight)

    def test_tiny_and_huge_features_give_the_same_direction(self) -> None:
        weight, features, labels = data(count=20)
        expected = move_to_data(weight, features, labels, 0.1)
        for scale in (2.0**-120, 2.0**60):
            torch.testing.assert_close(move_to_data(weight, features * scale, labels, 0.1), expected)

    def test_inputs_are_not_changed(self) -> None:
        weight, features, labels = data(count=50)
        inputs = (weight, features, labels, torch.tensor([0.1, 0.5]))
        copies = [value.clone() for value in inputs]
        move_to_data(weight, features, labels, 0.1)
        move_to_data(weight.repeat(2, 1, 1), features, labels, inputs[3])
        assert all(torch.equal(value, copy) for value, copy in zip(inputs, copies, strict=True))
        assert move_to_data(weight, features[:0], labels[:0], 0.1).data_ptr() != weight.data_ptr()

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
    def test_shape_and_type_of_the_weight_are_kept(self, dtype: torch.dtype) -> None:
        weight, features, labels = data(count=30)
        assert move_to_data(weight.to(dtype), features, labels, 0.1).dtype == dtype
        swept = move_to_data(weight.to(dtype).repeat(3, 1, 1), features, labels, torch.tensor([0.1, 0.2, 0.3]))
        assert swept.dtype == dtype and swept.shape == (3, C, D)
        assert move_to_data(weight[None], features, labels, 0.1).shape == (1, C, D)

    @pytest.mark.parametrize(
        ("weight", "features", "labels", "epsilon", "found"),
        [
            ((9, 64), (5, 63), 5, 0.1, r"weight \(9, 64\), 1 epsilon\(s\), features \(5, 63\), labels \(5,\)"),
            ((9, 64), (5, 64), 4, 0.1, r"features \(5, 64\), labels \(4,\)"),
            ((2, 9, 64), (5, 64), 5, 0.1, r"weight \(2, 9, 64\), 1 epsilon"),
            ((2, 9, 64), (5, 64), 5, torch.tensor([0.1, 0.2, 0.3]), r"weight \(2, 9, 64\), 3 epsilon"),
            ((9, 64), (5, 64), 5, torch.tensor([0.1, 0.2]), r"weight \(9, 64\), 2 epsilon"),
        ],
    )
    def test_shapes_that_do_not_fit_are_named(
        self, weight: tuple[int, ...], features: tuple[int, ...], labels: int, epsilon: float | Tensor, found: str
    ) -> None:
        with pytest.raises(
            ValueError, match=r"Expected weight \(C, D\) with one epsilon or \(E, C, D\) .*found.*" + found
        ):
            move_to_data(torch.ones(weight), torch.ones(features), torch.zeros(labels, dtype=torch.int64), epsilon)


class TestImprint:
    def test_a_new_row_is_its_first_feature_with_the_mean_length(self) -> None:
        weight = torch.tensor([[[3.0, 4.0], [7.0, 7.0], [0.0, 1.0]]])
        lengths = torch.tensor([5.0, 0.0, 1.0])
        features = torch.tensor([[9.0, 9.0], [0.0, 2.0], [2.0, 0.0]])
        moved, known = imprint(weight, lengths, features, torch.tensor([0, 1, 1]))
        assert moved.tolist() == [[[3.0, 4.0], [0.0, 3.0], [0.0, 1.0]]]
        assert known.tolist() == [5.0, 3.0, 1.0]
        assert weight[0, 1].tolist() == [7.0, 7.0] and lengths.tolist() == [5.0, 0.0, 1.0]

    def test_without_any_row_the_length_is_1(self) -> None:
        moved, known = imprint(torch.rand(2, 3, 4), torch.zeros(3), torch.eye(4), torch.tensor([2, 2, 0, 0]))
        assert moved[0, 2].tolist() == [1.0, 0.0, 0.0, 0.0] and moved[1, 0].tolist() == [0.0, 0.0, 1.0, 0.0]
        assert known.tolist() == [1.0, 0.0, 1.0]

    def test_a_feature_of_length_0_is_no_direction(self) -> None:
        """A row of zeros could never move again."""
        features = torch.tensor([[0.0, 0.0], [0.0, 5.0]])
        moved, known = imprint(torch.ones(1, 2, 2), torch.tensor([2.0, 0.0]), features, torch.tensor([1, 1]))
        assert moved[0, 1].tolist() == [0.0, 2.0]
        assert known.tolist() == [2.0, 2.0]
        moved, known = imprint(torch.ones(1, 2, 2), torch.tensor([2.0, 0.0]), features[:1], torch.tensor([1]))
        assert moved[0, 1].tolist() == [1.0, 1.0] and known.tolist() == [2.0, 0.0]


class TestStrategy:
    def test_the_penultimate_features_move_the_last_layer(self) -> None:
        network = a_network(head_hidden=32, head_dropout=0.5)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        strategy = MoveToData(0.1)
        strategy.before_experience(network, increment())
        v, labels = torch.randn(40, D), torch.arange(40) % 4
        strategy.update(network, v, labels)
        hidden = F.linear(v, before["head.0.weight"], before["head.0.bias"]).relu()
        expected = oracle(before["head.3.weight"], hidden, labels, 0.1)
        torch.testing.assert_close(strategy.heads[0], expected)
        logits = strategy.predict(network, v)
        assert isinstance(logits, dict) and list(logits) == ["epsilon=0.1"]
        torch.testing.assert_close(logits["epsilon=0.1"], F.linear(hidden, expected.float(), before["head.3.bias"]))
        strategy.select_variant(network, "epsilon=0.1")
        torch.testing.assert_close(network(v), logits["epsilon=0.1"])
        assert [name for name in before if not torch.equal(before[name], network.state_dict()[name])] == [
            "head.3.weight"
        ]

    def test_before_an_increment_it_predicts_what_the_network_does(self) -> None:
        network, strategy = a_network(), MoveToData()
        v = torch.randn(3, D)
        assert torch.equal(torch.as_tensor(strategy.predict(network, v)), network.head(v))
        assert strategy.notes(network) == []

    def test_facts_and_notes(self) -> None:
        network, strategy = a_network(), MoveToData([1e-6, 0.5])
        strategy.before_experience(network, increment())
        strategy.update(network, torch.randn(90, D), torch.tensor([0, 1, 1] * 30))
        facts = strategy.variant_facts(network)
        assert facts["epsilon=0.5"]["n_epsilon"] == [15.0, 30.0, 0.0, 0.0]
        assert facts["epsilon=1e-06"]["n_epsilon"] == pytest.approx([3e-5, 6e-5, 0.0, 0.0])
        assert strategy.notes(network) == ["epsilon=0.5: 2 class row(s) shrank below a tenth"]

    def test_each_variant_continues_from_its_own(self) -> None:
        network, strategy = a_network(), MoveToData([0.01, 0.1])
        start_weight = network.classifier.weight.detach().clone()
        batches = [(torch.randn(20, D), torch.arange(20) % 4) for _ in range(2)]
        for v, labels in batches:
            strategy.before_experience(network, increment())
            strategy.update(network, v, labels)
            strategy.select_variant(network, "epsilon=0.1")
        v, labels = torch.cat([v for v, _ in batches]), torch.cat([labels for _, labels in batches])
        torch.testing.assert_close(strategy.heads[0], oracle(start_weight, v, labels, 0.01))
        torch.testing.assert_close(strategy.heads[1], oracle(start_weight, v, labels, 0.1))

    @pytest.mark.parametrize(("epsilon", "passes"), [(1.5, 1), (-0.1, 1), ([], 1), ([0.1, 2.0], 1), (0.1, 0)])
    def test_impossible_options(self, epsilon: float | list[float], passes: int) -> None:
        with pytest.raises(ConfigError, match=r"MoveToData: expected 0 <= epsilon <= 1, passes >= 1; found .*, \d"):
            MoveToData(epsilon, passes)

    def test_a_sweep_needs_validation_and_a_single_epsilon_does_not(self) -> None:
        assert MoveToData().needs_validation and list(MoveToData().variant_values.values()) == list(DEFAULT_EPSILONS)
        assert not MoveToData(0.1).needs_validation and not MoveToData([0.1, 0.1]).needs_validation


SWEEP = [0.0, 1e-6, 1e-3, 0.5]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and from it a sweep and single epsilons, all in one folder."""
    folder = tmp_path_factory.mktemp("runs")
    base = "--data.stream.base_fraction=0.3"
    fit(
        folder,
        "sweep",
        base,
        "--model.strategy=MoveToData",
        f"--model.strategy.epsilon={SWEEP}",
        "--keep_checkpoints=all",
    )
    checkpoint = f"--model.base_checkpoint={folder / 'sweep' / 'checkpoints' / 'experience=0000.ckpt'}"
    for epsilon in (1e-3, 0.5):
        fit(
            folder,
            f"one {epsilon}",
            base,
            checkpoint,
            "--model.strategy=MoveToData",
            f"--model.strategy.epsilon={epsilon}",
        )
    many = json.dumps([(number + 1) / 1000 for number in range(32)])
    fit(folder, "thirty-two", base, checkpoint, "--model.strategy=MoveToData", f"--model.strategy.epsilon={many}")
    return folder


class TestRun:
    def test_a_head_of_the_sweep_is_the_single_run_bit_for_bit(self, runs: Path) -> None:
        heads = weights_of(runs / "sweep")["strategy.heads"]
        assert heads.shape == (4, 4, 96)
        for epsilon in (1e-3, 0.5):
            one = weights_of(runs / f"one-{epsilon}")
            assert torch.equal(heads[SWEEP.index(epsilon)], one["strategy.heads"][0])
            assert torch.equal(one["network.head.weight"], one["strategy.heads"][0].float())
        base = weights_of(runs / "sweep", 0)["network.head.weight"]
        assert torch.equal(heads[0].float(), base), "epsilon 0 changes no bit"
        assert not torch.equal(heads[2].float(), base)

    def test_figures_of_a_variant_are_those_of_the_single_run(self, runs: Path) -> None:
        sweep = read_results(runs / "sweep" / "results.json")
        for epsilon in (1e-3, 0.5):
            one, variant = read_results(runs / f"one-{epsilon}" / "results.json"), sweep.variants[f"epsilon={epsilon}"]
            assert one.test_accuracy == variant.test_accuracy
            assert one.accuracy_matrix == variant.accuracy_matrix
            assert one.test == variant.test

    def test_only_the_last_layers_weight_moves(self, runs: Path) -> None:
        """The backbone, its running statistics and the biases stay bit-identical."""
        base = weights_of(runs / "sweep", 0)
        assert any("running_mean" in name for name in base)
        assert changed(base, weights_of(runs / "one-0.5")) == {"network.head.weight"}
        assert changed(base, weights_of(runs / "sweep")) <= {"network.head.weight"}

    def test_a_sweep_of_32_needs_the_features_of_one(self, runs: Path) -> None:
        """And whichever of the runs came first computed them for all."""
        one, many = (read_results(runs / name / "results.json") for name in ("one-0.001", "thirty-two"))
        assert len(many.variants) == 32
        needed = [run.features.computed + run.features.reused for run in (one, many) if run.features is not None]
        images = sum(e.train_samples + e.val_samples + e.test_samples for e in one.experiences)
        assert needed == [images - one.experiences[0].train_samples] * 2
        assert one.totals.backbone_images == many.totals.backbone_images == 0

    def test_n_epsilon_is_kept_per_class(self, runs: Path) -> None:
        results = read_results(runs / "sweep" / "results.json")
        images = sum(e.train_samples for e in results.experiences[1:])
        facts = results.variants["epsilon=0.001"].extra["n_epsilon"]
        assert list(facts) == results.class_names
        assert sum(facts.values()) == pytest.approx(images * 1e-3)

    def test_the_pick_is_the_best_on_validation_and_the_smallest_of_equals(self, runs: Path) -> None:
        results = read_results(runs / "sweep" / "results.json")
        for t in (1, 2):
            accuracy = {name: variant.val_accuracy[t] for name, variant in results.variants.items()}
            best = max(value for value in accuracy.values() if value is not None)
            assert results.picked_variant is not None
            assert results.picked_variant[t] == next(name for name, value in accuracy.items() if value == best)
        picked = str(results.picked_variant[-1] if results.picked_variant else "")
        weights = weights_of(runs / "sweep")
        row = list(results.variants).index(picked)
        assert torch.equal(weights["network.head.weight"], weights["strategy.heads"][row].float())
        assert checkpoint_of(runs / "sweep")["lightning_vision"]["picked_variant"] == picked

    def test_passes(self, runs: Path, tmp_path: Path) -> None:
        """Two passes move twice, in the same order; the epochs asked for do not count."""
        base = f"--model.base_checkpoint={runs / 'sweep' / 'checkpoints' / 'experience=0000.ckpt'}"
        options = [
            "--data.stream.base_fraction=0.3",
            base,
            "--model.strategy=MoveToData",
            "--model.strategy.epsilon=0.001",
        ]
        run = fit(tmp_path, "twice", *options, "--model.strategy.passes=2", "--trainer.max_epochs=5")
        twice, once = (read_results(path / "results.json") for path in (run, runs / "one-0.001"))
        assert [e.epochs for e in twice.experiences] == [0, 2, 2]
        assert [e.backbone_images for e in twice.experiences] == [2 * e.backbone_images for e in once.experiences]
        state = weights_of(run)
        assert torch.equal(state["strategy.counts"], 2 * weights_of(runs / "one-0.001")["strategy.counts"])


@pytest.fixture(scope="module")
def class_incremental(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ["--data.stream=ClassIncremental", "--data.stream.experiences=3", "--keep_checkpoints=all"]
    return fit(
        tmp_path_factory.mktemp("class"),
        "incremental",
        *options,
        "--model.strategy=MoveToData",
        "--model.strategy.epsilon=0.0",
        "--trainer.max_epochs=3",
    )


class TestNewClasses:
    def test_a_class_is_imprinted_when_it_comes(self, class_incremental: Path) -> None:
        """Epsilon 0 leaves the imprinted rows as they are: each is an image's feature, as long as the rows before."""
        base, state = weights_of(class_incremental, 0), weights_of(class_incremental)
        seen = [weights_of(class_incremental, t)["network.seen"].sum().item() for t in range(3)]
        first = seen[0]
        assert seen == [first, first + 1, 4]
        length = base["network.head.weight"][:first].norm(dim=1).mean()
        new = state["strategy.heads"][0, first:]
        torch.testing.assert_close(new.norm(dim=1).float(), length.expand(len(new)))
        assert torch.equal(state["strategy.heads"][0, :first].float(), base["network.head.weight"][:first])
        assert not torch.equal(state["network.head.weight"][first:], base["network.head.weight"][first:])
        halfway = weights_of(class_incremental, 1)["network.head.weight"]
        assert torch.equal(halfway[3], base["network.head.weight"][3]), "a class to come has no row yet"

    def test_new_classes_are_recognised(self, class_incremental: Path) -> None:
        results = read_results(class_incremental / "results.json")
        assert results.accuracy_matrix[0][1:] == [None, None]
        new = [results.accuracy_matrix[t][t] for t in (1, 2)]
        assert max(value or 0.0 for value in new) > 0.5

    def test_joint_imprints_every_class(self, tmp_path: Path) -> None:
        """Nothing was learned before: each row starts as its class's first feature, and has length 1."""
        options = ["--data.stream=Joint", "--model.strategy=MoveToData", "--model.strategy.epsilon=0.0"]
        run = fit(tmp_path, "joint", *options)
        torch.testing.assert_close(weights_of(run)["network.head.weight"].norm(dim=1), torch.ones(4))
        assert (read_results(run / "results.json").test_accuracy[0] or 0) > 0.5

    def test_a_head_with_a_hidden_layer(self, tmp_path: Path) -> None:
        options = ["--model.head_hidden=8", "--model.head_dropout=0.2", "--keep_checkpoints=all"]
        run = fit(tmp_path, "hidden", *options, "--model.strategy=MoveToData", "--model.strategy.epsilon=0.1")
        assert weights_of(run)["strategy.heads"].shape == (1, 4, 8)
        assert changed(weights_of(run, 0), weights_of(run)) == {"network.head.3.weight"}

    def test_without_validation_a_sweep_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert start(tmp_path, "no", "--data.val_fraction=0", "--model.strategy=MoveToData") == 2
        error = capsys.readouterr().err
        assert "picks one of several variants on validation data" in error and "data.val_fraction is 0" in error
        options = ["--data.val_fraction=0", "--model.strategy=MoveToData", "--model.strategy.epsilon=0.01"]
        results = read_results(fit(tmp_path, "yes", *options) / "results.json")
        assert results.run.complete and results.variants == {} and results.picked_variant is None
