"""What the program makes of a GPU: one table, one command, under eight minutes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --backbone vit_base_patch16_224 --batch 128
    python -m benchmarks.gpu --cpu_trial            # whether every row runs; its figures mean nothing

Each row compares with a bare loop or a limit of the same card, on the same images. Training is full fine-tuning with AdamW
in bfloat16 (float16 where the card has none), channels-last; images are noise in memory, and the first epoch of each
training warms up. Runs are processes of their own, as a user starts them. Rows that no longer fit into the time are left out
by name. docs/gpu.md says what to set when a row falls short.
"""

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measuring import InMemory, hold_noise, machine, table
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.loaders import make_loader
from lightning_vision.results.schema import Results, read_results

ROOT = Path(__file__).parents[1]
EPOCHS = 3
"""Of each training; the first is not counted."""
EPOCH_SECONDS = 3.0
MOST_IMAGES = 8192
"""In memory: 1.2 GB at 224 px."""
LEFT_OUT_SECONDS = 30.0
"""With less time than this left, a row does not begin."""
MICRO_BATCHES = (32, 64, 128, 256, 512)
JPEG_SIDES = (500, 375)


class Noise(InMemory):
    """Images of noise in memory.

    Args:
        root: Not used.
        images: Number of training images; an eighth as many are for testing.
        noise_seed: Other images.
        image_size: Their side.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self, root: str = ".", images: int = 1024, noise_seed: int = 0, image_size: int = 224, **options: Any
    ) -> None:
        hold_noise(images, image_size, test_count=max(10, images // 8), seed=noise_seed)
        super().__init__(root, image_size=image_size, **options)


class EpochFile(Callback):
    """Writes the seconds of each epoch, from its first to its last step, to a file.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path, self.seconds, self.begun = Path(path), list[float](), 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start."""
        finish(pl_module.device)
        self.begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the last step."""
        if trainer.is_last_batch:
            finish(pl_module.device)
            self.seconds.append(time.perf_counter() - self.begun)
            if trainer.is_global_zero:
                self.path.write_text(json.dumps(self.seconds))


def program(words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, which has to end within some seconds; its output is in ``stdout``."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "lightning_vision", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        env={**os.environ, "PYTHONPATH": path},
    )


def finish(device: torch.device) -> None:
    """Wait until a GPU has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class RowError(Exception):
    """Why a row has no figure."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    ours: str
    reference: str
    ratio: str
    wanted: str
    needs: str


class Bench:
    """The measurements, which share the images, the folder and the time.

    Args:
        options: Of the command line.
        folder: For runs and images.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.device = torch.device("cpu" if options.cpu_trial else "cuda")
        self.end = time.monotonic() + 60 * options.minutes
        half = self.device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
        self.precision, self.dtype = ("bf16-mixed", torch.bfloat16) if half else ("16-mixed", torch.float16)
        self.images = 4 * options.batch
        self.rates: dict[str, float] = {}  # images per second
        self.bare_bytes = 0

    # ---- the bare side -----------------------------------------------------------------------------------------------

    def autocast(self) -> torch.autocast:
        """Mixed precision on the device."""
        return torch.autocast(self.device.type, self.dtype)

    def loader(self, shuffle: bool, size: int) -> DataLoader[Any]:
        """The images of ``InMemory`` that are for training."""
        data = TensorDataset(InMemory.images[: InMemory.trained], InMemory.labels[: InMemory.trained])
        workers, pinned = self.options.workers, self.device.type == "cuda"
        return DataLoader(data, size, shuffle=shuffle, num_workers=workers, pin_memory=pinned)

    def prepared(self, image: Tensor, form: torch.memory_format) -> Tensor:
        """Normalised on the device."""
        return ((image.to(self.device, non_blocking=True) / 255 - 0.5) / 0.5).contiguous(memory_format=form)

    def bare_epochs(self, epochs: int) -> list[float]:
        """Seconds of each epoch of the loop that everyone writes."""
        torch.manual_seed(0)
        model = timm.create_model(self.options.backbone, num_classes=10)
        model = model.to(self.device).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        seconds = []
        for _ in range(epochs):
            finish(self.device)
            begun = time.perf_counter()
            for image, label in self.loader(True, self.options.batch):
                with self.autocast():
                    logits = model(self.prepared(image, torch.channels_last))
                    loss = F.cross_entropy(logits, label.to(self.device, non_blocking=True))
                optimizer.zero_grad()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(optimizer)
                scaler.update()
            finish(self.device)
            seconds.append(time.perf_counter() - begun)
        return seconds

    def bare_features(self) -> tuple[str, float]:
        """The best of a grid of formats and micro-batches, and its images per second over all images."""
        model = timm.create_model(self.options.backbone, num_classes=0).eval().to(self.device)
        forms = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
        sizes = [size for size in MICRO_BATCHES if size <= InMemory.trained]
        found: dict[tuple[str, int], float] = {}
        with torch.inference_mode(), self.autocast():
            for round_ in range(4):  # the first warms up
                for form, size in itertools.product(forms, sizes):
                    model.to(memory_format=forms[form])
                    image = InMemory.images[:size].to(self.device)
                    finish(self.device)
                    begun = time.perf_counter()
                    model(self.prepared(image, forms[form]))
                    finish(self.device)
                    seconds = (time.perf_counter() - begun) / size
                    if round_:
                        found[form, size] = min(seconds, found.get((form, size), seconds))
            form, size = min(found, key=found.__getitem__)
            model.to(memory_format=forms[form])
            rates = []
            for _ in range(2):
                begun = time.perf_counter()
                for image, _ in self.loader(False, size):
                    model(self.prepared(image, forms[form])).float().cpu()
                rates.append(InMemory.trained / (time.perf_counter() - begun))
        return f"{form}, {size}", max(rates)

    # ---- our side ----------------------------------------------------------------------------------------------------

    def fit(self, name: str, *options: str) -> tuple[float, Results]:
        """A run of the program: the median seconds of its epochs but the first, and its results."""
        clock = self.folder / f"{name}.json"
        words = [
            "fit", "--data=benchmarks.gpu.Noise", "--data.root=.", f"--data.images={self.images}", "--data.val_fraction=0",
            f"--data.image_size={self.options.size}", f"--data.batch_size={self.options.batch}", "--data.stream=Joint",
            f"--data.num_workers={self.options.workers}", "--data.on_leak=warn", f"--data.cache_dir={self.folder / 'cache'}",
            f"--model.backbone={self.options.backbone}", "--model.pretrained=false", "--model.strategy=FullFineTune",
            f"--trainer.accelerator={'cpu' if self.options.cpu_trial else 'gpu'}", "--trainer.devices=1",
            f"--trainer.precision={self.precision}", f"--trainer.max_epochs={EPOCHS}", "--wandb.mode=offline",
            "--trainer.enable_progress_bar=false", "--trainer.callbacks+=benchmarks.gpu.EpochFile",
            f"--trainer.callbacks.path={clock}", f"--trainer.default_root_dir={self.folder}", f"--run_name={name}", *options,
        ]  # fmt: skip
        try:
            done = program(words, max(self.end - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            raise RowError("the time was over; give more with --minutes") from None
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            raise RowError(f"fit ended with {done.returncode}: {lines[-1] if lines else 'no output'}")
        seconds = json.loads(clock.read_text()) if clock.is_file() else [0.0]
        return float(np.median(seconds[1:] or seconds)), read_results(self.folder / name / "results.json")

    # ---- rows --------------------------------------------------------------------------------------------------------

    def step(self) -> Iterator[Row]:
        """Full fine-tuning against a bare loop, and the memory of both."""
        hold_noise(self.images, self.options.size)
        warm = self.bare_epochs(2)[-1]
        longest = MOST_IMAGES if self.device.type == "cuda" else self.images
        wanted = int(EPOCH_SECONDS * self.images / warm) if self.device.type == "cuda" else self.images
        batches = max(min(wanted, longest) // self.options.batch, 4)
        self.images = batches * self.options.batch
        hold_noise(self.images, self.options.size)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        bare = float(np.median(self.bare_epochs(EPOCHS)[1:]))
        self.bare_bytes = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else 0
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        ours, results = self.fit("step")
        self.rates["training"] = self.images / ours
        yield Row(
            f"training step, {self.precision}: images/s",
            f"{self.images / ours:.0f}",
            f"bare loop {self.images / bare:.0f}",
            f"{bare / ours:.2f} ({1000 * (ours - bare) / batches:+.1f} ms a step)",
            "at least 0.95",
            "a GPU",
        )
        mine = results.experiences[-1].peak_memory_bytes or 0
        yield Row(
            "peak memory of training, MB",
            f"{mine / 1e6:.0f}" + ("" if self.bare_bytes else " (of the process)"),
            f"bare loop {self.bare_bytes / 1e6:.0f}" if self.bare_bytes else "-",
            f"{mine / self.bare_bytes:.2f}" if self.bare_bytes else "-",
            "at most 1.1",
            "a GPU",
        )

    def features(self) -> Iterator[Row]:
        """A frozen backbone's pass over the images against the card's bare pass."""
        hold_noise(self.images, self.options.size)
        way, bare = self.bare_features()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        frozen = ("--model.strategy=HeadOnly", "--data.views=0", "--trainer.max_epochs=1")
        self.fit("features-tuned", *frozen)  # measures the fastest way, which is kept
        _, results = self.fit("features", "--data.noise_seed=1", *frozen)
        found = results.features
        if found is None or not found.computed:
            raise RowError(f"no features were computed: {found}")
        ours = found.computed / found.seconds
        self.rates["feature pass"] = bare
        what = f"feature pass, {self.precision}, {found.computed} images: images/s"
        yield Row(what, f"{ours:.0f}", f"bare pass ({way}) {bare:.0f}", f"{ours / bare:.2f}", "at least 0.8", "a GPU")

    def loaders(self) -> Iterator[Row]:
        """JPEG files decoded and augmented for training by more and more workers, against what the card takes."""
        from datamodules import ImageFolder

        count = 32 if self.options.cpu_trial else 512
        root = write_jpegs(self.folder / "jpegs", count)
        needs = self.rates or {"training": 0.0}
        need = max(needs.values())
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        most = self.options.workers or 1 if self.options.cpu_trial else cores
        numbers = sorted({number for number in (2**power for power in range(8)) if number < most} | {most})
        for cache in ("none", "decoded"):
            data = ImageFolder(
                str(root), image_size=self.options.size, on_leak="warn", cache=cache, cache_dir=self.folder / f"jpegs-{cache}"
            )  # fmt: skip
            draws = [Draw(row % len(data.samples), 0, row, valid=True, memory=False) for row in range(100_000)]
            batches = [draws[start : start + 64] for start in range(0, len(draws), 64)]
            dataset = data.image_dataset()
            if cache == "decoded":
                for _ in make_loader(dataset, batches[: -(-len(data.samples) // 64)], numbers[-1]):
                    pass
            rates = {
                number: loaded(make_loader(dataset, batches, number), self.options.loader_seconds) for number in numbers
            }
            enough = [number for number, rate in rates.items() if rate >= need]
            best = max(rates.values())
            yield Row(
                f"loaders, JPEG {JPEG_SIDES[0]} x {JPEG_SIDES[1]}, data.cache={cache}: images/s by workers",
                ", ".join(f"{number}: {rate:.0f}" for number, rate in rates.items()),
                f"the card takes {' and '.join(f'{rate:.0f} ({name})' for name, rate in self.rates.items()) or '?'}",
                f"{best / need:.2f}, {f'{enough[0]} workers are enough' if enough else 'the loaders limit'}"
                if need
                else "-",
                "at least 1",
                "a GPU",
            )

    def ranks(self) -> Iterator[Row]:
        """Two processes against one, the batch of each the same."""
        count = 2 if self.options.cpu_trial else torch.cuda.device_count()
        if count < 2:
            raise RowError("this machine has one GPU")
        one = self.rates.get("training") or self.images / self.fit("one-rank")[0]
        seconds, results = self.fit("two-ranks", "--trainer.devices=2", "--trainer.strategy=ddp")
        two = self.images / seconds
        what = f"two ranks ({'gloo' if self.options.cpu_trial else 'NCCL'}), {results.environment.devices} devices: images/s"
        yield Row(what, f"{two:.0f}", f"one rank {one:.0f}", f"{two / one:.2f}", "at least 1.8", "two GPUs")

    def compiled(self) -> Iterator[Row]:
        """model.compile against eager, and what compiling costs."""
        eager = self.rates.get("training") or self.images / self.fit("eager")[0]
        seconds, _ = self.fit("compiled", "--model.compile=true")
        first, *_ = json.loads((self.folder / "compiled.json").read_text())
        ours = self.images / seconds
        what = f"model.compile (first epoch {first:.0f} s): images/s"
        yield Row(what, f"{ours:.0f}", f"eager {eager:.0f}", f"{ours / eager:.2f}", "at least 1", "a GPU")


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "step": Bench.step,
    "features": Bench.features,
    "loaders": Bench.loaders,
    "ranks": Bench.ranks,
    "compile": Bench.compiled,
}


def write_jpegs(root: Path, count: int) -> Path:
    """JPEG cut from scikit-learn's two photographs."""
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    generator = np.random.default_rng(0)
    width, height = JPEG_SIDES
    for number in range(count):
        photograph = photographs[number % 2]
        top, left = generator.integers(photograph.shape[0] - height), generator.integers(photograph.shape[1] - width)
        folder = root / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[top : top + height, left : left + width]).save(
            folder / f"{number:05d}.jpg", quality=90
        )
    return root


def loaded(loader: DataLoader[Any], seconds: float) -> float:
    """Images per second of a loader that has started."""
    batches = iter(loader)
    for _ in range(2 * loader.num_workers + 1):  # what workers have loaded while they started
        next(batches)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        count += len(next(batches)["label"])
    return count / (time.perf_counter() - begun)


def rows_of(bench: Bench, name: str) -> Iterator[Row]:
    """The rows of one name; a row without a figure where there is none."""
    if bench.end - time.monotonic() < LEFT_OUT_SECONDS:
        yield Row(name, f"left out: the {bench.options.minutes:g} minutes are over", "-", "-", "-", "-")
        return
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        yield from ROWS[name](bench)
    except RowError as error:
        yield Row(name, f"no figure: {error}", "-", "-", "-", "-")
    except torch.OutOfMemoryError:
        yield Row(name, f"no figure: the card's memory is full; --batch {bench.options.batch // 2}", "-", "-", "-", "-")


def main(words: list[str] | None = None) -> int:
    """Print the table; 1 if a row has no figure although the machine could give one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", help="default: resnet50; in a trial test_resnet")
    parser.add_argument("--size", type=int, help="side of the images; default: 224; in a trial 32")
    parser.add_argument("--batch", type=int, help="per process; default: 64; in a trial 8")
    parser.add_argument("--workers", type=int, help="of the loaders of training; default: up to 8; in a trial 0")
    parser.add_argument("--minutes", type=float, default=7.5, help="rows that do not fit are left out")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--cpu_trial", action="store_true", help="tiny, on the CPU: whether the rows run")
    options = parser.parse_args(words)
    if not options.cpu_trial and not torch.cuda.is_available():
        raise SystemExit(
            "benchmarks.gpu: torch finds no GPU. Run it on a machine with one and a torch built for it "
            "(python -c 'import torch; print(torch.cuda.is_available())'), or try the rows on the CPU with --cpu_trial."
        )
    trial = options.cpu_trial
    options.backbone = options.backbone or ("test_resnet" if trial else "resnet50")
    options.size = options.size or (32 if trial else 224)
    options.batch = options.batch or (8 if trial else 64)
    if options.workers is None:
        options.workers = 0 if trial else max(min(8, (os.cpu_count() or 1) - 1), 1)
    options.loader_seconds = 0.2 if trial else 3.0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        bench = Bench(options, Path(temporary))
        rows = [row for name in options.rows for row in rows_of(bench, name)]
    about = (
        f"{options.backbone} at {options.size} px, batches of {options.batch}, {options.workers} loader workers, "
        f"{(time.monotonic() - begun) / 60:.1f} minutes; {machine('timm')}"
    )
    if trial:
        about = f"A trial on the CPU: the rows run, and their figures mean nothing without what the last column names.\n\n{about}"
    columns = ["what", "ours", "against", "ratio", "wanted", "needs"]
    table(about, columns, [[row.what, row.ours, row.reference, row.ratio, row.wanted, row.needs] for row in rows])
    failed = [row for row in rows if row.ours.startswith("no figure: fit")]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
