"""What is used of other libraries that those do not promise to keep: all of it is named here, and each has an upper bound."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from private_parts import defined_names, left_to_others, private_parts, sources

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUFFERS = "a buffer may be None, or of another shape than the checkpoint's, which no public method can say"
SUBCOMMANDS = "LightningCLI has no public way to add a subcommand, or options of one"
STATE = "torch's documented place to change how a module's state is read or written, though its name is private"
LISTED = "where its classes list image files and labels, which else are known only once every image is decoded"

USED = {
    "._add_arguments": ("lightning", SUBCOMMANDS),
    "._prepare_subcommand_parser": ("lightning", SUBCOMMANDS),
    "._subcommand_method_arguments": ("lightning", SUBCOMMANDS),
    "._run_subcommand": ("lightning", "options are read, and nothing is run"),
    "._parse_ckpt_path": ("lightning", "it silently replaces options of the command line by those of a checkpoint"),
    "._trainer": ("lightning", "whether there is a Trainer: the public property raises where there is none"),
    "jsonargparse._typehints": ("jsonargparse", "what the next three are put into"),
    "jsonargparse._typehints.sort_subtypes_for_union =": (
        "jsonargparse",
        "what was imported before decides whether 1 is a number of batches or, as 1.0, all of them",
    ),
    "jsonargparse._typehints.discard_init_args_on_class_path_change =": (
        "jsonargparse",
        "options of a replaced class silently stay with the next",
    ),
    "jsonargparse._typehints.get_all_subclass_paths =": (
        "jsonargparse",
        "a plugin's class would make a short name of this package ambiguous",
    ),
    "._option_string_actions": (
        "jsonargparse",
        "which options a parser has, so that a former name becomes the present one",
    ),
    "._instantiators": ("jsonargparse", "a parser that is kept would keep the model of its command line"),
    "._load_config_parser_mode": ("jsonargparse", "the place where a configuration is read and not yet checked"),
    "._set_seed": ("lightning", "the seed of a configuration, where one parser reads several"),
    "lightning.fabric.utilities.registry.entry_points =": (
        "lightning",
        "each new Trainer reads files of all installed packages, which stay the same in a process",
    ),
    "._logger_connector": (
        "lightning",
        "the loggers are given an epoch's metrics after its checkpoint: a kill in between loses them",
    ),
    "._batches_that_stepped": ("lightning", "the step that an epoch's metrics have in the loggers"),
    "._hardware": ("codecarbon", "which counters measure the power"),
    "._mode": ("codecarbon", "which counter a processor is measured by"),
    "._tasks": ("codecarbon", "finished tasks are kept for ever"),
    "._backprop": ("torchcam", "Grad-CAM++ is mended: its own leaves alpha undivided"),
    "._get_weights": ("torchcam", "Grad-CAM++ is mended: its own leaves alpha undivided"),
    "._reference_indices": ("torchcam", "Finer-CAM compares with classes that were not seen too"),
    "._valid_parameters": ("submitit", "the options that it takes, for a message"),
    "huggingface_hub.constants.HF_HUB_OFFLINE =": (
        "huggingface_hub",
        "it reads its variable once, when it is imported",
    ),
    "PIL.Image.MAX_IMAGE_PIXELS =": ("pillow", "documented as a setting"),
    "sklearn.tree._tree.Tree": ("scikit-learn", "the nodes of a tree are checked before they are used"),
    "._buffers": ("torch", BUFFERS),
    "._compiled_call_impl": ("torch", "whether a module is compiled, by which grafts in it would be left out"),
    "._modules": ("torch", "a module's children as they are, where its class has a property of the same name"),
    "._parameters": ("torch", BUFFERS),
    "._load_from_state_dict": ("torch", STATE),
    "._save_to_state_dict": ("torch", STATE),
    "._ddp_params_and_buffers_to_ignore": (
        "torch",
        "buffers of a strategy are alike on all processes and may be large",
    ),
    "._version": ("torch", "whether a tensor was written into since"),
    "._cdist_forward": ("torch", "the operator that a prediction is exported without"),
    "._scaled_dot_product_flash_attention_for_cpu": ("torch", "an operator that torch 2.6 leaves out of its count"),
    "._schema": ("torch", "which of its arguments an operator writes into"),
    "torch.utils._python_dispatch.TorchDispatchMode": ("torch", "sees each operation of a prediction"),
    "torch.utils._pytree.tree_leaves": ("torch", "the tensors among an operation's arguments"),
    "torch.utils._pytree.tree_map": ("torch", "the tensors among an operation's arguments"),
    "._image_files": ("torchvision", LISTED),
    "._images": ("torchvision", LISTED),
    "._labels": ("torchvision", LISTED),
    "._samples": ("torchvision", LISTED),
}
"""Each private part with its library and the reason."""
SETTINGS = {"pillow"}
"""Libraries of which nothing but a documented setting is used."""


def found() -> set[str]:
    modules = sources(ROOT)
    trees = {path: ast.parse(text) for path, text in modules.items()}
    own = frozenset[str]().union(*(defined_names(tree) for tree in trees.values()))
    used = set[str]().union(*(private_parts(text, own) for text in modules.values()))
    return used | left_to_others(trees.values())


def test_each_is_named_and_all_that_are_named_are_used() -> None:
    used = found()
    assert used - USED.keys() == set(), "new: use what the library promises to keep, or name it with its reason"
    assert USED.keys() - used == set(), "no longer used: take it, and perhaps an upper bound, away"


def test_each_library_has_an_upper_bound() -> None:
    asked = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    requirements = [Requirement(line) for line in asked]
    for library in {library for library, _ in USED.values()} - SETTINGS:
        named = [each for each in requirements if canonicalize_name(each.name) == canonicalize_name(library)]
        assert named, f"{library} is no dependency"
        for requirement in named:
            assert Version("9999") not in requirement.specifier, f"{requirement} has no upper bound"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch\ntorch.zeros(1)._version", {"._version"}),
        ("from jsonargparse._util import import_object", {"jsonargparse._util.import_object"}),
        ("import jsonargparse._util as util", {"jsonargparse._util"}),
        ("from torch.nn import _reduction", {"torch.nn._reduction"}),
        ("import wandb\nwandb.init = None", {"wandb.init ="}),
        ("from wandb import sdk\nsdk.init = None", {"wandb.sdk.init ="}),
        ("getattr(thing, '_hidden', None)", {"._hidden"}),
        ("class A(Base):\n def f(self): return self._hidden", {"._hidden"}),
        ("class A(Base):\n def f(self): return super()._hidden()", {"._hidden"}),
        ("class A:\n def __init__(self): self._own = 1\n def f(self, other): return self._own, other._own", set()),
        ("class A(Own):\n def f(self): return self._inherited", set()),
        ("import sys\nsys.argv = []\nsys.stdout.__class__", set()),
        ("point._replace(x=1)._asdict()", set()),
    ],
)
def test_what_counts(source: str, expected: set[str]) -> None:
    assert private_parts(source, frozenset({"_inherited"})) == expected


def test_what_a_class_leaves_to_others_to_call() -> None:
    source = """
class A(Library):
    def __init__(self):
        self._read_by_library, self._own = 1, 2
    def _called_by_library(self):
        super()._called_by_library()
        return self._helped() + self._own
    def _helped(self): ...
"""
    assert left_to_others([ast.parse(source)]) == {"._read_by_library", "._called_by_library"}


def test_reasons_are_sentences() -> None:
    assert all(re.fullmatch(r"\S.{10,}[^.]", reason) for _, reason in USED.values())
