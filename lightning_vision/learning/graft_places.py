"""The places in a backbone into which grafts are set: around a block, and over a weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from lightning_vision.errors import ConfigError

PARTS = ("attn", "norm2", "mlp")
"""The parts of a transformer block."""
HELD = "grafts"
"""The child of a block or layer that holds its grafts."""


class Graft(nn.Module):
    """A small module in one place of a backbone; a kind of graft is a subclass that says where it belongs."""

    mergeable: ClassVar[bool] = False
    """It can be folded into the backbone's own weights."""
    active = True
    """It takes part; ``Network.only`` switches others off for a while."""

    @classmethod
    def set_into(cls, backbone: nn.Module, key: str) -> Mapping[str, Self]:
        """Set modules of this kind into a backbone.

        Further arguments with defaults are the options of ``Network.graft``: plain values, which a checkpoint keeps.

        Args:
            backbone: The backbone.
            key: The name under which they are set, by ``set_around`` and ``set_over``.

        Returns:
            The modules by the name of the block or layer.

        Raises:
            ConfigError: The backbone cannot take them, or an option is out of range.
        """
        raise NotImplementedError(f"{cls.__name__} has no set_into(backbone, key).")


class BlockGraft(Graft):
    """A graft around a block of a transformer."""

    tokens = 0
    """Tokens that it adds to those before the patches, inside the block."""
    tokens_behind = 0
    """Those of them that go on to the next block."""
    lasting = False
    """Its tokens pass through several blocks. It then enters before others and leaves after them."""

    def enter(self, x: Tensor) -> Tensor:
        """The block's input (N, tokens, D), changed."""
        return x

    def beside(self, x: Tensor) -> Tensor | None:
        """What is added to the block's output, from the residual stream x between attention and MLP; None: nothing."""
        return None

    def leave(self, x: Tensor) -> Tensor:
        """The block's output, changed."""
        return x


class BlockGrafts(nn.ModuleDict):
    """The grafts around one block, in the order in which they were set.

    The residual stream between attention and MLP is the input of ``norm2`` where the norm comes first, else that of ``mlp``:
    in both cases the input of the one that is called first.

    Args:
        block: The block; it gets this module as a child.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self._stream: list[Tensor] = []
        self._rotates, self._added = hasattr(block.attn, "num_prefix_tokens"), 0
        # Bound methods, so that a copy of the backbone calls the copied grafts.
        self._hooks = [
            block.register_forward_pre_hook(self._enter),
            block.norm2.register_forward_pre_hook(self._pass),
            block.mlp.register_forward_pre_hook(self._pass),
            block.register_forward_hook(self._leave),
        ]

    def remove(self, block: Any) -> None:
        """Leave the block as it was."""
        for hook in self._hooks:
            hook.remove()
        self._count_tokens(block, 0)

    @property
    def taking_part(self) -> list[BlockGraft]:
        """Those that take part, lasting ones first: what another one puts behind the prefix is then still there when it leaves."""
        active = [graft for graft in self.values() if isinstance(graft, BlockGraft) and graft.active]
        return sorted(active, key=lambda graft: not graft.lasting)

    def _count_tokens(self, block: Any, added: int) -> None:
        """Let the rotation of positions leave out so many further tokens; a pass that failed may have left some."""
        if self._rotates:
            block.attn.num_prefix_tokens += added - self._added
            self._added = added

    def _enter(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        active = self.taking_part
        self._stream.clear()
        self._count_tokens(block, sum(graft.tokens for graft in active))
        x = args[0]
        for graft in active:
            x = graft.enter(x)
        return (x, *args[1:])

    def _pass(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        if not self._stream:
            self._stream.append(args[0])

    def _leave(self, block: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor:
        active = self.taking_part
        self._count_tokens(block, 0)
        for graft in active:
            added = graft.beside(self._stream[0])
            if added is not None:
                output = output + added.view_as(output)  # in Swin the stream is flat, and the output is a map
        self._stream.clear()
        for graft in reversed(active):
            output = graft.leave(output)
        return output


class WeightGrafts(nn.ModuleDict):
    """The grafts over one parameter of a layer, in the order in which they were set.

    Args:
        original: The parameter without grafts.
    """

    original: nn.Parameter

    def __init__(self, original: nn.Parameter) -> None:
        super().__init__()
        self.original = original

    def forward(self) -> Tensor:
        """The value with which the layer computes."""
        value: Tensor = self.original
        for graft in self.values():
            if graft.active:
                value = graft(value)
        return value


class LayerGrafts(nn.ModuleDict):
    """The grafts over the parameters of a layer, by the name of the parameter.

    Whoever reads a parameter of the layer gets its value with grafts, also where the layer itself is not called: its class has
    properties in place of the parameters. (torch's parametrizations share such a class between a module and its copies, so that
    removing one from a copy breaks the other.)

    Args:
        layer: The layer; it gets this module as a child.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer_class = type(layer)
        self.order = tuple(layer._parameters)


@cache
def _reading_grafts(layer_class: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    """A layer's class with properties in place of some parameters. It never changes, so that copies can share it."""

    def reader(name: str) -> property:
        return property(lambda layer: layer._modules[HELD]._modules[name]())

    return type(f"Grafted{layer_class.__name__}", (layer_class,), {name: reader(name) for name in names})


def named_blocks(backbone: nn.Module) -> dict[str, Any]:
    """The transformer blocks of a backbone by name, in their order: modules with ``attn``, ``norm2`` and ``mlp``."""
    return {
        name: module
        for name, module in backbone.named_modules()
        if all(isinstance(getattr(module, part, None), nn.Module) for part in PARTS)
    }


def own_layers(backbone: nn.Module) -> dict[str, nn.Module]:
    """The modules of a backbone by name, without those of grafts."""
    return {name: module for name, module in backbone.named_modules() if f".{HELD}." not in f".{name}."}


def set_around(block: nn.Module, key: str, graft: BlockGraft) -> None:
    """Set a graft around a block."""
    if not hasattr(block, HELD):
        setattr(block, HELD, BlockGrafts(block))
    block.get_submodule(HELD).add_module(key, graft.train(block.training))


def set_over(layer: nn.Module, name: str, key: str, graft: Graft) -> None:
    """Set a graft over a layer's parameter, such as ``weight``.

    Raises:
        ConfigError: It is no parameter of its own, because something else computes it.
    """
    held = layer._modules.get(HELD)
    if held is None:
        held = LayerGrafts(layer)
        layer.add_module(HELD, held)
    if name not in held._modules:
        original = layer._parameters.pop(name, None)
        if original is None:
            raise ConfigError(
                f"The {name} of this {type(layer).__name__} is no parameter, over which a graft could be set."
            )
        held.add_module(name, WeightGrafts(original))
        _change_class(layer, held)
    held.get_submodule(name).add_module(key, graft.train(layer.training))


def _change_class(layer: nn.Module, held: Any) -> None:
    layer.__class__ = _reading_grafts(held.layer_class, tuple(held)) if held else held.layer_class


def own_weight(layer: nn.Module, name: str = "weight") -> Tensor | None:
    """A layer's parameter as it is without grafts; None if it has none."""
    held = layer._modules.get(HELD)
    if isinstance(held, LayerGrafts) and name in held:
        return held.get_parameter(f"{name}.original")
    return layer._parameters.get(name)


def places_over(backbone: nn.Module) -> Iterator[tuple[str, nn.Module, str, WeightGrafts]]:
    """Name, layer, parameter and grafts of each weight that has some."""
    for place, layer in list(backbone.named_modules()):
        held = layer._modules.get(HELD)
        for name, chain in list(held.named_children()) if isinstance(held, LayerGrafts) else ():
            if isinstance(chain, WeightGrafts):
                yield place, layer, name, chain


def places_around(backbone: nn.Module) -> Iterator[tuple[str, nn.Module, BlockGrafts]]:
    """Name, block and grafts of each block that has some."""
    for place, block in list(backbone.named_modules()):
        held = block._modules.get(HELD)
        if isinstance(held, BlockGrafts):
            yield place, block, held


def added_tokens(backbone: nn.Module) -> dict[str, tuple[int, int]]:
    """Tokens that grafts add inside each block, and those of them that are left behind it, by the block's name."""
    return {
        name: (sum(graft.tokens for graft in held.taking_part), sum(graft.tokens_behind for graft in held.taking_part))
        for name, _, held in places_around(backbone)
    }


def take_out(backbone: nn.Module, key: str) -> None:
    """Remove the grafts of a key; places without any others are then as they were before."""
    for _, block, held in places_around(backbone):
        if key in held:
            del held[key]
        if not held:
            held.remove(block)
            delattr(block, HELD)
    for _, layer, name, chain in places_over(backbone):
        if key in chain:
            del chain[key]
        if not chain:
            _give_back(layer, name, chain.original)


def _give_back(layer: nn.Module, name: str, original: nn.Parameter) -> None:
    """Make a value without grafts the layer's own parameter again."""
    held: Any = layer._modules[HELD]
    del held[name]
    _change_class(layer, held)
    if not held:
        delattr(layer, HELD)
    layer.register_parameter(name, original)
    for each in [each for each in held.order if each in layer._parameters]:
        layer._parameters[each] = layer._parameters.pop(each)  # strategies list parameters in their order


def grafted_over_frozen(layer: nn.Module) -> bool:
    """Whether grafts lie over all trained parameters of a layer, such as a batch norm, whose own parameters are frozen."""
    held = layer._modules.get(HELD)
    if not isinstance(held, LayerGrafts):
        return False
    own = [chain.get_parameter("original") for chain in held.children()]
    return not any(parameter.requires_grad for parameter in [*own, *layer.parameters(recurse=False)])
