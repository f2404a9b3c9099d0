"""``model.label_smoothing`` is torch's own, over the classes seen so far alone."""

from pathlib import Path

import pytest
import torch
from command_line import fit, start, weights_of
from tiny_network import tiny_batch, tiny_network
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision import Strategy

SEEN = [0, 2, 3]
WEIGHTS = torch.tensor([0.5, 7.0, 2.0, 1.0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("mixed", [False, True])
def test_it_is_torchs_over_the_classes_seen(smoothing: float, weights: torch.Tensor | None, mixed: bool) -> None:
    """Class 1 was not seen: it takes no share of a target, and its weight counts nowhere.

    A class's weight counts with each share of a target that it has, as in torch; where torch would divide by the sum of
    the weights of the labels, it is the number of images, as everywhere here.
    """
    network = tiny_network(seen=SEEN)
    network.label_smoothing, network.class_weights = smoothing, weights
    batch = tiny_batch([0, 2, 3, 3, 0])
    target = torch.tensor([0, 1, 2, 2, 0])  # places among the classes seen
    if mixed:
        shares = torch.tensor([[0.3, 0.0, 0.7], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [1.0, 0.0, 0.0]])
        batch["target"], target = torch.zeros(5, 4), shares
        batch["target"][:, SEEN] = shares
    before = {key: value.clone() for key, value in batch.items() if isinstance(value, torch.Tensor)}
    logits = network(batch["image"])
    found = Strategy().cross_entropy(network, logits, batch)
    expected = F.cross_entropy(
        logits[:, SEEN],
        target,
        weight=None if weights is None else weights[SEEN],
        label_smoothing=smoothing,
        reduction="none",
    )
    torch.testing.assert_close(found, expected.mean())
    assert all(torch.equal(batch[key], value) for key, value in before.items())  # type: ignore[literal-required]


def test_by_hand() -> None:
    """Equal logits for two classes but one: 0.9 of the label and 0.05 more on each."""
    network = tiny_network(classes=3, seen=[0, 2])
    network.label_smoothing = 0.1
    logits = torch.tensor([[1.0, 9.0, 0.0]])
    p = torch.tensor([1.0, 0.0]).softmax(0)
    expected = -(0.95 * p[0].log() + 0.05 * p[1].log())
    torch.testing.assert_close(Strategy().cross_entropy(network, logits, tiny_batch([0])), expected)


def test_in_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = weights_of(fit(tmp_path, "plain", "--data.stream=Joint"))
    smooth = weights_of(fit(tmp_path, "smooth", "--data.stream=Joint", "--model.label_smoothing=0.1"))
    assert not torch.equal(plain["network.head.weight"], smooth["network.head.weight"])
    assert start(tmp_path, "much", "--model.label_smoothing=1") == 2
    assert "model.label_smoothing: expected a share from 0 to below 1, found 1.0" in capsys.readouterr().err
