"""The base of all datamodules: a concrete one reads a disk layout into a sample table, and all else is shared here."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from torchvision.transforms import v2

from lightning_vision.array_types import Rows
from lightning_vision.class_path import class_path, init_args_of
from lightning_vision.data.batch_order import Draw, EvalBatches, TrainBatches
from lightning_vision.data.class_weights import weights_by_name
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.datasets import FeatureDataset, SampleDataset
from lightning_vision.data.inspection import Inspection, inspect_files, inspect_loaded
from lightning_vision.data.leaks import find_leaks, settle_leaks
from lightning_vision.data.loaders import make_feature_loader, make_loader
from lightning_vision.data.sample_table import SPLITS, check_samples, count_images, spell_names, split_hash
from lightning_vision.data.scenarios import InstanceIncremental, Scenario
from lightning_vision.data.split_options import apply_split, left_out, read_split
from lightning_vision.data.stream import Experience, Stream
from lightning_vision.data.stream_loaders import Entered
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.images.decoded_cache import DecodedImages
from lightning_vision.images.image_sources import FileImages, ImageSource, Joined, Loaded, boxes_of
from lightning_vision.images.transforms import build_transforms
from lightning_vision.images.video_frames import files_of_rows
from lightning_vision.storage.cache_folder import cache_folder
from lightning_vision.terminal.first_rank import say
from lightning_vision.terminal.wording import listed, plural


class StreamDataModule(LightningDataModule, ABC):
    """A stream of experiences from a sample table.

    A concrete datamodule writes ``read_samples``; one whose rows are not image files writes ``load_image`` too.
    What these need must be set before ``super().__init__(...)``, which reads the table, splits it and builds the
    stream. Options that it does not name itself it hands on as keywords.

    Args:
        root: Folder of the data; paths in the table are relative to it.
        batch_size: Images of a batch on one process.
        num_workers: Processes that load images, for each process that trains; results do not depend on it.
        image_size: Side of the square images, in pixels.
        val_fraction: Share of the training data cut off for validation, where there is no official validation set.
        test_fraction: Share of all data cut off for testing, where there is no official test set.
        seed: Alone moves these cuts, and draws the ``views``.
        stream: How the training data becomes experiences; None is ``InstanceIncremental()``.
        train_transforms: Replace ``default_train_transforms()``: a list of presets, torchvision v2 classes, or modules by
            dotted path, from uint8 (3, h, w) to uint8 (3, H, W).
        eval_transforms: Replace ``default_eval_transforms()``, likewise.
        batch_transforms: Of a whole training batch on the device, likewise: MixUp, CutMix, photometric ones.
        split: official, ratio, 70/30, 70/15/15, {folds: 5, fold: 0}, or roles of the data's own parts ({base: train1,
            increments: test2, test: test1}).
        test_data: Another datamodule with the same classes, whose test images are the test set.
        on_leak: What is done about images that are on two sides of the split: warn, drop (from training), or error.
        on_bad_image: What is done about images that cannot be used: error, or skip (and count).
        sampler: balanced: every class is shown as often in an epoch; none: every image once.
        class_weights: Weights of the classes in the loss: none, balanced (by their number of training images), or a
            list of C numbers.
        annotations: Give each batch the boxes and saliency maps of its images, moved along with them.
        cache: decoded keeps decoded images, reduced to the resolution of training, in a file for later epochs.
        cache_gb: The most that such files of this root may take; those not used for longest make room, and what does not
            fit is decoded each time.
        cache_dir: Where caches are kept; None: beside the data, or in the user's cache folder where that is read-only.
        views: What a frozen backbone is trained on: None: images augmented anew each epoch; 0: images with the
            evaluation transform; k: k augmented views of each, drawn once by ``seed``, so that runs of all seeds share them.
            Other than None each passes the backbone once.
        feature_cache_gb: The most that features of frozen backbones may take on the disk; 0 keeps none.

    Attributes:
        samples: The sample table, every row in a split.
        class_names: The C names; a label is a position among them.
        scenario: How the stream was cut.
        stream: The experiences.
        split_hash: Identifies the split.
        findings: What was met on disk that is not as it should be.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {}
    """See ``Strategy``."""
    crop_to_box: bool = False
    """Images are what lies in their ``box_xyxy``; a concrete datamodule sets it."""
    box_context: float = 0.0
    """Share of a box's sides by which it is widened in all."""
    named_classes: ClassVar[Mapping[str, str | None]] = {}
    """See ``Strategy.named_classes``."""

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 32,
        num_workers: int = 2,
        image_size: int = 224,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 0,
        stream: Scenario | None = None,
        train_transforms: list[Any] | str | None = None,
        eval_transforms: list[Any] | str | None = None,
        batch_transforms: list[Any] | str | None = None,
        split: str | dict[str, Any] = "official",
        test_data: Optional["StreamDataModule"] = None,
        on_leak: Literal["warn", "drop", "error"] = "warn",
        on_bad_image: Literal["error", "skip"] = "error",
        sampler: Literal["none", "balanced"] = "none",
        class_weights: Literal["none", "balanced"] | list[float] = "none",
        annotations: bool = False,
        cache: Literal["none", "decoded"] = "none",
        cache_gb: float = 4.0,
        cache_dir: str | Path | None = None,
        views: int | None = None,
        feature_cache_gb: float = 4.0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("image_size", image_size, 1),
            ("views", views, 0),
            ("feature_cache_gb", feature_cache_gb, 0),
        ):
            if value is not None and value < least:
                raise ConfigError(f"data.{name} must be at least {least}, not {value}.")
        if self.box_context < 0:
            raise ConfigError(f"data.context must be 0 or more, not {self.box_context}.")
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.image_size = image_size
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.seed = seed
        self.scenario = InstanceIncremental() if stream is None else stream
        self._stream: Stream | None = None
        self._stream_asked_for = stream is not None
        self.train_transforms, self.eval_transforms = train_transforms, eval_transforms
        self.batch_transforms = batch_transforms
        self.split = split
        self.test_data = test_data
        self.on_leak, self.on_bad_image = on_leak, on_bad_image
        self.sampler, self.class_weights = sampler, class_weights
        self.annotations = annotations
        self.cache, self.cache_gb, self.cache_dir = cache, cache_gb, cache_dir
        self.views, self.feature_cache_gb = views, feature_cache_gb
        self.test_transform: v2.Compose | None = None
        """In place of the evaluation transform where images are evaluated: a recipe may look at more of each."""
        self.read_features: Callable[[Rows, Rows], Tensor] | None = None
        """Set by the run while the backbone is frozen: loaders then serve features (see ``FeatureDataset``)."""
        self.train_transform = self._compose("train_transforms", train_transforms, self.default_train_transforms)
        self.eval_transform = self._compose("eval_transforms", eval_transforms, self.default_eval_transforms)
        self.findings = DataProblems()
        cut = read_split(split, test_fraction)
        try:
            samples, names = self.read_samples()
        except PermissionError as error:
            raise DataError(
                f"data.root: no permission to read {error.filename or self.root}. Allow it to be read, or take it out of the "
                "data."
            ) from error
        samples, self.class_names = spell_names(samples, names)
        self.findings.check(self.root, on_bad_image)
        if len(samples) == 0 and self.findings.skipped:
            raise self._nothing_left()
        check_samples(samples, self.class_names)
        self.batch_transform = BatchTransforms(batch_transforms, image_size)
        self.official_test = bool((samples["split"] == "test").any())
        samples, kept, inspection = self._inspect(samples)
        key = self.scenario.key_column(samples)
        without_test = test_fraction if test_data is None else 0.0
        self.samples, rows = apply_split(cut, samples, self.class_names, val_fraction, without_test, seed, key)
        if told := left_out(samples, rows):
            self.findings.remark(told)
        self._origin: Rows = kept[rows]
        self._from_other = np.zeros(len(rows), dtype=np.bool_)
        self.inspection = inspection.take(rows)
        if test_data is not None:
            self._take_test_data(test_data)
        self._look_for_leaks()
        self._class_weight = weights_by_name(class_weights, self.samples, self.class_names)
        self._decoded = self._open_decoded_cache()
        self._report()
        self._settle()

    @abstractmethod
    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Read the disk layout: the sample table (see ``lightning_vision.data.sample_table``) and the class names.

        What is odd goes to ``self.findings``, which refuses or counts it when all is read.

        Raises:
            DataError: The layout is not there: which was expected, where it looked, where to get the data.
        """

    def load_image(self, index: int) -> Tensor:
        """The image of a row of the table as ``read_samples`` gave it: uint8 RGB (3, h, w), upright.

        Raises:
            DataError: It cannot be decoded.
        """
        return self._files.open(index).pixels()

    def image(self, index: int) -> Tensor:
        """The image of a row of ``samples``: uint8 RGB (3, h, w), upright, cut to its box where that is asked for."""
        return self._source.open(index).pixels()

    def default_train_transforms(self) -> list[nn.Module]:
        """Random crop to ``image_size``, random flip."""
        return [v2.RandomResizedCrop(self.image_size, antialias=True), v2.RandomHorizontalFlip()]

    def default_eval_transforms(self) -> list[nn.Module]:
        """The shorter side to 256/224 of ``image_size``, then its centre."""
        return [v2.Resize(int(256 / 224 * self.image_size), antialias=True), v2.CenterCrop(self.image_size)]

    @property
    def num_classes(self) -> int:
        """C, the number of class names."""
        return len(self.class_names)

    def use_class_names(self, names: Sequence[str]) -> None:
        """Take over another class list, longer or in another order, and relabel by name; the split stays.

        Raises:
            DataError: A class of this data is not on the list.
        """
        absent = [name for name in self.class_names if name not in names]
        if absent:
            raise DataError(
                f"This data has {'a class' if len(absent) == 1 else 'classes'} that the classifier does not know: "
                f"{listed(absent)}. It knows {listed(names)}. "
                "Rename or remove them, or train a new base on all classes."
            )
        new_labels = np.array([list(names).index(name) for name in self.class_names], dtype=np.int64)
        self.samples = self.samples.assign(label=new_labels[self.samples["label"].to_numpy()])
        self.class_names = list(names)
        self._settle()

    @property
    def current_experience(self) -> Experience:
        """What a plain ``Trainer`` trains and evaluates: the first experience, or the one that was chosen."""
        return self.stream[self._entered.experience]

    def enter(
        self,
        experience: int,
        seed: int,
        shuffle: bool = True,
        memory: Tensor | None = None,
        memory_size: int = 0,
        epoch: int = 0,
        start_batch: int = 0,
        all_seen: bool = False,
        features: bool = False,
        augment: bool = True,
    ) -> None:
        """Choose what the training and validation loaders made from now on serve.

        Args:
            experience: Number of the experience.
            seed: What order and augmentation derive from.
            shuffle: A new order each epoch and augmentation; otherwise the stream's order and neither.
            memory: (M,) rows of the past to draw from for each batch.
            memory_size: How many of them a batch is given.
            epoch: The epoch that training begins with, for a run that is gone on with.
            start_batch: The batches of that epoch that were trained already.
            all_seen: Serve the data of all experiences up to this one.
            features: Serve features for training too, where ``read_features`` is set.
            augment: False: the evaluation transform in training too.
        """
        rows = None if memory is None else memory.detach().cpu().numpy().astype(np.int64)
        self._entered = Entered(
            experience, seed, shuffle, rows, memory_size, epoch, start_batch, all_seen, features, augment
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """The training data of the entered experience; its batch sampler is a ``TrainBatches``."""
        now, (rank, world_size) = self._entered, self._place()
        batches = TrainBatches(
            self.rows_to_train(),
            self._experience_of_row,
            self.batch_size,
            rank,
            world_size,
            now.seed,
            now.experience,
            now.shuffle,
            now.memory,
            now.memory_size,
            self.samples["label"].to_numpy() if self.sampler == "balanced" else None,
            now.augment,
        )
        batches.set_epoch(now.epoch)
        batches.set_start(now.start_batch)
        return self._loader(batches, now.features)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation part of the entered experience."""
        return self._evaluation(self.rows_to_validate(), *self._place())

    def rows_to_train(self) -> Rows:
        """The rows that ``train_dataloader`` serves, in the stream's order; those of the memory are not among them."""
        rows: Rows = np.concatenate([item.indices for item in self._served()])
        return rows

    def rows_to_validate(self) -> Rows:
        """The rows that ``val_dataloader`` serves."""
        rows: Rows = np.concatenate([item.val_indices for item in self._served()])
        return rows

    def test_dataloader(self) -> DataLoader[Any]:
        """The whole test set."""
        return self.evaluation_loader("test", None, *self._place())

    def predict_dataloader(self) -> DataLoader[Any]:
        """The whole test set."""
        return self.test_dataloader()

    def evaluation_loader(
        self, part: Literal["val", "test"], up_to: int | None = None, rank: int = 0, world_size: int = 1
    ) -> DataLoader[Any]:
        """The validation or test parts of experiences 0 to ``up_to`` (None: of all) together, each image once."""
        return self._evaluation(self.rows_to_evaluate(part, up_to), rank, world_size)

    def rows_to_evaluate(self, part: Literal["val", "test"], up_to: int | None = None) -> Rows:
        """The rows that ``evaluation_loader`` serves, ascending."""
        experiences = self.stream.experiences[: None if up_to is None else up_to + 1]
        rows = [item.val_indices if part == "val" else item.test_indices for item in experiences]
        return np.sort(np.concatenate(rows))

    def ordered_loader(self, experience: int, rank: int = 0, world_size: int = 1) -> DataLoader[Any]:
        """The training data of an experience with the evaluation transform, in the stream's order, striped."""
        rows = self.stream[experience].indices
        batches = TrainBatches(
            rows, self._experience_of_row, self.batch_size, rank, world_size, experience=experience, shuffle=False
        )
        return self._loader(batches, features=True)

    def _served(self) -> list[Experience]:
        """The experiences whose data the training and validation loaders serve."""
        last = self._entered.experience
        return list(self.stream)[0 if self._entered.all_seen else last : last + 1]

    def describe(self) -> dict[str, Any]:
        """Facts for the record: the class, its options, what was found on disk."""
        counts = count_images(self.samples, len(self.class_names))
        per_class = {
            name: dict(zip(SPLITS, row, strict=True))
            for name, row in zip(self.class_names, counts.tolist(), strict=True)
        }
        return {
            "class_path": class_path(self),
            "init_args": {**init_args_of(self, StreamDataModule), "stream": self.scenario.describe()},
            "samples": dict(zip(SPLITS, counts.sum(axis=0).tolist(), strict=True)),
            "samples_per_class": per_class,
            "remarks": list(self.findings.remarks),
            "skipped": len(self.findings.skipped),
            "leaks": self.leaks.counts(),
        }

    def __getstate__(self) -> dict[str, Any]:
        """Without the trainer: worker processes that are spawned need this object and cannot be sent that one."""
        return {**self.__dict__, "trainer": None, "read_features": None}

    def _compose(self, name: str, asked: list[Any] | str | None, default: Callable[[], list[nn.Module]]) -> v2.Compose:
        built = build_transforms(asked, self.image_size, f"data.{name}")
        return v2.Compose(default() if built is None else built)

    def _inspect(self, samples: pd.DataFrame) -> tuple[pd.DataFrame, Rows, Inspection]:
        """Look at every image; returns the rows that can be used, which these are, and the facts on them."""
        self.cache_path: Path | None = None
        failed: dict[Path, str] = {}
        if type(self).load_image is StreamDataModule.load_image:
            self.cache_path = cache_folder(self.root, self.cache_dir)
            saliency = None
            if "saliency" in samples:
                saliency = [self.root / path if isinstance(path, str) else None for path in samples["saliency"]]
            files, failed = files_of_rows(samples, self.root, self.cache_path, max(1, self.num_workers))
            self._files = FileImages(files, boxes_of(samples), saliency, self.crop_to_box, self.box_context)
            name = f"inspection-{type(self).__name__}{'-boxes' if self.crop_to_box else ''}.npz"
            inspection = inspect_files(self._files, self.num_workers, self.cache_path / name)
        else:
            inspection = inspect_loaded(Loaded(self.load_image), len(samples), self.num_workers)
        wrong = np.flatnonzero(inspection.reason != "")
        for video, reason in failed.items():
            self.findings.bad(video.relative_to(self.root).as_posix(), reason)
        for row in wrong:
            if self.root / str(samples["path"].iloc[row]) in failed:
                continue  # said once for all its frames
            frame = samples["frame"].iloc[row] if "frame" in samples else -1
            place = f"{samples['path'].iloc[row]}{f' frame {frame}' if frame >= 0 else ''}"
            self.findings.bad(place, str(inspection.reason[row]))
        self.findings.check(self.root, self.on_bad_image)
        kept = np.setdiff1d(np.arange(len(samples), dtype=np.int64), wrong)
        if len(kept) == 0:
            raise self._nothing_left()
        return samples.iloc[kept].reset_index(drop=True), kept, inspection.take(kept)

    def _nothing_left(self) -> DataError:
        skipped = f"{plural(len(self.findings.skipped), 'file')} ({self.findings.counted()})"
        return DataError(f"{self.root}: no image is left to learn from. Skipped: {skipped}.")

    def _own_source(self) -> ImageSource:
        """The images by row of the table as it was read."""
        own: ImageSource = self._files if self.cache_path is not None else Loaded(self.load_image)
        return own

    def _look_for_leaks(self) -> None:
        """Find what the sides of the split share, and do with it what ``on_leak`` says."""
        self.leaks, kept, remarks = settle_leaks(self.samples, self.inspection, self.on_leak, str(self.root))
        self.findings.remarks += remarks
        if len(kept) < len(self.samples):
            self.samples = self.samples.iloc[kept].reset_index(drop=True)
            self.inspection = self.inspection.take(kept)
            self._origin, self._from_other = self._origin[kept], self._from_other[kept]
            self.leaks = find_leaks(self.samples, self.inspection)

    def _open_decoded_cache(self) -> DecodedImages | None:
        """The file of decoded images, for all rows of ``samples``, if it is asked for."""
        if self.cache == "none":
            return None
        if self.annotations:
            raise ConfigError("data.cache=decoded keeps no boxes and maps: leave out data.annotations or the cache.")
        if self.cache_gb <= 0:
            raise ConfigError(f"data.cache_gb must be above 0, not {self.cache_gb}.")
        sizes = np.stack([self.inspection.height, self.inspection.width], axis=1)
        side = int(256 / 224 * self.image_size)
        folder = self.cache_path or cache_folder(self.root, self.cache_dir)
        cached = DecodedImages(
            self._join_sources(), sizes, self.inspection.digest, side, folder, int(self.cache_gb * 1e9)
        )
        if cached.left_out:
            self.findings.remark(
                f"{plural(cached.left_out, 'image')} of {len(self.samples)} do not fit into data.cache_gb={self.cache_gb:g} "
                "and are decoded each time."
            )
        return cached

    def _join_sources(self) -> ImageSource:
        """The images by row of ``samples``."""
        others = [] if self.test_data is None else [self.test_data._source]
        joined: ImageSource = Joined([self._own_source(), *others], self._from_other.astype(np.int8), self._origin)
        return joined

    def class_weight_values(self) -> list[float] | None:
        """(C,) the weight of each class in the loss; None where all count alike. A class that the data lacks has 1."""
        return None if self._class_weight is None else [self._class_weight.get(name, 1.0) for name in self.class_names]

    def facts(self) -> pd.DataFrame:
        """One row a row of ``samples``: height and width in pixels, bytes of the file, its format and mode."""
        names = ("height", "width", "bytes", "format", "mode")
        return pd.DataFrame({name: getattr(self.inspection, name) for name in names})

    def preview(self, row: int, seed: int | None = None) -> Tensor:
        """A row's image as the network is given it: uint8 (3, H, W).

        Args:
            row: Of ``samples``.
            seed: Of the augmentation; None: the evaluation transform.
        """
        draw = Draw(row, 0, -1 if seed is None else seed, valid=True, memory=False)
        image: Tensor = self.image_dataset()[draw]["image"]
        return image

    def _take_test_data(self, other: "StreamDataModule") -> None:
        """Replace the test rows by another datamodule's: its official test set, or all of it."""
        mine, its = self.class_names, other.class_names
        if set(mine) != set(its):
            sides = (("only in the training data", mine, its), ("only in data.test_data", its, mine))
            apart = [
                f"{listed(name for name in one if name not in two)} {words}"
                for words, one, two in sides
                if set(one) - set(two)
            ]
            raise DataError(
                f"data.test_data must have the classes of the training data, by name: {'; '.join(apart)}. Rename or remove "
                "class folders, or filter the classes of one of the two."
            )
        other.use_class_names(mine)
        taken = other.samples
        if other.official_test:
            taken = taken[taken["split"] == "test"]
        own = self.samples[self.samples["split"] != "test"]
        if len(own) < len(self.samples):
            self.findings.remark(
                f"{plural(len(self.samples) - len(own), 'test image')} of {self.root} are not used: data.test_data is."
            )
        self._origin = np.concatenate([self._origin[own.index], taken.index.to_numpy(dtype=np.int64)])
        self._from_other = np.repeat([False, True], [len(own), len(taken)])
        self.inspection = Inspection.joined(
            [
                self.inspection.take(own.index.to_numpy(dtype=np.int64)),
                other.inspection.take(taken.index.to_numpy(dtype=np.int64)),
            ]
        )
        tables = [own.assign(source=""), taken.assign(source=type(other).__name__, split="test")]
        self.samples = pd.concat(tables, ignore_index=True)

    def _report(self) -> None:
        """Say what was left out, and what else should be known."""
        if self.findings.skipped:
            say(f"{self.root}: skipped {plural(len(self.findings.skipped), 'file')} ({self.findings.counted()}).")
        for remark in self.findings.remarks:
            say(remark)

    @property
    def stream(self) -> Stream:
        """The experiences.

        Where no scenario was given the stream is built when it is first asked for: data that another datamodule tests on
        need not be enough for one.
        """
        if self._stream is None:
            self._stream = self.scenario.build(self.samples, self.class_names)
        return self._stream

    @property
    def _experience_of_row(self) -> Rows:
        """(N,) the experience of each row of ``samples``; -1 for a row that belongs to none."""
        experience_of: Rows = np.full(len(self.samples), -1, dtype=np.int64)
        for item in self.stream:
            for rows in (item.indices, item.val_indices, item.test_indices):
                experience_of[rows] = item.index
        return experience_of

    def _settle(self) -> None:
        """Take in a table that is new or has other labels."""
        self._stream = None
        self._source = self._join_sources()
        self.split_hash = split_hash(self.samples)
        self._entered = Entered(experience=0, seed=self.seed)
        if self._stream_asked_for:
            self._stream = self.stream

    @property
    def decoded_side(self) -> int:
        """The shorter side that images are reduced to before any transform; 0 where they are not."""
        return 0 if self._decoded is None else self._decoded.side

    def feature_folder(self) -> Path:
        """The folder for features of frozen backbones; it is made."""
        return self.cache_path or cache_folder(None, self.cache_dir)

    def image_dataset(self, eval_transform: v2.Compose | None = None) -> SampleDataset:
        """Loads and transforms the images of ``samples``; with another evaluation transform if one is given."""
        labels = self.samples["label"].to_numpy()
        source = self._source if self._decoded is None else self._decoded
        evaluated = self.eval_transform if eval_transform is None else eval_transform
        return SampleDataset(source, labels, self.train_transform, evaluated, self.annotations)

    def _evaluation(self, rows: Rows, rank: int, world_size: int) -> DataLoader[Any]:
        batches = EvalBatches(rows, self._experience_of_row, self.batch_size, rank, world_size)
        return self._loader(batches, features=True, eval_transform=self.test_transform)

    def _loader(
        self, batches: Sampler[list[Draw]], features: bool, eval_transform: v2.Compose | None = None
    ) -> DataLoader[Any]:
        if features and self.read_features is not None:
            return make_feature_loader(FeatureDataset(self.read_features, self.samples["label"].to_numpy()), batches)
        return make_loader(self.image_dataset(eval_transform), batches, self.num_workers)

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
