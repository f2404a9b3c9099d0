"""The keyword arguments of Lightning's Trainer from the options of a run, which builds many Trainers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

from jsonargparse import Namespace
from lightning.pytorch import Trainer

from lightning_vision.learning.classifier_options import is_plain
from lightning_vision.program.argument_parser import StreamArgumentParser


class TrainerArguments:
    """Keyword arguments of a Trainer: objects such as callbacks are built anew each time, plain values once.

    Args:
        options: The section ``trainer``, parsed. Later changes of it are not seen.
    """

    def __init__(self, options: Namespace) -> None:
        self._parser = StreamArgumentParser()
        self._parser.add_lightning_class_args(Trainer, "trainer")
        self._options, self._plain = options.clone(), dict[str, Any]()

    def build(self) -> dict[str, Any]:
        """The arguments, with new objects."""
        asked = {key: value for key, value in vars(self._options).items() if key not in self._plain}
        built = self._instantiate(asked) if asked else {}
        self._plain |= {key: value for key, value in built.items() if is_plain(value)}
        return {key: deepcopy(self._plain[key]) if key in self._plain else built[key] for key in vars(self._options)}

    def _instantiate(self, options: dict[str, Any]) -> dict[str, Any]:
        asked = cast(Any, Namespace)(trainer=cast(Any, Namespace)(**options).clone())
        built = self._parser.instantiate_classes(asked).trainer
        return dict(vars(built)) if isinstance(built, Namespace) else dict(built)
