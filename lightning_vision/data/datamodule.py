"""The base of all datamodules: a concrete one reads a disk layout into a sample table, this class does the rest."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional, Unpack

import pandas as pd
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from lightning_vision.array_types import Rows
from lightning_vision.class_path import BuiltWith, class_path, init_args_of
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.class_weights import weights_by_name
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.datasets import SampleDataset
from lightning_vision.data.inspection import How, Inspection
from lightning_vision.data.leaks import Leaks
from lightning_vision.data.new_classes import NewClasses, join_test_data
from lightning_vision.data.prepared_data import PreparedData, TableImages, read_table
from lightning_vision.data.scenarios import InstanceIncremental, Scenario
from lightning_vision.data.split_options import apply_split, read_split
from lightning_vision.data.stream import Experience, Stream
from lightning_vision.data.stream_loaders import Entered, HowEntered, StreamLoaders
from lightning_vision.errors import ConfigError
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.images.transforms import composed
from lightning_vision.images.unpacked_archives import image_root
from lightning_vision.storage.cache_folder import cache_folder

Loader = DataLoader[Any]


class StreamDataModule(LightningDataModule, BuiltWith, ABC):
    """A stream of experiences from a sample table.

    A concrete datamodule implements ``read_samples``, and ``load_image`` if its rows are not image files. Attributes
    that these use must be set before ``super().__init__(...)``, which reads the table, splits it and builds the stream.
    It passes other options on as keyword arguments.

    Args:
        root: Folder of the data, or an archive of it, which is unpacked; paths in the table are relative to it.
        batch_size: Images of a batch on one process.
        num_workers: Processes that load images, for each process that trains; results do not depend on it.
        image_size: Side of the square images, in pixels.
        val_fraction: Share of the training data cut off for validation, where there is no official validation set.
        test_fraction: Share of all data cut off for testing, where there is no official test set.
        seed: The only seed of these cuts; it also draws the ``views``.
        stream: How the training data becomes experiences; None is ``InstanceIncremental()``.
        train_transforms: Replace ``default_train_transforms()``: a list of presets, torchvision v2 classes, or modules by
            dotted path, from uint8 (3, h, w) to uint8 (3, H, W).
        eval_transforms: Replace ``default_eval_transforms()``, in the same form.
        batch_transforms: Transforms of a whole training batch on the device, in the same form, such as MixUp and CutMix.
        split: official, ratio, 70/30, 70/15/15, {folds: 5, fold: 0}, or roles of the data's own parts ({base: train1,
            increments: test2, test: test1}).
        test_data: Another datamodule with the same classes, whose test images are the test set; see ``new_classes``.
        on_leak: How to handle images that are on two sides of the split: warn, drop (from training), or error.
        on_bad_image: How to handle images that cannot be used: error, or skip (and count).
        sampler: balanced: an epoch shows all classes equally often; none: every image once.
        class_weights: Weights of the classes in the loss: none, balanced (by training images), or a list of C numbers.
        annotations: Add the boxes and saliency maps of its images to each batch, transformed with the images.
        cache: decoded keeps decoded images, reduced to the resolution of training, in a file for later epochs.
        cache_gb: Maximum size of these files; the least recently used are deleted, and images that do not fit are decoded.
        cache_dir: The folder of the caches; None: beside the data, or the user's cache folder if that is read-only.
        views: Training images of a frozen backbone: None: augmented anew in each epoch; 0: with the evaluation transform; k: k
            augmented views, drawn once by ``seed`` for runs of all seeds. With numbers, each view passes the backbone once.
        feature_cache_gb: Maximum size of the features of frozen backbones on the disk; 0: no features are cached.
        inspect: How images are inspected before training: full decodes each once, which finds damaged images and copies;
            headers reads their sizes; off reads none. None: full if this takes at most a minute, otherwise headers.
        new_classes: allow: a base is given that lacks classes of this data, which may lack classes of the base (refuse).

    Attributes:
        scenario: How the stream was cut.
        findings: Problems that were found on the disk.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {}
    """See ``Strategy``."""
    crop_to_box: bool = False
    """Crop images to their ``box_xyxy``; set by a concrete datamodule."""
    box_context: float = 0.0
    """The total by which a box is widened, as a share of its sides."""
    rows_are_files: bool = False
    """Rows are image files although the class has its own ``load_image``; set by ``read_samples``."""
    prepared: PreparedData
    """The sample table, and the facts about each row."""
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
        inspect: How | None = None,
        new_classes: NewClasses = "refuse",
    ) -> None:
        super().__init__()
        self.given_root = Path(root).expanduser()
        self.batch_size, self.num_workers, self.image_size = batch_size, num_workers, image_size
        self.split, self.val_fraction, self.test_fraction, self.seed = split, val_fraction, test_fraction, seed
        self.scenario = InstanceIncremental() if stream is None else stream
        self.train_transforms, self.eval_transforms = train_transforms, eval_transforms
        self.batch_transforms, self.feature_cache_gb, self.new_classes = batch_transforms, feature_cache_gb, new_classes
        self.test_data, self.on_leak, self.on_bad_image = test_data, on_leak, on_bad_image
        self.sampler, self.class_weights, self.annotations, self.inspect = sampler, class_weights, annotations, inspect
        self.cache, self.cache_gb, self.cache_dir, self.views = cache, cache_gb, cache_dir, views
        _check_options(self)
        self.test_transform: v2.Compose | None = None
        """Replaces the evaluation transform in evaluations: set by recipes that evaluate several views of each image."""
        self.read_features: Callable[[Rows, Rows], Tensor] | None = None
        """Set by the run while the backbone is frozen; loaders then serve features (see ``FeatureDataset``)."""
        self.train_transform = composed("train_transforms", train_transforms, self.default_train_transforms, image_size)
        self.eval_transform = composed("eval_transforms", eval_transforms, self.default_eval_transforms, image_size)
        self.batch_transform = BatchTransforms(batch_transforms, image_size)
        self.findings = DataProblems()
        cut = read_split(split, test_fraction)
        self.root = _folder_to_read(self)  # which given_root is, unless it is an archive
        samples, names = read_table(self.read_samples, self.root, self.findings, on_bad_image)
        test_fraction = join_test_data(names, test_data, new_classes == "allow", test_fraction)
        self.cache_path: Path | None = None if _loads_images(self) else cache_folder(self.given_root, cache_dir)
        load = (self.load_image, getattr(self, "image_identity", None))  # see StoredImages, whose base this is
        opened = (self.crop_to_box, self.box_context, self.cache_path, *load)
        images = TableImages(samples, self.root, num_workers, *opened)
        fill = partial(
            apply_split, cut, class_names=names, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed
        )
        others, name = None if test_data is None else test_data.prepared, type(self).__name__
        about = (self.scenario, others, on_leak, (test_fraction, val_fraction), inspect, new_classes == "allow")
        self.prepared = PreparedData(images, name, names, self.findings, on_bad_image, fill, *about)
        self._class_weight = weights_by_name(class_weights, self.samples, self.class_names)
        if cache == "decoded":
            folder = self.cache_path or cache_folder(self.given_root, cache_dir)
            self.prepared.keep_decoded(int(256 / 224 * image_size), folder, cache_gb)
        self.findings.report(self.root)
        self._entered = Entered(experience=0, seed=seed)
        if stream is not None:
            self.prepared.build_stream()

    @abstractmethod
    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Read the disk layout: the sample table (see ``lightning_vision.data.sample_table``) and the class names.

        Add problems to ``self.findings``, which refuses or counts them when everything is read.

        Raises:
            DataError: The layout is not found. The message says what was expected, where, and where to get the data.
        """

    def load_image(self, index: int) -> Tensor:
        """The image of a row of the table as ``read_samples`` gave it: uint8 RGB (3, h, w), upright.

        Raises:
            DataError: It cannot be decoded.
        """
        return self.prepared.own_source.open(index).pixels()

    def image(self, index: int) -> Tensor:
        """The image of a row of ``samples``: uint8 RGB (3, h, w), upright, cropped to its box if ``crops_to_box``."""
        return self.prepared.source.open(index).pixels()

    def default_train_transforms(self) -> list[nn.Module]:
        """Random crop to ``image_size``, random flip."""
        return [v2.RandomResizedCrop(self.image_size, antialias=True), v2.RandomHorizontalFlip()]

    def default_eval_transforms(self) -> list[nn.Module]:
        """Resize the shorter side to 256/224 of ``image_size``, then crop the centre."""
        return [v2.Resize(int(256 / 224 * self.image_size), antialias=True), v2.CenterCrop(self.image_size)]

    @property
    def samples(self) -> pd.DataFrame:
        """The sample table, every row in a split."""
        return self.prepared.samples

    @property
    def class_names(self) -> list[str]:
        """The C names; a label is a position in this list."""
        return self.prepared.class_names

    @property
    def num_classes(self) -> int:
        """C, the number of class names."""
        return len(self.class_names)

    @property
    def stream(self) -> Stream:
        """The experiences."""
        return self.prepared.stream

    @property
    def inspection(self) -> Inspection:
        """Facts about the file of each row of ``samples``."""
        return self.prepared.inspection

    @property
    def leaks(self) -> Leaks:
        """Images and groups that are on several sides of the split."""
        return self.prepared.leaks

    @property
    def split_hash(self) -> str:
        """Identifies the split."""
        return self.prepared.split_hash

    def use_class_names(self, names: Sequence[str]) -> None:
        """Use another class list, longer or in another order, and relabel by name; the split does not change.

        Raises:
            DataError: A class of this data is not on the list.
        """
        self.prepared.use_class_names(names)
        self._entered = Entered(experience=0, seed=self.seed)

    @property
    def current_experience(self) -> Experience:
        """The experience that a plain ``Trainer`` trains and evaluates: the first, or the one that was chosen."""
        return self.stream[self._entered.experience]

    def use_experience(self, number: int) -> None:
        """Choose the experience that a plain ``Trainer`` trains and evaluates, by its position in the stream, from 0 on.

        Raises:
            ConfigError: There is no such experience.
        """
        self.enter(self.stream.experience(number).index, self.seed)

    def enter(self, experience: int, seed: int, **how: Unpack[HowEntered]) -> None:
        """Choose what the training and validation loaders serve; order and augmentation derive from the seed."""
        self._entered = Entered(experience, seed, **how)

    def train_dataloader(self) -> DataLoader[Any]:
        """The training data of the chosen experience; its batch sampler is a ``TrainBatches``."""
        return self._loaders().training(self._entered)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation part of the chosen experience; in ``Trainer.validate`` those of all experiences up to it."""
        alone = self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING
        rows = self.rows_to_evaluate("val", self._entered.experience) if alone else self.rows_to_validate()
        return self._loaders().evaluation(rows, self.test_transform)

    def test_dataloader(self) -> DataLoader[Any]:
        """The whole test set."""
        return self._loaders().evaluation(self.rows_to_evaluate("test"), self.test_transform)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The whole test set."""
        return self.test_dataloader()

    def rows_to_train(self) -> Rows:
        """The rows that ``train_dataloader`` serves, in the stream's order, without those of the memory."""
        return self._entered.rows_to_train(self.stream)

    def rows_to_validate(self) -> Rows:
        """The rows that ``val_dataloader`` serves."""
        return self._entered.rows_to_validate(self.stream)

    def evaluation_loader(
        self, part: Literal["val", "test"] | Rows, up_to: int | None = None, rank: int = 0, world_size: int = 1
    ) -> DataLoader[Any]:
        """The validation or test parts of experiences 0 to ``up_to`` (None: of all) together, or some rows; each image once."""
        rows = self.rows_to_evaluate(part, up_to) if isinstance(part, str) else part
        return self._loaders(rank, world_size).evaluation(rows, self.test_transform)

    def rows_to_evaluate(self, part: Literal["val", "test"], up_to: int | None = None) -> Rows:
        """The rows that ``evaluation_loader`` serves, ascending."""
        return self.stream.rows_to_evaluate(part, up_to)

    def ordered_loader(self, experience: int, rank: int = 0, world_size: int = 1, rows: Rows | None = None) -> Loader:
        """The training data of an experience with the evaluation transform, in the stream's order, striped; or other rows."""
        return self._loaders(rank, world_size).ordered(experience, rows)

    def describe(self) -> dict[str, Any]:
        """Facts for the record: the class, its options, and what was found on the disk."""
        return {
            "class_path": class_path(self),
            "init_args": {**_options_of(self), "stream": self.scenario.describe()},
            **self.prepared.describe(),
        }

    def __getstate__(self) -> dict[str, Any]:
        """The state without the trainer: spawned worker processes get this object, and a trainer cannot be pickled."""
        return {**self.__dict__, "trainer": None, "read_features": None}

    def class_weight_values(self) -> list[float] | None:
        """(C,) the weight of each class in the loss; None if all count equally. A class without data has weight 1."""
        return None if self._class_weight is None else [self._class_weight.get(name, 1.0) for name in self.class_names]

    def facts(self) -> pd.DataFrame:
        """One row for each row of ``samples``: height and width in pixels, bytes of the file, its format and mode."""
        return self.inspection.table()

    def preview(self, row: int, seed: int | None = None) -> Tensor:
        """The network's input for a row, uint8 (3, H, W): augmented with a seed, or with the evaluation transform."""
        draw = Draw(row, 0, -1 if seed is None else seed, valid=True, memory=False)
        image: Tensor = self.image_dataset()[draw]["image"]
        return image

    def feature_folder(self) -> Path:
        """The folder for features of frozen backbones; it is created if it does not exist."""
        return self.cache_path or cache_folder(None, self.cache_dir)

    def image_dataset(self, eval_transform: v2.Compose | None = None) -> SampleDataset:
        """Loads and transforms the images of ``samples``; with another evaluation transform if one is given."""
        evaluated, labels = eval_transform or self.eval_transform, self.samples["label"].to_numpy()
        return SampleDataset(self.prepared.opened, labels, self.train_transform, evaluated, self.annotations)

    def _loaders(self, *place: int) -> StreamLoaders:
        """The loaders of a rank among ``world_size`` processes, with the current options; by default of this process."""
        if not place and self.trainer is not None:
            place = (self.trainer.global_rank, self.trainer.world_size)
        how = (self.read_features, self.views or 0, self.batch_size, self.num_workers, self.sampler)
        return StreamLoaders(self.stream, self.image_dataset, *how, *place)


def _options_of(data: StreamDataModule) -> dict[str, Any]:
    """The options by name, as they were given."""
    options = init_args_of(data, StreamDataModule)
    return {**options, "root": str(data.given_root)} if "root" in options else options


def _folder_to_read(data: StreamDataModule) -> Path:
    """The given folder, or the one to which the given archives were unpacked.

    A datamodule that loads its images itself may read archives in its own way.
    """
    if type(data).load_image is not StreamDataModule.load_image:
        return data.given_root
    found = image_root(data.given_root, data.cache_dir, data.cache_gb)
    if found.remark:
        data.findings.remark(found.remark)
    return found.path


def _loads_images(data: StreamDataModule) -> bool:
    """Whether ``load_image`` gives the images, which then are in no files."""
    return type(data).load_image is not StreamDataModule.load_image and not data.rows_are_files


def _check_options(data: StreamDataModule) -> None:
    """Check the options before anything is read.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """
    smallest = {"batch_size": 1, "num_workers": 0, "image_size": 1, "views": 0, "feature_cache_gb": 0}
    for name, least in smallest.items():
        if (value := getattr(data, name)) is not None and value < least:
            raise ConfigError(f"data.{name} must be at least {least}, not {value}.")
    if data.box_context < 0:
        raise ConfigError(f"data.context must be 0 or more, not {data.box_context}.")
    if data.cache == "decoded" and data.annotations:
        raise ConfigError("data.cache=decoded does not store boxes and maps: remove data.annotations or data.cache.")
    if data.cache == "decoded" and data.cache_gb <= 0:
        raise ConfigError(f"data.cache_gb must be above 0, not {data.cache_gb}.")
    if data.cache == "decoded" and data.inspect == "off":
        raise ConfigError("data.cache=decoded needs the sizes of the images: set data.inspect to headers or full.")
