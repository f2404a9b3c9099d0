"""The order in which the classes of a stream appear."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lightning_vision.errors import ConfigError
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import SHOWN, few, listed, near, nfc

LARGEST_SEED = 2**32 - 1
"""Of NumPy's legacy generator."""

ClassOrder = list[str] | list[int] | str | None
"""The option ``class_order`` of ``ClassIncremental``."""


def check_class_order(order: ClassOrder, legacy_seed: int | None) -> None:
    """Check the options before there is data.

    Raises:
        ConfigError: They have values that they cannot have, or contradict each other.
    """
    if isinstance(order, str) and order != "random":
        raise ConfigError(f"ClassIncremental: class_order is a list of class names or 'random', not '{order}'.")
    if isinstance(order, list) and len({isinstance(item, str) for item in order}) > 1:
        raise ConfigError(
            "ClassIncremental: class_order is a list of class names or one of class numbers, found both. A name of digits "
            "needs quotes."
        )
    if legacy_seed is not None and order is not None:
        raise ConfigError(
            "ClassIncremental: class_order and class_order_seed both say in which order the classes appear. Set one of them "
            "to null."
        )
    if legacy_seed is not None and not 0 <= legacy_seed <= LARGEST_SEED:
        raise ConfigError(
            f"ClassIncremental: class_order_seed is a seed of numpy.random.seed, from 0 to {LARGEST_SEED}, not {legacy_seed}."
        )


def legacy_permutation(seed: int, count: int) -> list[int]:
    """The numbers from 0 to ``count`` - 1 as ``np.random.seed(seed); np.random.permutation(count)`` orders them."""
    numbers: list[int] = np.random.RandomState(seed).permutation(count).tolist()
    return numbers


def order_by_name(order: ClassOrder, legacy_seed: int | None, class_names: Sequence[str]) -> list[str] | None:
    """The names of an order by number or by ``class_order_seed``; None of any other."""
    if legacy_seed is not None:
        return [class_names[label] for label in legacy_permutation(legacy_seed, len(class_names))]
    if not isinstance(order, list) or not order or isinstance(order[0], str):
        return None
    return [class_names[int(label)] for label in order]


def ordered_classes(
    order: ClassOrder, legacy_seed: int | None, seed: int, class_names: Sequence[str], trained: Sequence[int]
) -> list[int]:
    """The trained classes in the order in which they appear.

    Args:
        order: The option ``class_order``.
        legacy_seed: The option ``class_order_seed``.
        seed: Of a random order.
        class_names: The C names.
        trained: The classes that have training images, ascending.

    Raises:
        ConfigError: The order is one of other classes.
    """
    present = set(trained)
    if legacy_seed is not None:
        return [label for label in legacy_permutation(legacy_seed, len(class_names)) if label in present]
    if order is None:
        return list(trained)
    if isinstance(order, str):
        generator = np.random.default_rng(derive_seed(seed, "classes"))
        return [int(label) for label in generator.permutation(np.array(trained))]
    return [label for label in _labels(order, class_names, trained) if label in present]


def _labels(order: list[str] | list[int], class_names: Sequence[str], trained: Sequence[int]) -> list[int]:
    """The labels of a list of names or numbers, which must have each class with training images once, and no others."""
    numbers = bool(order) and not isinstance(order[0], str)
    label_of = {str(label) if numbers else nfc(name): label for label, name in enumerate(class_names)}
    words = [nfc(str(item)) for item in order]
    counts = Counter(words)
    problems = []
    for word in [word for word in counts if word not in label_of][:SHOWN]:
        similar = "" if numbers else listed(near(word, class_names))
        problems.append(f"'{word}' is no class" + (f" (did you mean {similar}?)" if similar else ""))
    problems += [f"'{word}' occurs {counts[word]} times" for word in label_of if counts[word] > 1]
    given = {label_of[word] for word in counts if word in label_of}
    if absent := [label for label in trained if label not in given]:
        shown = [f"{label} ('{class_names[label]}')" if numbers else f"'{class_names[label]}'" for label in absent]
        problems.append(f"{few(shown, SHOWN)} {'is' if len(absent) == 1 else 'are'} missing")
    if problems:
        classes = f"The classes are {listed(class_names)}."
        if numbers:
            classes = (
                f"The {len(class_names)} classes have the numbers 0 to {len(class_names) - 1}: {listed(class_names)}."
            )
        raise ConfigError(f"ClassIncremental: class_order must name every class once; {'; '.join(problems)}. {classes}")
    return [label_of[word] for word in words]
