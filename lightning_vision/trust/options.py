"""The options of ``test`` and ``predict`` about images that a user gives; apart from the work, which takes a while to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_vision.errors import ConfigError


@dataclass
class TrustOptions:
    """Options of ``test`` that assess how far the classifier can be trusted; with any of them, it writes an additional page.

    Args:
        ood_data: A folder of images of no known class, or a list of folders: measures how well the classifier separates
            out-of-distribution from in-distribution images, before and after learning.
        new_images: A folder of new images, with or without sub-folders named after their classes: shows how they differ
            from training images, and whether training and test images come from one shoot.
        calibrate: Fit a temperature on validation images, and store it in the checkpoint.
        coverage: Share of the images to answer: fits, on validation images, the threshold of the calibrated confidence
            below which images are rejected, and stores it in the checkpoint.
        risk: Share of errors allowed among the answers; fits the threshold like ``coverage``, and replaces it.
        output: The output folder. Default: trust in the run directory.
    """

    ood_data: list[str] | str | None = None
    new_images: str | None = None
    calibrate: bool = False
    coverage: float | None = None
    risk: float | None = None
    output: str | None = None

    @property
    def fits(self) -> bool:
        """Whether a temperature is fitted: the threshold is one of calibrated confidences."""
        return self.calibrate or self.coverage is not None or self.risk is not None

    @property
    def asked(self) -> bool:
        """Whether any option asks for an assessment."""
        return self.fits or bool(self.ood_data) or self.new_images is not None

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            ConfigError: A share is none, or two thresholds are asked for.
        """
        if self.coverage is not None and self.risk is not None:
            raise ConfigError("--coverage and --risk each choose the threshold: give one of the two.")
        if self.coverage is not None and not 0 < self.coverage <= 1:
            raise ConfigError(f"--coverage: expected a share above 0 and up to 1, found {self.coverage}.")
        if self.risk is not None and not 0 <= self.risk < 1:
            raise ConfigError(f"--risk: expected a share from 0 to below 1, found {self.risk}.")


@dataclass
class PredictOptions:
    """Options of ``predict`` for images that are given.

    Args:
        output: The table that is written. Default: predicted.csv in the run directory; of a run from the Hub, here.
        every: Predict each N-th frame of videos, from the first on.
    """

    output: str | None = None
    every: int = 1

    def check(self, images: Sequence[str]) -> None:
        """Refuse options that would be ignored.

        Raises:
            ConfigError: There are no images.
        """
        if not images and self != PredictOptions():
            raise ConfigError(
                "--output and --every are for images that are given: predict --ckpt_path RUN photo.jpg. Without images, "
                "predictions of the test data are written to predictions.csv in the run directory."
            )
