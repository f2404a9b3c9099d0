"""LwF: the loss by hand, and a teacher that nothing changes."""

import signal
from pathlib import Path
from typing import Literal

import pytest
import torch
from command_line import fit, start, weights_of
from interruptions import interrupt
from tiny_network import flat, tiny_batch, tiny_experience, tiny_network
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network, evaluation_mode, freeze
from lightning_vision.results.schema import read_results
from strategies.lwf import LwF, distillation


def test_distillation_by_hand() -> None:
    """Two classes, T = 2: p = softmax(0, ln 2) = (1/3, 2/3) and q = (1/2, 1/2)."""
    log = torch.tensor(2.0).log()
    p, q = torch.stack([0 * log, 2 * log])[None], torch.zeros(1, 2)
    wanted = 0.5 * torch.tensor(1.5).log() + 0.5 * torch.tensor(0.75).log()
    torch.testing.assert_close(distillation(p, q, 2.0), wanted)
    same = torch.randn(5, 3)
    assert distillation(same, same + 4, 2.0).abs() < 1e-6


def student_of(teacher: Network, cross_entropy: Literal["new", "seen"] = "new") -> tuple[LwF, Network]:
    """A strategy that kept a network, and another network to learn with it."""
    strategy = LwF(alpha=0.7, temperature=3.0, cross_entropy=cross_entropy)
    strategy.before_experience(teacher, tiny_experience(1, tiny_batch([2, 3])))
    student = tiny_network(norm=True, seed=9)
    return strategy, student


@pytest.mark.parametrize("cross_entropy", ["new", "seen"])
def test_the_loss_by_hand(cross_entropy: Literal["new", "seen"]) -> None:
    """The cross entropy is over the two new classes, as in the paper, or over all four."""
    teacher, batch = tiny_network(seen=(0, 1), norm=True), tiny_batch([2, 3, 2])
    strategy, student = student_of(teacher, cross_entropy)
    z, then = student(batch["image"]), teacher(batch["image"])
    p, q = (z[:, :2] / 3).softmax(dim=1), (then[:, :2] / 3).softmax(dim=1)
    first = 2 if cross_entropy == "new" else 0
    wanted = F.cross_entropy(z[:, first:], batch["label"] - first) + 0.7 * (q * (q / p).log()).sum(dim=1).mean()
    torch.testing.assert_close(strategy.loss(student, batch), wanted)


def test_old_rows_are_moved_by_the_distillation_alone() -> None:
    teacher, batch = tiny_network(seen=(0, 1), norm=True), tiny_batch([2, 3, 2])
    cases: list[tuple[Literal["new", "seen"], bool]] = [("new", False), ("seen", True)]
    for cross_entropy, moved in cases:
        strategy, student = student_of(teacher, cross_entropy)
        strategy.alpha = 0.0
        gradient = torch.autograd.grad(strategy.loss(student, batch), student.classifier.weight)[0]
        assert gradient[:2].any() == moved and gradient[2:].any()


@pytest.mark.parametrize(("labels", "over"), [([0, 1], [0, 1, 2]), ([1, 3], [1, 3]), ([3, 3], [0, 1, 2, 3])])
def test_where_no_class_is_new_or_one_is_alone_it_is_over_all_seen(labels: list[int], over: list[int]) -> None:
    """An experience of new and known classes has the cross entropy over both; over one class it would be 0."""
    network, batch, strategy = tiny_network(seen=(0, 1, 2)), tiny_batch(labels), LwF(alpha=0.0)
    strategy.before_experience(network, tiny_experience(1, batch, before=(0, 1, 2)))
    network.see(labels)
    places = torch.tensor([over.index(label) for label in labels])
    wanted = F.cross_entropy(network(batch["image"])[:, over], places)
    torch.testing.assert_close(strategy.loss(network, batch), wanted)


def test_a_checkpoint_needs_nothing_more_and_earlier_runs_had_the_other() -> None:
    assert LwF.EARLIER_DEFAULTS == {"cross_entropy": "seen"}
    assert set(LwF().state_dict()) == {"teacher", "old"}


def test_where_nothing_was_seen_before_it_is_fine_tuning() -> None:
    network, strategy, batch = tiny_network(seen=()), LwF(), tiny_batch([0, 1])
    strategy.before_experience(network, tiny_experience(0, batch))
    network.see((0, 1))
    torch.testing.assert_close(
        strategy.loss(network, batch), F.cross_entropy(network(batch["image"])[:, :2], batch["label"])
    )


class TestTeacher:
    def test_it_is_in_evaluation_mode_and_the_network_in_its_own(self) -> None:
        """Dropout and batch norm as in training would give other logits each time, and move the running statistics."""
        teacher, batch = tiny_network(seen=(0, 1), norm=True), tiny_batch([2, 3, 2])
        strategy, student = student_of(teacher)
        student.train()
        freeze(student.backbone[2])  # type: ignore[index]
        modes = [module.training for module in student.modules()]
        before = {name: value.clone() for name, value in student.state_dict().items()}
        torch.testing.assert_close(strategy.teacher_logits(student, batch["image"]), teacher(batch["image"]))
        assert [module.training for module in student.modules()] == modes and True in modes and False in modes
        assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())

    def test_it_is_sent_no_gradient_and_the_student_gets_its_own(self) -> None:
        teacher, batch = tiny_network(seen=(0, 1), norm=True), tiny_batch([2, 3, 2])
        strategy, student = student_of(teacher)
        kept = strategy.teacher.clone()
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        assert not list(strategy.parameters()) and not strategy.teacher.requires_grad
        for _ in range(3):
            optimizer.zero_grad()
            strategy.loss(student, batch).backward()  # type: ignore[no-untyped-call]
            assert all(p.grad is not None for p in student.parameters())
            optimizer.step()
        assert torch.equal(strategy.teacher, kept)
        assert all(p.grad is None for p in teacher.parameters())

    def test_it_comes_back_from_a_checkpoint(self) -> None:
        """Before the checkpoint is loaded, the hook is run again with a network that is not the one it was."""
        teacher, batch = tiny_network(seen=(0, 1), norm=True), tiny_batch([2, 3, 2])
        strategy, student = student_of(teacher)
        fresh = LwF(alpha=0.7, temperature=3.0)
        fresh.before_experience(tiny_network(seen=(0, 1), norm=True, seed=5), tiny_experience(1, batch))
        fresh.load_state_dict(strategy.state_dict())
        assert torch.equal(fresh.loss(student, batch), strategy.loss(student, batch))

    def test_a_copy_of_the_original_backbone_is_no_part_of_it(self) -> None:
        """It never changes, and results.json counts it as kept beside the backbone."""
        network, batch, strategy = tiny_network(seen=(0, 1)), tiny_batch([2, 3]), LwF()
        network.keep_original()
        strategy.before_experience(network, tiny_experience(1, batch, before=(0, 1)))
        assert torch.equal(strategy.teacher, flat(network))
        torch.testing.assert_close(strategy.teacher_logits(network, batch), network(batch))

    def test_distilling_pulls_the_old_answers_back(self) -> None:
        teacher, batch = tiny_network(seen=(0, 1)), tiny_batch([2, 3] * 8)
        drift = {}
        for alpha in (0.0, 5.0):
            strategy, network = LwF(alpha=alpha), tiny_network(seen=(0, 1))
            strategy.before_experience(network, tiny_experience(1, batch))
            network.see((2, 3))
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
            for _ in range(100):
                optimizer.zero_grad()
                strategy.loss(network, batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            now, then = (net(batch["image"])[:, :2] for net in (network, teacher))
            drift[alpha] = distillation(now, then, temperature=1.0).item()
            assert not torch.equal(flat(network), flat(teacher))
        assert drift[5.0] < 0.5 * drift[0.0]


def test_modes_are_put_back_after_an_error() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout().eval(), nn.ReLU()))
    with pytest.raises(RuntimeError, match="stop"), evaluation_mode(module):
        assert not any(each.training for each in module.modules())
        raise RuntimeError("stop")
    assert [each.training for each in module.modules()] == [True, True, True, False, True]


@pytest.mark.parametrize("options", [{"alpha": -1.0}, {"temperature": 0.0}])
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="LwF: expected alpha >= 0 and temperature > 0, found"):
        LwF(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="LwF: expected cross_entropy new or seen, found 'all'"):
        LwF(cross_entropy="all")  # type: ignore[arg-type]


def test_a_kill_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher is the base, and again when the run resumes in the middle of the increment."""
    options = ["--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.batch_size=8"]
    options += ["--trainer.max_epochs=2", "--trainer.callbacks=interruptions.Interrupt", "--keep_checkpoints=all"]
    options += ["--model.strategy=strategies.lwf.LwF", "--model.head_dropout=0.2"]
    whole = fit(tmp_path, "whole", *options)
    for name, value in interrupt("1::1:1", signal.SIGTERM).items():
        monkeypatch.setenv(name, value)
    assert start(tmp_path, "part", *options, "--ckpt_path=last") == 128 + signal.SIGTERM
    assert start(tmp_path, "part", *options, "--ckpt_path=last") == 0
    found, wanted, base = weights_of(tmp_path / "part"), weights_of(whole), weights_of(whole, 0)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], value) for name, value in wanted.items())
    teacher = [
        value.flatten() for name, value in base.items() if name.startswith("network.") and value.is_floating_point()
    ]
    assert torch.equal(wanted["strategy.teacher"], torch.cat(teacher))
    assert wanted["strategy.old"].tolist() == [True, True, False, False]
    increment = read_results(whole / "results.json").experiences[1]
    val = increment.backbone_images - 2 * 2 * increment.train_samples  # two epochs, student and teacher
    assert val == 2 * increment.val_samples
