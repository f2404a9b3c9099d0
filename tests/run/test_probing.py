"""The linear probe: its closed form, what it is fitted to, and that it changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fit
from sklearn.linear_model import Ridge

from lightning_vision.learning.linear_probe import RIDGES, LinearProbe, predict
from lightning_vision.results.schema import Results, read_results, without_measurements

OPTIONS = (
    "--data.stream=ClassIncremental",
    "--data.stream.experiences=3",
    "--model.strategy=FullFineTune",
    "--model.base_epochs=1",
)


def test_the_closed_form_is_that_of_scikit_learn() -> None:
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (60,), generator=draw) * 2
    x = torch.randn(60, 5, generator=draw) + label[:, None] * torch.tensor([1.0, 0.5, 0.0, 0.0, 2.0])
    probe = LinearProbe(5, [0, 2, 4], torch.device("cpu"))
    for rows in (slice(0, 7), slice(7, 60)):
        probe.update(x[rows], label[rows])
    weights, bias = probe.weights()
    centred = (x - x.mean(0)).double()
    scale = (centred.T @ centred).trace() / 5
    y = (label[:, None] == torch.tensor([0, 2, 4])).double()
    for number, ridge in enumerate(RIDGES):
        expected = Ridge(alpha=float(ridge * scale)).fit(x.double().numpy(), y.numpy())
        assert weights[number].T.numpy() == pytest.approx(expected.coef_, abs=1e-6)
        assert bias[number].numpy() == pytest.approx(expected.intercept_, abs=1e-6)
        assert torch.equal(
            predict(x, weights, bias)[number], torch.from_numpy(expected.predict(x.double().numpy())).argmax(1)
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("probing")


@pytest.fixture(scope="module")
def probed(folder: Path) -> Results:
    return read_results(fit(folder, "probed", *OPTIONS, "--probe") / "results.json")


def test_it_is_fitted_to_all_images_so_far_and_to_no_other_class(probed: Results) -> None:
    probe = probed.probe
    assert probe is not None
    counts = [record.train_samples for record in probed.experiences]
    assert probe.train_images == [sum(counts[: t + 1]) for t in range(3)]
    assert [[value is None for value in row] for row in probe.accuracy_matrix] == [
        [value is None for value in row] for row in probed.accuracy_matrix
    ]
    assert all(0 <= (value or 0) <= 1 for value in probe.accuracy) and set(probe.ridge) <= set(RIDGES)
    sizes = [record.test_samples for record in probed.experiences]
    mean = sum(n * (r or 0.0) for n, r in zip(sizes, probe.accuracy_matrix[-1], strict=True)) / sum(sizes)
    assert probe.accuracy[-1] == pytest.approx(mean)


def test_its_predictions_are_kept(folder: Path, probed: Results) -> None:
    with np.load(folder / "probed" / "predictions.npz") as file:
        correct, part = file["probe_predicted"] == file["label"], file["part"]
    assert probed.probe is not None
    for t, row in enumerate(probed.probe.accuracy_matrix):
        assert probed.probe.accuracy[t] == pytest.approx(correct[t, part <= t].mean())
        assert row == [pytest.approx(correct[t, part == i].mean()) if i <= t else None for i in range(3)]


def test_it_changes_nothing_else_and_can_be_added_on_resume(folder: Path, probed: Results) -> None:
    run = fit(folder, "later", *OPTIONS, "--stop_after=1")
    fit(folder, "later", *OPTIONS, "--ckpt_path=last", "--probe")
    later = read_results(run / "results.json")
    assert later.probe is not None and later.probe.accuracy[:2] == [None, None]
    assert probed.probe is not None and later.probe.accuracy[2] == probed.probe.accuracy[2]
    found, expected = (without_measurements(each) for each in (later, probed))
    for each in (found, expected):
        del each["run"]["name"], each["probe"]
    assert found == expected


def test_of_a_frozen_backbone_it_says_that_it_cannot_differ(folder: Path) -> None:
    results = read_results(
        fit(folder, "frozen", *OPTIONS[:2], "--model.strategy=NearestMean", "--probe") / "results.json"
    )
    said = [note for note in results.notes if "NearestMean freezes the backbone" in note]
    assert len(said) == 1 and "the same for all strategies" in said[0]
