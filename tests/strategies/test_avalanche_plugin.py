"""AvalanchePlugin against Avalanche's own loop: the same weights, by hand and by command line, and after a restart."""

import copy
import io
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from command_line import fit, start, weights_of
from fork_server import ForkServer
from interruptions import interrupt
from lightning.pytorch import Callback, LightningModule, Trainer
from test_ranks import TWO, command, free_port
from tiny_network import flat, part_of, tiny_batch, tiny_experience, tiny_network
from torch import Tensor, nn

from lightning_vision.data.batch import Batch
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.results.schema import read_results
from strategies.avalanche_host import PluginHost, Snapshot
from strategies.avalanche_plugin import REFUSED, SUPPORTED, AvalanchePlugin

SI = "SynapticIntelligencePlugin"
LABELS = ([0, 1, 1, 0, 0, 1], [2, 3, 2, 3, 3], [0, 3, 1, 2, 2, 0, 1, 3])
"""Two classes, then the two others, then all."""
SIZE, EPOCHS, RATE = 3, 4, 0.3
PLUGINS: dict[str, tuple[str, dict[str, Any]]] = {
    "EWC": ("EWCPlugin", {"ewc_lambda": 0.5}),
    "EWC online": ("EWCPlugin", {"ewc_lambda": 0.5, "mode": "online", "decay_factor": 0.6}),
    "MAS": ("MASPlugin", {"lambda_reg": 0.05, "alpha": 0.3}),
    "LwF": ("LwFPlugin", {"alpha": 2.0, "temperature": 1.5}),
    "LwF by experience": ("LwFPlugin", {"alpha": [0.0, 1.0, 2.0]}),
    "SI": (SI, {"si_lambda": 500.0}),
    "features": ("FeatureDistillationPlugin", {"alpha": 3.0}),
}
DOES_SOMETHING = sorted({*PLUGINS} - {"SI"})


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """SI as it is on a GPU: there the weights from before a step are copies, on a CPU views of the weights themselves."""
    from avalanche.training.plugins import SynapticIntelligencePlugin  # in functions, for it takes 8 s

    extract = SynapticIntelligencePlugin.extract_weights

    def copied(model: nn.Module, target: dict[str, Any], excluded: set[str]) -> None:
        extract(model, target, excluded)
        for value in target.values():
            value.data = value.data.clone()

    monkeypatch.setattr(SynapticIntelligencePlugin, "extract_weights", staticmethod(copied))


def toy_network(*, norm: bool = False) -> Network:
    """A network that has seen nothing, without dropout: what is drawn differs between the two loops."""
    network = tiny_network(seen=(), norm=norm, seed=3)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def batches_of(t: int) -> list[Batch]:
    whole = tiny_batch(LABELS[t], seed=t)
    return [part_of(whole, slice(first, first + SIZE)) for first in range(0, len(LABELS[t]), SIZE)]


class Learning:
    """What the core does with a strategy, step by step; the base is fine-tuned."""

    def __init__(self, strategy: Strategy, network: Network) -> None:
        self.strategy, self.network = strategy, network

    def begin(self, t: int) -> None:
        experience = tiny_experience(t, tiny_batch(LABELS[t]))
        self.strategy.before_experience(self.network, experience)
        self.network.see(experience.classes)

    def train(self, t: int, epochs: int = EPOCHS) -> None:
        learner = self.strategy if t else Strategy()
        self.network.requires_grad_(True).train()
        optimizer = torch.optim.SGD(self.network.parameters(), lr=RATE)
        for batch in epochs * batches_of(t):
            loss = learner.loss(self.network, batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.strategy.after_backward(self.network)
            optimizer.step()
            self.strategy.after_step(self.network)

    def end(self, t: int) -> None:
        self.network.eval()
        self.strategy.after_experience(self.network, tiny_experience(t, tiny_batch(LABELS[t])), batches_of(t))
        self.network.eval()

    def everything(self) -> "Learning":
        for t in range(len(LABELS)):
            self.begin(t)
            self.train(t)
            self.end(t)
        return self


def avalanches_model(backbone: nn.Module, head: nn.Linear, *, keeps_features: bool = False) -> nn.Module:
    """The same weights in Avalanche's own head for classes that come one after the other."""
    from avalanche.models import FeatureExtractorModel, IncrementalClassifier

    classifier = IncrementalClassifier(head.in_features, initial_out_features=head.out_features, masking=True)
    classifier.classifier.load_state_dict(head.state_dict())
    backbone = copy.deepcopy(backbone)
    return FeatureExtractorModel(backbone, classifier) if keeps_features else nn.Sequential(backbone, classifier)


def avalanches_loop(
    model: nn.Module, plugin: Any, data: list[tuple[Tensor, Tensor]], rate: float, **options: Any
) -> Any:
    """Avalanche's Naive with a plugin, and the benchmark that it is to learn."""
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.training import Naive

    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    loop = Naive(
        model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), plugins=[plugin], evaluator=None, **options
    )
    return loop, tensors_benchmark(data, data, task_labels=[0] * len(data)).train_stream


def theirs(name: str, arguments: dict[str, Any], network: Network) -> nn.Module:
    """What Avalanche's own loop makes of a network."""
    from avalanche.training import plugins

    model = avalanches_model(network.backbone, network.classifier, keeps_features=name.startswith("Feature"))
    data = [(batch["image"], batch["label"]) for batch in (tiny_batch(LABELS[t], seed=t) for t in range(len(LABELS)))]
    plugin = getattr(plugins, name)(**arguments)
    loop, stream = avalanches_loop(model, plugin, data, RATE, train_mb_size=SIZE, train_epochs=EPOCHS)
    for experience in stream:
        loop.train(experience, shuffle=False)
    return model


def numbers(module: nn.Module) -> Tensor:
    """All parameters and running statistics (S,), in their order; masks are left out."""
    values = [value for name, value in module.state_dict().items() if not name.endswith(("seen", "active_units"))]
    return torch.cat([value.flatten().double() for value in values])


@pytest.mark.parametrize("norm", [False, True], ids=["", "batch norm"])
@pytest.mark.parametrize("case", PLUGINS)
def test_the_weights_are_those_of_avalanches_loop(case: str, norm: bool) -> None:
    name, arguments = PLUGINS[case]
    found = Learning(AvalanchePlugin(name, arguments), toy_network(norm=norm)).everything().network
    torch.testing.assert_close(
        numbers(found), numbers(theirs(name, arguments, toy_network(norm=norm))), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("case", DOES_SOMETHING)
def test_it_is_not_fine_tuning(case: str) -> None:
    found = Learning(AvalanchePlugin(*PLUGINS[case]), toy_network()).everything().network
    plain = Learning(Strategy(), toy_network()).everything().network
    assert (flat(found) - flat(plain)).abs().max() > 0.02


@pytest.mark.usefixtures("copies")
def test_synaptic_intelligence_as_on_a_gpu() -> None:
    name, arguments = PLUGINS["SI"]
    learned = Learning(AvalanchePlugin(name, arguments), toy_network()).everything()
    wanted = theirs(name, arguments, toy_network())
    torch.testing.assert_close(numbers(learned.network), numbers(wanted), rtol=0, atol=1e-6)
    plain = Learning(Strategy(), toy_network()).everything().network
    assert (flat(learned.network) - flat(plain)).abs().max() > 0.02
    assert learned.strategy.notes(learned.network) == []


def test_synaptic_intelligence_on_a_cpu_says_that_it_holds_nothing() -> None:
    learned = Learning(AvalanchePlugin(*PLUGINS["SI"]), toy_network()).everything()
    plain = Learning(Strategy(), toy_network()).everything()
    assert torch.equal(flat(learned.network), flat(plain.network))
    assert "On a CPU, avalanche-lib 0.6 stores contiguous weights" in learned.strategy.notes(learned.network)[0]
    assert AvalanchePlugin(*PLUGINS["EWC"]).notes(plain.network) == []


# ---- what survives a restart ---------------------------------------------------------------------------------------


def restarted(learning: Learning, case: str, t: int) -> Learning:
    """Resume in new objects from a checkpoint, as the core does."""
    file = io.BytesIO()
    torch.save({"strategy": learning.strategy.state_dict(), "network": learning.network.state_dict()}, file)
    new = Learning(AvalanchePlugin(*PLUGINS[case]), toy_network(norm=True))
    for before in range(t + 1):
        new.begin(before)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    new.network.load_state_dict(saved["network"])
    new.strategy.load_state_dict(saved["strategy"])
    again = new.strategy.state_dict()  # before anything of it was used
    assert again.keys() == saved["strategy"].keys()
    assert all(torch.equal(again[key], value) for key, value in saved["strategy"].items())
    return new


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("case", PLUGINS)
def test_a_restart_changes_no_bit(case: str) -> None:
    """After each experience, and in the middle of each."""
    whole = Learning(AvalanchePlugin(*PLUGINS[case]), toy_network(norm=True)).everything()
    parts = Learning(AvalanchePlugin(*PLUGINS[case]), toy_network(norm=True))
    for t in range(len(LABELS)):
        parts.begin(t)
        parts.train(t, EPOCHS // 2)
        parts = restarted(parts, case, t)
        parts.train(t, EPOCHS - EPOCHS // 2)
        parts = restarted(parts, case, t)
        parts.end(t)
        parts = restarted(parts, case, t)
    assert torch.equal(numbers(parts.network), numbers(whole.network))
    found, wanted = parts.strategy.state_dict(), whole.strategy.state_dict()
    assert torch.equal(found["state"], wanted["state"]) and found["state"].dtype == torch.uint8
    assert len(parts.strategy.state_dict()["state"]) > 4 * len(flat(parts.network))
    assert all(not len(buffer) for name, buffer in whole.strategy.named_buffers())


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("case", PLUGINS)
def test_the_state_follows_the_network_to_another_device(case: str) -> None:
    """There is one device here: the plugin is told that the network was elsewhere, and takes its state to this one."""
    whole = Learning(AvalanchePlugin(*PLUGINS[case]), toy_network()).everything()
    strategy = AvalanchePlugin(*PLUGINS[case])
    moved = Learning(strategy, toy_network())
    for t in range(len(LABELS)):
        moved.begin(t)
        strategy._host.device = torch.device("meta")
        moved.train(t)
        strategy._host.device = torch.device("meta")
        moved.end(t)
    assert strategy._host.device.type == "cpu"
    assert torch.equal(numbers(moved.network), numbers(whole.network))
    assert torch.equal(strategy.state_dict()["state"], whole.strategy.state_dict()["state"])


def test_the_former_network_is_no_part_of_strategy_or_network() -> None:
    """It holds nothing that is trained, counted or saved twice, and follows no hook of the network's."""
    network = toy_network()
    calls: list[int] = []
    network.head.register_forward_hook(lambda *_: calls.append(1))
    learned = Learning(AvalanchePlugin(*PLUGINS["LwF"]), network).everything()
    assert not list(learned.strategy.parameters()) and not list(learned.strategy.children())
    assert isinstance(learned.strategy, AvalanchePlugin)
    former = learned.strategy._plugin.lwf.prev_model
    assert isinstance(former, Snapshot) and not any(value.requires_grad for value in former.state.values())
    images = tiny_batch([0, 1])["image"]
    before = former(images).detach()
    with torch.no_grad():
        network.classifier.weight.add_(1.0)
    assert torch.equal(former(images), before)
    steps = EPOCHS * sum(len(batches_of(t)) for t in range(3))
    teacher = EPOCHS * sum(len(batches_of(t)) for t in (1, 2))
    assert len(calls) == steps + teacher + 2


# ---- by command line -----------------------------------------------------------------------------------------------

STREAM = (
    "--data=interruptions.PlainSquares",
    "--data.stream=ClassIncremental",
    "--data.stream.experiences=3",
    "--data.batch_size=8",
    "--model.backbone=test_vit",
    "--model.optimizer=SGD",
    "--model.optimizer.lr=0.05",
    "--model.restore_best=false",
    "--model.strategy=AvalanchePlugin",
    "--trainer.max_epochs=2",
)
"""No batch norm, no dropout, no augmentation, no momentum."""
BY_COMMAND_LINE: dict[str, tuple[str, dict[str, Any]]] = {
    "EWCPlugin": ("--model.strategy.plugin_args.ewc_lambda=20", {"ewc_lambda": 20}),
    "MASPlugin": ("--model.strategy.plugin_args={lambda_reg: 0.5}", {"lambda_reg": 0.5}),
    "LwFPlugin": ("--model.strategy.plugin_args=null", {}),
    SI: ("--model.strategy.plugin_args={si_lambda: 50.0}", {"si_lambda": 50.0}),
}


class Record(Callback):
    """Writes down the network at the start, each batch that it was shown, and the data that importances are taken from."""

    network: ClassVar[Network]
    shown: ClassVar[list[list[tuple[Tensor, Tensor]]]]
    data: ClassVar[list[tuple[Tensor, Tensor]]]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ContinualClassifier) and pl_module.experience is not None
        t, network = pl_module.experience.index, pl_module.network
        if not t:
            Record.shown, Record.data = [], []
            Record.network = Network(copy.deepcopy(network.backbone), network.facts, network.num_classes)
            Record.network.head.load_state_dict(network.head.state_dict())
        batches = list(trainer.datamodule.ordered_loader(t))  # type: ignore[attr-defined]
        images = torch.cat([network.normalise(batch["image"]) for batch in batches])
        Record.data.append((images, torch.cat([batch["label"] for batch in batches])))
        Record.shown.append([])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        Record.shown[-1].append((batch["image"].clone(), batch["label"].clone()))


def replayed(name: str, arguments: dict[str, Any]) -> nn.Module:
    """What Avalanche's own loop makes of the recorded network, batches and data."""
    from avalanche.training import plugins

    model = avalanches_model(Record.network.backbone, Record.network.classifier)
    plugin = getattr(plugins, name)(**arguments)
    loop, stream = avalanches_loop(model, plugin, Record.data, 0.05, train_mb_size=8)
    for batches, experience in zip(Record.shown, stream, strict=True):
        loaded = [(image, label, torch.zeros_like(label)) for image, label in batches]
        loop.make_train_dataloader = lambda loaded=loaded, **_: setattr(loop, "dataloader", loaded)
        loop.train(experience)
    return model


@pytest.mark.parametrize("name", BY_COMMAND_LINE)
def test_a_run_by_command_line_gives_the_weights_of_avalanches_loop(name: str, tmp_path: Path) -> None:
    option, arguments = BY_COMMAND_LINE[name]
    options = [f"--model.strategy.plugin={name}", option, "--trainer.callbacks=test_avalanche_plugin.Record"]
    run = fit(tmp_path, "run", *STREAM, *options)
    wanted = numbers(replayed(name, arguments))
    state = weights_of(run)
    found = [value for key, value in state.items() if key.startswith("network.") and not key.endswith("seen")]
    torch.testing.assert_close(torch.cat([v.flatten().double() for v in found]), wanted, rtol=0, atol=1e-5)
    start_of_run = numbers(Record.network)
    assert (wanted - start_of_run).abs().max() > 0.01
    results = read_results(run / "results.json")
    assert results.run.strategy.init_args["plugin"] == name
    assert any("SynapticIntelligencePlugin penalises" in note for note in results.notes) == (name == SI)
    if name == "LwFPlugin":  # it looks at each image twice, and that is counted
        last = results.experiences[-1]
        assert last.backbone_images == 2 * (2 * last.train_samples + last.val_samples)  # in each of two epochs


def test_a_kill_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*STREAM, "--trainer.callbacks=interruptions.Interrupt", "--model.strategy.plugin=EWCPlugin"]
    options += ["--model.strategy.plugin_args={ewc_lambda: 20, mode: online, decay_factor: 0.9}"]
    whole = fit(tmp_path, "whole", *options)
    for variable, value in interrupt("2::0:1", signal.SIGTERM).items():
        monkeypatch.setenv(variable, value)
    assert start(tmp_path, "part", *options, "--ckpt_path=last") == 128 + signal.SIGTERM
    assert start(tmp_path, "part", *options, "--ckpt_path=last") == 0
    found, wanted = weights_of(tmp_path / "part"), weights_of(whole)
    assert found.keys() == wanted.keys() and all(torch.equal(found[key], value) for key, value in wanted.items())
    assert found["strategy.state"].dtype == torch.uint8 and len(found["strategy.state"])


def test_importances_of_two_processes_are_those_of_one(tmp_path: Path, forks: ForkServer) -> None:
    """The last batch leaves a process without an image of its own."""
    options = [*STREAM, "--model.strategy.plugin=EWCPlugin", "--model.strategy.plugin_args.ewc_lambda=20"]
    options += ["--data.per_class=28", "--trainer.max_epochs=1"]
    ranks = forks.start_ranks(command(tmp_path, "two", *options, *TWO, "--data.batch_size=4"), tmp_path, free_port())
    one = weights_of(fit(tmp_path, "one", *options))
    assert [rank.wait() for rank in ranks] == [0, 0], ranks[0].log.read_text()
    sizes = [each.train_samples for each in read_results(tmp_path / "one" / "results.json").experiences]
    assert 17 in sizes  # 8, 8 and 1
    two = weights_of(tmp_path / "two")
    for key in (key for key in one if key.startswith("network.")):
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=1e-5, msg=f"{key} differs")


# ---- what cannot work ----------------------------------------------------------------------------------------------


def test_every_plugin_of_avalanche_runs_or_is_refused_and_the_docs_say_which() -> None:
    from avalanche.core import BasePlugin
    from avalanche.training import plugins

    theirs = {
        name for name, found in vars(plugins).items() if isinstance(found, type) and issubclass(found, BasePlugin)
    }
    theirs |= {"EvaluationPlugin"}  # one by name only
    assert theirs == SUPPORTED.keys() | REFUSED.keys()
    page = (Path(__file__).parents[2] / "docs" / "avalanche.md").read_text(encoding="utf-8")
    ours = theirs - {"SupervisedPlugin"}  # which is none
    assert ours == set(re.findall(r"`(\w+)`", page.split("## Plugins")[1])) & theirs


@pytest.mark.parametrize("name", REFUSED)
def test_the_others_are_refused_by_name(name: str) -> None:
    """By either name, with the reason and what to use in its place."""
    reason, instead = (re.escape(text) for text in REFUSED[name])
    for plugin in (name, f"avalanche.training.plugins.{name}"):
        with pytest.raises(
            ConfigError, match=rf"{name} cannot run in the Lightning loop: {reason}\. Alternative: {instead}"
        ):
            AvalanchePlugin(plugin, {"mem_size": 10})


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("LWFPlugin", "found 'LWFPlugin'. Supported plugins, similar names first: LwFPlugin, "),
        ("EWC", "found 'EWC'. Supported plugins, similar names first: EWCPlugin, "),
        (
            "",
            "found ''. Supported plugins, similar names first: EWCPlugin, SynapticIntelligencePlugin, MASPlugin, LwFPlugin, ",
        ),
        (
            "my_plugins.EWCPlugin",
            "my_plugins.EWCPlugin is not a plugin of Avalanche. Supported plugins: EWCPlugin, ",
        ),
        ("avalanche.plugins.EWCPlugin", "avalanche.plugins.EWCPlugin cannot be imported: "),
        ("avalanche.training.EWCPlugin", "avalanche.training has no EWCPlugin. Use only the name EWCPlugin."),
    ],
)
def test_no_such_plugin(plugin: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        AvalanchePlugin(plugin, {"ewc_lambda": 1.0})


@pytest.mark.parametrize(
    ("plugin", "arguments", "said"),
    [
        (
            "EWCPlugin",
            None,
            "plugin_args: EWCPlugin: missing a required argument: 'ewc_lambda'. Its arguments: (ewc_lambda, mode=",
        ),
        (
            "EWCPlugin",
            {"ewc_lambda": 1.0, "c": 2},
            "got an unexpected keyword argument 'c'. Its arguments: (ewc_lambda, mode=",
        ),
        ("EWCPlugin", {"ewc_lambda": -1.0}, "plugin_args.ewc_lambda: expected a number >= 0, found -1.0"),
        ("EWCPlugin", {"ewc_lambda": "much"}, "plugin_args.ewc_lambda: expected a number >= 0, found 'much'"),
        ("EWCPlugin", {"ewc_lambda": float("inf")}, "plugin_args.ewc_lambda: expected a number >= 0, found inf"),
        (SI, {"si_lambda": 1.0, "eps": 0}, "plugin_args.eps: expected a number >= 1e-12, found 0"),
        ("EWCPlugin", {"ewc_lambda": None}, "plugin_args.ewc_lambda: expected a number >= 0, found None"),
        (
            "EWCPlugin",
            {"ewc_lambda": 1.0, "mode": "online"},
            "cannot be built with {'ewc_lambda': 1.0, 'mode': 'online'}: You need",
        ),
        ("EWCPlugin", {"ewc_lambda": 1.0, "mode": "both"}, "Mode must be separate or online."),
        ("MASPlugin", {"alpha": 1.5}, "plugin_args.alpha: expected a number from 0 to 1, found 1.5"),
        ("LwFPlugin", {"alpha": [1.0, float("nan")]}, "plugin_args.alpha: expected a number >= 0, found [1.0, nan]"),
        ("LwFPlugin", {"temperature": 0}, "plugin_args.temperature: expected a number >= 1e-06, found 0"),
        (SI, {"si_lambda": True}, "plugin_args.si_lambda: expected a number >= 0, found True"),
        ("FeatureDistillationPlugin", {"mode": "mse"}, "plugin_args.mode: avalanche-lib 0.6 fails with mode 'mse'"),
    ],
)
def test_impossible_arguments(plugin: str, arguments: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        AvalanchePlugin(plugin, arguments)


def test_a_dotted_path_is_the_same_plugin() -> None:
    long = AvalanchePlugin("avalanche.training.plugins.ewc.EWCPlugin", {"ewc_lambda": 1.0})
    assert type(long._plugin) is type(AvalanchePlugin("EWCPlugin", {"ewc_lambda": 2.0})._plugin)
    decay = {"ewc_lambda": 1.0, "mode": "separate", "decay_factor": None}
    assert AvalanchePlugin("EWCPlugin", decay).plugin_args == decay


def test_a_plugin_that_fails_is_named() -> None:
    """Two values for three experiences."""
    with pytest.raises(TrainingError, match=r"Avalanche's LwFPlugin failed in before_backward: IndexError: list index"):
        Learning(AvalanchePlugin("LwFPlugin", {"alpha": [0.0, 1.0]}), toy_network()).everything()


def test_what_lightning_cannot_give_is_named() -> None:
    host = PluginHost("LRSchedulerPlugin", nn.CrossEntropyLoss())
    host.enter(toy_network())
    for name in ("dataloader", "evaluator", "train_mb_size", "mb_x"):
        with pytest.raises(
            AttributeError, match=r"LRSchedulerPlugin reads strategy\.\w+, which the Lightning loop does not"
        ):
            getattr(host, name)
    assert not hasattr(host, "stop_training")
    host.offer_batch(torch.ones(2, 3, 2, 2), torch.tensor([0, 1]))
    assert host.mb_x is host.mbatch[0] and host.mb_task_id.tolist() == [0, 0] and host.loss.shape == (1,)
    host.clear()
    assert not hasattr(host, "mb_x")


def test_a_refusal_by_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(tmp_path, "run", "--model.strategy=AvalanchePlugin", "--model.strategy.plugin=ReplayPlugin") == 2
    assert "ReplayPlugin cannot run in the Lightning loop: it changes the loader" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "avalanche"]:
        monkeypatch.delitem(sys.modules, name)

    class Hidden:
        """Finds nothing of it."""

        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name.split(".")[0] == "avalanche":
                raise ModuleNotFoundError(f"No module named {name!r}", name="avalanche")

    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    with pytest.raises(
        ConfigError, match=r"needs the package avalanche-lib: .*pip install 'lightning_vision\[avalanche\]'"
    ):
        AvalanchePlugin("EWCPlugin", {"ewc_lambda": 1.0})


def test_avalanche_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, strategies; sys.exit('avalanche' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
