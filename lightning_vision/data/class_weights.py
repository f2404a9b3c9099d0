"""The weights of the classes in the loss."""

from collections.abc import Sequence

import pandas as pd

from lightning_vision.errors import ConfigError
from lightning_vision.terminal.wording import listed


def weights_by_name(
    asked: str | Sequence[float], samples: pd.DataFrame, class_names: Sequence[str]
) -> dict[str, float] | None:
    """The weight of each class.

    Args:
        asked: none; balanced (N / (C * n_c) for n_c of N training images, so that their mean over the images is 1);
            or a number for each class.
        samples: The sample table, every row in a split.
        class_names: The C names.

    Returns:
        None if all classes count equally.

    Raises:
        ConfigError: The numbers do not match the classes, or none is above 0.
    """
    if asked == "none":
        return None
    if asked == "balanced":
        trained = samples.loc[samples["split"] == "train", "label"]
        counts = trained.value_counts()
        weights = [
            float(len(trained) / (len(counts) * counts[label])) if label in counts else 1.0
            for label in range(len(class_names))
        ]
    else:
        weights = [float(weight) for weight in asked]
        if len(weights) != len(class_names) or min(weights) < 0 or sum(weights) == 0:
            raise ConfigError(
                f"data.class_weights: expected none, balanced, or {len(class_names)} numbers from 0 on, one a class in "
                f"the order {listed(class_names)}; found {asked!r}."
            )
    return dict(zip(class_names, weights, strict=True))
