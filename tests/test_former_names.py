"""Names of the version before still lead to what they named."""

import sys
from importlib import import_module

import pytest

import lightning_vision
from lightning_vision.former_names import FORMER_MODULES, MOVED_NAMES, present_path, with_present_paths


@pytest.mark.parametrize("module", sorted(FORMER_MODULES))
def test_every_former_module_can_be_imported_and_its_homes_are_there(module: str) -> None:
    assert import_module(f"lightning_vision.{module}")
    assert import_module(f"lightning_vision.{FORMER_MODULES[module]}")
    for home, names in MOVED_NAMES.get(module, {}).items():
        assert not [name for name in names if not hasattr(import_module(f"lightning_vision.{home}"), name)]


def test_a_former_name_is_the_same_object_and_warns() -> None:
    sys.modules.pop("lightning_vision.scenarios", None)
    former = import_module("lightning_vision.scenarios")
    with pytest.warns(DeprecationWarning, match=r"is now lightning_vision\.data\.scenarios\.ClassIncremental"):
        assert former.ClassIncremental is lightning_vision.ClassIncremental
    with pytest.warns(DeprecationWarning, match=r"is now lightning_vision\.data\.stream\.Experience"):
        assert former.Experience is lightning_vision.Experience


def test_a_package_with_the_name_of_a_former_module_has_its_names() -> None:
    from lightning_vision.results import schema

    with pytest.warns(DeprecationWarning, match=r"is now lightning_vision\.results\.schema\.read_results"):
        assert import_module("lightning_vision.results").read_results is schema.read_results


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        import_module("lightning_vision.scenarios").Nothing  # noqa: B018 - it is looked up
    with pytest.raises(ModuleNotFoundError):
        import_module("lightning_vision.never_was")


def test_paths_are_brought_up_to_date() -> None:
    assert present_path("lightning_vision.strategy.Strategy") == "lightning_vision.learning.strategy.Strategy"
    assert present_path("strategies.HeadOnly") == "strategies.HeadOnly"
    assert present_path("lightning_vision.InstanceIncremental") == "lightning_vision.InstanceIncremental"
    component = {"class_path": "lightning_vision.scenarios.Joint", "init_args": {"seed": 0}}
    assert with_present_paths([{"stream": component}]) == [
        {"stream": {"class_path": "lightning_vision.data.scenarios.Joint", "init_args": {"seed": 0}}}
    ]
