"""The front door: what is answered before torch is imported, exit codes, configs and packages found from anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from refusals import refused

from lightning_vision import cli
from lightning_vision.cli import SUBCOMMANDS, main
from lightning_vision.program.shipped_configs import config_folder

SCRIPT = Path(sys.executable).with_name("lightning-vision")
OWN_STRATEGY = """
from lightning_vision import Strategy

class Mine(Strategy):
    '''A strategy of one's own.'''

    def __init__(self, weight: float = 0.25) -> None:
        super().__init__()
"""


def started(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """A process of its own; without variables that put folders on Python's path or number a rank."""
    hidden = ("PYTHONPATH", "PYTHONSAFEPATH", "RANK", "LOCAL_RANK")
    variables = {key: value for key, value in os.environ.items() if key not in hidden}
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_version_and_a_misspelt_subcommand_do_not_wait_for_torch(tmp_path: Path) -> None:
    """Torch takes seconds to import; these answers take none of it."""
    program = (
        "import sys\n"
        "from lightning_vision.cli import main\n"
        "print([main(words) for words in (['--help'], [], ['--version'], ['fti'], ['--config', 'x'])])\n"
        "print({'torch', 'lightning', 'jsonargparse', 'numpy', 'pandas', 'rich'} & set(sys.modules))\n"
    )
    done = started(tmp_path, sys.executable, "-c", program)
    assert done.stdout.splitlines()[-2:] == ["[0, 0, 0, 2, 2]", "set()"], done.stderr


@pytest.mark.skipif(not SCRIPT.exists(), reason="the package is used from its folder, without its console script")
@pytest.mark.parametrize("words", [("--version",), ("fitt",)])
def test_the_console_script_is_the_same_program(words: tuple[str, ...], tmp_path: Path) -> None:
    as_module = started(tmp_path, sys.executable, "-m", "lightning_vision", *words)
    as_script = started(tmp_path, SCRIPT, *words)
    assert (as_script.returncode, as_script.stdout, as_script.stderr) == (
        as_module.returncode,
        as_module.stdout,
        as_module.stderr,
    )


@pytest.mark.skipif(not SCRIPT.exists(), reason="the package is used from its folder, without its console script")
def test_the_help_of_fit_loads_no_slow_library_and_finds_own_classes(tmp_path: Path) -> None:
    """avalanche, jax, codecarbon and the like take seconds each; a script's path lacks the working directory."""
    (tmp_path / "own_strategy.py").write_text(OWN_STRATEGY)
    program = (
        "import sys\n"
        "from lightning_vision.cli import main\n"
        "code = main(['fit', '--model.strategy.help', 'own_strategy.Mine'])\n"
        "code += main(['fit', '--help'])\n"
        "slow = {'avalanche', 'jax', 'codecarbon', 'sklearn', 'timm'} & set(sys.modules)\n"
        "print(code, slow)\n"
    )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "program.py").write_text(program)  # a script's folder is on its path, not where it runs
    done = started(tmp_path, sys.executable, "elsewhere/program.py")
    assert done.stdout.splitlines()[-1] == "0 set()", done.stdout + done.stderr
    assert "default: 0.25" in done.stdout
    for option in ("--model.strategy", "--data", "--run_name", "--trainer.max_epochs", "--energy.country"):
        assert option in done.stdout


@pytest.mark.parametrize("name", ["strategies", "datamodules"])
def test_a_folder_that_hides_one_of_our_packages_is_named(name: str, tmp_path: Path) -> None:
    """``python -m`` looks into the working directory first, so a folder of that name would silently be imported."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    done = started(tmp_path, sys.executable, "-m", "lightning_vision", "fit", "--help")
    assert done.returncode == 2
    assert f"{tmp_path / name} hides lightning_vision's own package '{name}'" in done.stderr
    assert "Rename it" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_subcommand_and_the_first_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, text in SUBCOMMANDS.items():
        assert f"{name} " in shown
        assert text in shown
    assert "fit --config configs/quickstart.yaml" in shown


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"lightning_vision {version('lightning_vision')}"


@pytest.mark.parametrize(
    ("word", "nearest"), [("tset", "test"), ("fi", "fit"), ("validat", "validate"), ("lst", "list")]
)
def test_a_misspelt_subcommand_gets_the_nearest(word: str, nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, [word], 2, "nearest first")
    assert f"nearest first: {nearest}" in message
    assert all(name in message for name in SUBCOMMANDS)


def test_an_option_before_the_subcommand_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["--config", "x.yaml", "fit"], 2, "'--config'", "an option before the subcommand")


@pytest.mark.parametrize("form", [["--config", "configs/quickstart.yaml"], ["--config=configs/quickstart.yaml"]])
def test_shipped_configs_are_found_from_any_folder(
    form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *form, "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    shipped = yaml.safe_load((config_folder() / "quickstart.yaml").read_text())
    assert shown["model"]["strategy"]["init_args"]["epsilon"] == shipped["model"]["strategy"]["init_args"]["epsilon"]


def test_a_config_of_the_working_directory_goes_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.yaml").write_text("data: Digits\nmodel:\n  backbone: mine\n")
    assert main(["fit", "--config", "configs/quickstart.yaml", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["backbone"] == "mine"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("configs/quickstrat.yaml", ("no file 'configs/quickstrat.yaml'", "Similar names: configs/quickstart.yaml")),
        ("nothing.yaml", ("no file 'nothing.yaml'", "`lightning-vision list`")),
        (".", ("expected a YAML file", "is a folder")),
    ],
)
def test_a_missing_config_file(value: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["fit", "--config", value], 2, *words)


def test_what_nobody_foresaw_shows_where_and_still_returns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one case in which a traceback is of use: an error in the code."""

    def broken() -> None:
        raise KeyError("inside")

    monkeypatch.setattr(cli, "_check_shadowing", broken)
    assert main(["list"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "KeyError: 'inside'" in error
    assert "an unexpected error of lightning_vision" in error


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted."),
        (PermissionError(13, "Permission denied", "/a/file"), 1, "Permission denied: /a/file"),
        (SystemExit(3), 3, ""),
        (SystemExit(None), 0, ""),
    ],
)
def test_how_a_process_ends_before_it_has_begun(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise raised

    monkeypatch.setattr(cli, "_check_shadowing", stop)
    assert main(["list"]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize(("reads", "code"), [(False, 141), (True, 1)])
def test_a_reader_that_has_left_ends_the_command_quietly(
    reads: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``test ... | head``, and Ctrl-C at ``fit ... | tee log``, which ends tee too. An error of another pipe is reported."""

    def write() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "_check_shadowing", write)
    reader, writer = os.pipe()
    if not reads:
        os.close(reader)
    before = os.dup(1)
    os.dup2(writer, 1)
    try:
        assert main(["list"]) == code
    finally:
        os.dup2(before, 1)
    assert ("Traceback" in capsys.readouterr().err) is reads


def test_every_rank_but_the_first_says_which_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main(["fitt"]) == 2
    assert capsys.readouterr().err.startswith("[rank 1] error: ")
