"""A run's folder: when it may be written into, what is kept, and files that are whole or not there at all."""

from collections.abc import Callable
from pathlib import Path

import pytest
from full_disk import small_files_only

from lightning_vision.errors import CheckpointError, ConfigError, TrainingError
from lightning_vision.results.resume_options import binding, flatten
from lightning_vision.results.run_directory import RunDirectory, safe_name
from lightning_vision.storage.atomic_write import write_atomically


@pytest.fixture
def finished(tmp_path: Path) -> RunDirectory:
    """A folder that holds a run."""
    directory = RunDirectory(tmp_path / "run")
    directory.prepare(resume=False, overwrite=False)
    directory.config.write_text("seed_everything: 3\n")
    return directory


class TestPrepare:
    def test_a_new_or_an_empty_folder_is_taken(self, tmp_path: Path) -> None:
        directory = RunDirectory(tmp_path / "some" / "where")
        directory.check(resume=False, overwrite=False)
        assert not directory.path.exists(), "looking changes nothing: a run that is refused leaves no folder behind"
        directory.prepare(resume=False, overwrite=False)
        assert [path.name for path in directory.path.iterdir()] == ["checkpoints"]
        empty = RunDirectory(tmp_path / "empty")
        empty.path.mkdir()
        empty.prepare(resume=False, overwrite=False)

    def test_an_existing_run_is_neither_mixed_nor_deleted_unasked(self, finished: RunDirectory) -> None:
        with pytest.raises(ConfigError, match=r"--ckpt_path last.*--run_name NAME.*--overwrite"):
            finished.prepare(resume=False, overwrite=False)
        assert finished.config.is_file()

    def test_going_on_keeps_all(self, finished: RunDirectory) -> None:
        finished.prepare(resume=True, overwrite=False)
        assert finished.read_config() == {"seed_everything": 3}

    def test_overwrite_deletes_a_run(self, finished: RunDirectory) -> None:
        finished.prepare(resume=False, overwrite=True)
        assert [path.name for path in finished.path.iterdir()] == ["checkpoints"]

    def test_overwrite_deletes_nothing_that_is_no_run(self, tmp_path: Path) -> None:
        """``--run_name`` or the root may be mistyped, and then name somebody's photos."""
        directory = RunDirectory(tmp_path)
        (tmp_path / "holiday.jpg").touch()
        with pytest.raises(ConfigError, match=r"holds no run.*nothing was deleted"):
            directory.prepare(resume=False, overwrite=True)
        assert (tmp_path / "holiday.jpg").exists()

    def test_both_at_once_contradict(self, finished: RunDirectory) -> None:
        with pytest.raises(ConfigError, match="give one of the two"):
            finished.prepare(resume=True, overwrite=True)
        assert finished.config.is_file()

    @pytest.mark.parametrize("resume", [True, False])
    def test_a_file_in_the_way(self, resume: bool, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("a note")
        with pytest.raises(ConfigError, match="is a file, a folder for the run was expected"):
            RunDirectory(tmp_path / "run").prepare(resume=resume, overwrite=False)
        (tmp_path / "root").write_text("a note")
        with pytest.raises(TrainingError, match=r"cannot be written: Not a directory.*--trainer.default_root_dir"):
            RunDirectory(tmp_path / "root" / "run").prepare(resume=resume, overwrite=False)

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root can write into")
    def test_a_folder_that_cannot_be_written(self) -> None:
        with pytest.raises(TrainingError, match="cannot be written"):
            RunDirectory(Path("/proc/run")).prepare(resume=False, overwrite=False)


class TestConfig:
    @pytest.mark.parametrize("text", ["a: b: c", "", "- 1"])
    def test_a_damaged_file_is_named(self, text: str, finished: RunDirectory) -> None:
        finished.config.write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.yaml"):
            finished.read_config()

    def test_dotted_keys(self) -> None:
        config = {"a": {"b": 1, "c": {}}, "list": [1, 2], "callbacks": [{"class_path": "X"}, {"class_path": "Y"}]}
        assert dict(flatten(config)) == {
            "a.b": 1,
            "a.c": {},
            "list": [1, 2],
            "callbacks.0.class_path": "X",
            "callbacks.1.class_path": "Y",
        }

    def test_options_that_decide_the_result_are_separated_from_others(self) -> None:
        """Workers, paths and logging may differ when a run resumes; nothing else may."""
        config = {
            "ckpt_path": "last", "run_name": "x", "keep_checkpoints": "all", "wandb": {"mode": "online"}, "seed_everything": 0,
            "energy": {"country": "FRA"}, "trainer": {"default_root_dir": "runs", "max_epochs": 3, "logger": None},
            "data": {"class_path": "Digits", "init_args": {"root": "here", "num_workers": 4, "batch_size": 32, "seed": 1}},
            "model": {"base_checkpoint": "base", "backbone": "resnet18"},
        }  # fmt: skip
        assert set(binding(config)) == {
            "seed_everything",
            "trainer.max_epochs",
            "data.class_path",
            "data.init_args.batch_size",
            "data.init_args.seed",
            "model.backbone",
        }


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("keep", "left"),
        [("last", [0, 5]), ("all", [0, 1, 2, 3, 4, 5]), (1, [0, 5]), (2, [0, 4, 5]), (6, [0, 1, 2, 3, 4, 5]), (9, [0, 1, 2, 3, 4, 5])],
    )  # fmt: skip
    def test_the_base_and_the_last_ones_are_kept(
        self, keep: str | int, left: list[int], finished: RunDirectory
    ) -> None:
        for t in range(6):
            finished.finished(t).touch()
        finished.prune(keep)
        assert finished.all_finished() == [finished.finished(t) for t in left]

    def test_inner_checkpoints_belong_to_their_experience(self, finished: RunDirectory) -> None:
        for t in (1, 11):
            for what in ("last", "best"):
                finished.within(t, 0, what).touch()
        finished.finished(1).touch()
        finished.drop_within(1)
        assert sorted(finished.checkpoints.iterdir()) == sorted(
            [finished.finished(1), finished.within(11, 0, "best"), finished.within(11, 0, "last")]
        )
        assert finished.all_finished() == [finished.finished(1)]


def writer(content: bytes) -> Callable[[Path], None]:
    """Writes this."""

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


class TestWriteAtomically:
    def test_replaces_the_file_and_leaves_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "figures.csv"
        for text in (b"old", b"new"):
            write_atomically(path, writer(text))
        assert path.read_text() == "new"
        assert [each.name for each in tmp_path.iterdir()] == ["figures.csv"]

    def test_a_full_disk_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "figures.csv"
        path.write_text("old")
        refused = pytest.raises(TrainingError, match=r"Cannot write .*unchanged.*--ckpt_path last")
        with small_files_only(1000), refused:
            write_atomically(path, writer(b"x" * 5000))
        assert path.read_text() == "old"
        assert [each.name for each in tmp_path.iterdir()] == ["figures.csv"]


@pytest.mark.parametrize(
    ("given", "name"),
    [("trial 3", "trial-3"), ("../up", "up"), ("a/b", "a-b"), ("seed=0", "seed=0"), ("größe", "größe"), ("-x-", "x")],
)
def test_a_run_name_becomes_one_folder_below_the_root(given: str, name: str) -> None:
    assert safe_name(given) == name


@pytest.mark.parametrize("given", ["...", "/", " "])
def test_a_run_name_without_a_letter(given: str) -> None:
    with pytest.raises(ConfigError, match="--run_name: expected letters"):
        safe_name(given)
