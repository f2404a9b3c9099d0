"""HeadOnly: the backbone stays bit-identical, batch norm's statistics included."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import changed, fit, weights_of
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision import Batch, InstanceIncremental, Network
from lightning_vision.results.schema import read_results
from lightning_vision.seeding import derive_seed
from strategies import HeadOnly


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout in the backbone, which would move the features if the backbone were in training mode."""
    options = ["--model.strategy=HeadOnly", "--trainer.max_epochs=3", "--keep_checkpoints=all", "--model.drop_rate=0.5"]
    return fit(tmp_path_factory.mktemp("head"), "only", *options)


def test_the_head_alone_learns(run: Path) -> None:
    base = weights_of(run, 0)
    assert any("running_var" in name for name in base), "a backbone without batch norm would prove little"
    for t in (1, 2):
        assert changed(base, weights_of(run, t)) == {"network.head.weight", "network.head.bias"}


def test_trainable_parameters_are_the_heads(run: Path) -> None:
    results = read_results(run / "results.json")
    head = 96 * 4 + 4
    assert [e.trainable_parameters for e in results.experiences] == [results.network.total_parameters, head, head]


class Remembers(HeadOnly):
    """HeadOnly that keeps what it was given, by row."""

    served: ClassVar[dict[int, Tensor]] = {}

    def loss(self, network: Network, batch: Batch) -> Tensor:
        self.served.update(zip(batch["index"].tolist(), batch["features"], strict=True))
        return super().loss(network, batch)


def test_it_learns_what_a_bare_loop_over_the_same_features_learns(tmp_path: Path) -> None:
    """Bit by bit: the order is that of the seed, and what is left out of a step changes nothing."""
    options = (
        "--data.views=0",
        "--data.val_fraction=0",
        "--trainer.max_epochs=3",
        "--keep_checkpoints=all",
        "--seed_everything=4",
        "--data.batch_size=6",
    )
    run = fit(tmp_path, "run", "--model.strategy=test_head_only.Remembers", "--model.base_strategy=HeadOnly", *options)
    data = ColouredSquares(val_fraction=0, stream=InstanceIncremental(experiences=3))
    labels = torch.from_numpy(data.samples["label"].to_numpy(copy=True))
    for t in (1, 2):
        before, after = weights_of(run, t - 1), weights_of(run, t)
        head = nn.Linear(96, 4)
        head.load_state_dict({name: before[f"network.head.{name}"] for name in ("weight", "bias")})
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
        for epoch in range(3):
            order = np.random.default_rng(derive_seed(4, "order", t, epoch)).permutation(data.stream[t].indices)
            assert len(order) % 6 == 0, "or a short last batch would be shared with the one before"
            for rows in order.reshape(-1, 6):
                logits = head(torch.stack([Remembers.served[row] for row in rows.tolist()]))
                loss = F.cross_entropy(
                    logits.masked_fill(~after["network.seen"], -torch.inf), labels[rows], reduction="none"
                ).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        assert torch.equal(head.weight, after["network.head.weight"]) and torch.equal(
            head.bias, after["network.head.bias"]
        )
