"""The classifier as a program of torch.export, the source of every format."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from lightning_vision.errors import ConfigError

MOST = 2**16
"""Images at once. Without a limit, deciding what holds for every number of them takes five times as long."""


def trace(module: nn.Module, image_size: int) -> ExportedProgram:
    """The program for any number of images, without notes on where in the source it comes from.

    Args:
        module: The classifier; takes ``image`` (N, 3, S, S) uint8.
        image_size: S.

    Raises:
        ConfigError: The network cannot be exported as a graph.
    """
    example = torch.zeros(
        2, 3, image_size, image_size, dtype=torch.uint8
    )  # of 1, a batch would be taken for a constant
    try:
        with torch.no_grad():
            program = torch.export.export(
                module, (example,), dynamic_shapes={"image": {0: Dim("batch", min=1, max=MOST)}}
            )
    except Exception as error:  # what a tracer cannot follow ends in errors of any class
        place = _where(error, module)
        raise ConfigError(
            "torch.export cannot export this network as a graph for any number of images: "
            f"{_in_short(error)}{f' It happened in the module {place}.' if place else ''} Export a run with another "
            "backbone."
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def module_of(program: ExportedProgram, node_name: str) -> str:
    """The module, by dotted name and class, whose operator an exporter calls by ``node_name``; empty if it is not known."""
    for node in program.run_decompositions().graph.nodes:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if node_name in node.name and stack:
            return "{} ({})".format(*stack[-1])
    return ""


def _in_short(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text[:300]}."


def _where(error: BaseException, module: nn.Module) -> str:
    """The innermost module that was running, by dotted name and class."""
    names = {id(each): f"{name} ({type(each).__name__})" for name, each in module.named_modules() if name}
    found, frame = "", error.__traceback__
    while frame is not None:
        found = names.get(id(frame.tb_frame.f_locals.get("self")), found)
        frame = frame.tb_next
    return found
