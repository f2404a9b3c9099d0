"""L2P, DualPrompt and CODA-Prompt: objectives by hand on three images, the choice of prompts, and bad options."""

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import fit, start
from tiny_network import tiny_experience
from tiny_transformer import SIDE, D, by_hand, tiny_transformer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision import Batch, Network
from lightning_vision.errors import ConfigError
from lightning_vision.results.schema import read_results
from strategies import L2P, CODAPrompt, DualPrompt
from strategies.coda_prompt import new_directions
from strategies.prompting import Prompting


def three(label: list[int]) -> Batch:
    image = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()
    index = torch.arange(3)
    return {"image": image, "label": torch.tensor(label), "index": index, "experience": index * 0, "valid": index >= 0}


def prepared(strategy: Prompting, network: Network) -> Batch:
    """Two experiences were begun; a batch of the second, whose classes are 2 and 3. Images differ in what they choose."""
    for t, labels in enumerate(([0, 1, 1], [2, 3, 3]), start=1):  # 0 would be a base
        batch = three(labels)
        strategy.before_experience(network, tiny_experience(t, batch, (0, 1)))
    strategy.double()
    with torch.no_grad():
        for parameter in strategy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)).double(), alpha=0.1)
    return batch


def class_token(network: Network, image: Tensor, **given: Any) -> Tensor:
    return by_hand(network, image, **given)[:, 0]


def among_own(network: Network, v: Tensor, label: Tensor) -> Tensor:
    """Cross entropy over the classes 2 and 3."""
    return F.cross_entropy(network.head(v)[:, 2:], label - 2)


def check(strategy: Prompting, network: Network, batch: Batch, expected: Tensor) -> None:
    """The loss and its gradients in all that is trained."""
    loss = strategy.loss(network, batch)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    (group,) = strategy.parameters_to_train(network)
    assert group["weight_decay"] == 0.0
    found, hand = (torch.autograd.grad(value, group["params"]) for value in (loss, expected))
    for one, other in zip(found, hand, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)
        assert one.any()


def test_l2p_by_hand() -> None:
    network, strategy = tiny_transformer(2), L2P(pool=4, length=2, top_k=2, pull=0.5)
    batch = prepared(strategy, network)
    assert strategy.keys is not None and strategy.prompts is not None
    q = class_token(network, batch["image"]).detach()
    with torch.no_grad():
        strategy.keys[:3] = q  # each image is nearest to a key of its own
    pulls, means = [], []
    for image, query in zip(batch["image"], q, strict=True):
        cosines = torch.stack([(query @ key) / (query.norm() * key.norm()) for key in strategy.keys])
        first, second = sorted(range(4), key=lambda m: -cosines[m].item())[:2]
        pulls.append(cosines[first] + cosines[second])
        tokens = torch.cat([strategy.prompts[first], strategy.prompts[second]])[None]
        means.append(by_hand(network, image[None], tokens=tokens)[:, 1:5].mean(dim=1))
    check(
        strategy, network, batch, among_own(network, torch.cat(means), batch["label"]) - 0.5 * torch.stack(pulls).mean()
    )


def test_dual_prompt_by_hand() -> None:
    network = tiny_transformer(4)
    strategy = DualPrompt(general_length=2, general_blocks=1, expert_length=3, expert_blocks=2, pull=0.5)
    batch = prepared(strategy, network)
    assert strategy.general is not None and strategy.experts is not None and strategy.keys is not None
    image, q = batch["image"], class_token(network, batch["image"]).detach()

    def features(expert: int, image: Tensor) -> Tensor:
        assert strategy.general is not None and strategy.experts is not None
        blocks = [strategy.general[0], *strategy.experts[expert]]
        n = len(image)
        prefixes = {b: (p[0].expand(n, -1, -1), p[1].expand(n, -1, -1)) for b, p in enumerate(blocks)}
        return class_token(network, image, prefixes=prefixes)

    cosine = F.cosine_similarity(q, strategy.keys[1:], dim=1).mean()
    check(strategy, network, batch, among_own(network, features(1, image), batch["label"]) - 0.5 * cosine)
    with torch.no_grad():
        strategy.keys[0], strategy.keys[1] = q[0], q[1]
        chosen = strategy.features(network, image)
        for number, expert in ((0, 0), (1, 1)):
            hand = features(expert, image[number : number + 1])
            torch.testing.assert_close(chosen[number : number + 1], hand, rtol=0, atol=1e-12)


def test_a_new_expert_starts_as_a_copy() -> None:
    network, strategy = tiny_transformer(2), DualPrompt(2, 1, 2, 1)
    for t in range(3):
        strategy.before_experience(network, tiny_experience(t + 1, three([0, 1, 1])))
        assert strategy.experts is not None and strategy.keys is not None
        assert len(strategy.experts) == len(strategy.keys) == t + 1
        assert t == 0 or (
            torch.equal(strategy.experts[t], strategy.experts[t - 1])
            and strategy.keys[t].ne(strategy.keys[t - 1]).all()
        )
        strategy.experts.data[t] += 1


def test_coda_prompt_by_hand() -> None:
    network, strategy = tiny_transformer(3), CODAPrompt(components=2, length=4, blocks=2, orthogonality=0.3)
    batch = prepared(strategy, network)
    pools = [value for value in (strategy.prompts, strategy.keys, strategy.attentions) if value is not None]
    q = class_token(network, batch["image"]).detach()
    prefixes, penalty = {}, torch.zeros(())
    for block in range(2):
        p, k, a = (torch.cat([pool[block, :2].detach(), pool[block, 2:]]) for pool in pools)
        prefix = torch.stack([
            sum((F.cosine_similarity(query * a[m], k[m], dim=0) * p[m] for m in range(4)), torch.zeros(4, D)) for query in q
        ])  # fmt: skip
        prefixes[block] = (prefix[:, :2], prefix[:, 2:])
        penalty = penalty + sum((x @ x.T - torch.eye(4)).square().mean() for x in (p.flatten(1), k, a))
    v = class_token(network, batch["image"], prefixes=prefixes)
    check(strategy, network, batch, among_own(network, v, batch["label"]) + 0.3 * penalty)
    gradient = strategy.keys
    assert gradient is not None
    strategy.loss(network, batch).backward()  # type: ignore[no-untyped-call]
    assert gradient.grad is not None and not gradient.grad[:, :2].any(), "components of the past are constants"


def test_new_components_are_orthogonal_while_there_is_room() -> None:
    former = new_directions(torch.empty(0, 6), 2)
    both = torch.cat([former, new_directions(former, 4)])
    torch.testing.assert_close(both @ both.T, torch.eye(6).double())
    more = new_directions(both, 3)
    torch.testing.assert_close(more.norm(dim=1), torch.ones(3).double())


@pytest.mark.parametrize(
    "strategy",
    [DualPrompt(2, 1, 2, 1), DualPrompt(2, 1, 2, 1, pull=0), CODAPrompt(2, 2, 2, orthogonality=0.1)],
    ids=["DualPrompt", "DualPrompt without pull", "CODAPrompt"],
)
def test_prompts_of_the_past_do_not_count_as_trained(strategy: Prompting) -> None:
    network = tiny_transformer(2)
    strategy.loss(network, prepared(strategy, network)).backward()  # type: ignore[no-untyped-call]
    (group,) = strategy.parameters_to_train(network)
    for parameter in group["params"][:-2]:  # the head's rows of other classes count, though the loss leaves them out
        assert parameter.numel() - strategy.fixed_entries(parameter) == int(parameter.grad.count_nonzero())
    assert [strategy.fixed_entries(parameter) for parameter in network.head.parameters()] == [0, 0]


@pytest.mark.parametrize(
    "strategy", [L2P(3, 2, 1), DualPrompt(2, 1, 2, 1), CODAPrompt(2, 2, 2)], ids=lambda s: type(s).__name__
)
def test_images_are_told_apart_one_by_one(strategy: Prompting) -> None:
    network = tiny_transformer(2)
    batch = prepared(strategy, network)
    image = batch["image"] * torch.tensor([0.1, 1.0, 4.0]).view(3, 1, 1, 1)
    whole = strategy.features(network, image)
    each = torch.cat([strategy.features(network, image[place : place + 1]) for place in (2, 0, 1)])
    torch.testing.assert_close(whole, each[[1, 2, 0]], rtol=0, atol=1e-12)


def test_before_the_first_experience_and_for_a_given_base_there_are_no_prompts() -> None:
    network, strategy, batch = tiny_transformer(2), L2P(), three([0, 1, 1])
    plain = network.features(batch["image"])
    assert torch.equal(strategy.features(network, batch["image"]), plain)
    base = tiny_experience(0, batch)
    assert base.is_base
    strategy.before_experience(network, base)
    assert strategy.keys is None and torch.equal(strategy.features(network, batch["image"]), plain)


def test_one_class_is_learned_among_all_seen() -> None:
    network, strategy = tiny_transformer(2), L2P()
    strategy.before_experience(network, tiny_experience(1, three([2, 2, 2]), (0, 1)))
    assert strategy.among(network).tolist() == [True] * 4
    strategy.before_experience(network, tiny_experience(1, three([2, 3, 3]), (0, 1)))
    assert strategy.among(network).tolist() == [False, False, True, True]


def test_keys_without_a_pull_are_not_trained() -> None:
    network, strategy = tiny_transformer(2), L2P(pull=0)
    prepared(strategy, network)
    (group,) = strategy.parameters_to_train(network)
    assert all(parameter is not strategy.keys for parameter in group["params"])
    assert any(parameter is strategy.prompts for parameter in group["params"])


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (L2P, {"pool": 3}, r"L2P: expected a top_k from 1 to pool=3, the number of prompts, found 4."),
        (L2P, {"length": 0}, "L2P: expected a length of 1 or more tokens, found 0."),
        (L2P, {"pull": -1.0}, "L2P: expected a pull of 0 or more, found -1.0."),
        (
            DualPrompt,
            {"expert_blocks": 0},
            "DualPrompt: expected lengths and numbers of blocks of 1 or more, found 5, 2, 5, 0.",
        ),
        (DualPrompt, {"pull": float("nan")}, "DualPrompt: expected a pull of 0 or more, found nan."),
        (
            CODAPrompt,
            {"length": 5},
            "CODAPrompt: expected an even length of 2 or more, half keys and half values, found 5.",
        ),
        (CODAPrompt, {"components": 0}, "CODAPrompt: expected components and blocks of 1 or more, found 0, 5."),
        (CODAPrompt, {"orthogonality": -0.1}, "CODAPrompt: expected an orthogonality of 0 or more, found -0.1."),
    ],
)
def test_bad_options_are_refused(make: type[Prompting], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make(**options)


def test_features_in_place_of_images_are_refused() -> None:
    network, strategy = tiny_transformer(2), L2P()
    batch = prepared(strategy, network)
    with pytest.raises(
        ConfigError, match=r"L2P: expected images \(N, 3, H, W\), found features \(3, 16\). Prompts pass the backbone"
    ):
        strategy.loss(network, {**batch, "image": torch.zeros(3, D)})


def test_a_backbone_without_attention_is_refused() -> None:
    network = Network(nn.Flatten(), tiny_transformer(1).facts, 4)
    for strategy in (L2P(), DualPrompt(), CODAPrompt()):
        with pytest.raises(
            ConfigError, match=f"{type(strategy).__name__} cannot use vit_tiny_patch16_224: it is no transformer"
        ):
            strategy.check_network(network)


def test_the_record_of_a_run(tmp_path: Path) -> None:
    """Each experience trains as much as the last one, and a prediction costs more than two passes."""
    options = ("--model.backbone=test_vit", "--data.image_size=32", "--data.per_class=12")
    prompts = ("--model.strategy=DualPrompt", "--model.strategy.expert_blocks=2", "--model.strategy.general_blocks=1")
    run = fit(tmp_path, "run", *options, *prompts)
    results = read_results(run / "results.json")
    d, head = 64, 64 * 4 + 4
    assert [e.trainable_parameters for e in results.experiences] == [(1 + 2) * 2 * 5 * d + d + head] * 3
    plain = fit(tmp_path, "plain", *options, "--model.strategy=HeadOnly", "--stop_after=0")
    one_pass = read_results(plain / "results.json").network.macs
    assert one_pass is not None and results.network.macs is not None
    assert 2 * one_pass < results.network.macs < 2.2 * one_pass


def test_it_is_refused_before_a_run_writes_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(tmp_path, "run", "--model.strategy=L2P") == 2
    assert "L2P cannot use test_resnet: it is no transformer with blocks of attention." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
