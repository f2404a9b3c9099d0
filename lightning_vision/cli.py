"""The entry point of the command line: answers at once what needs no torch, and prints errors as messages."""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import subprocess
import sys
import traceback
from importlib import metadata
from io import TextIOWrapper
from pathlib import Path

from lightning_vision.errors import ConfigError, UserError
from lightning_vision.program.shipped_configs import config_folder, find_config
from lightning_vision.terminal.wording import nearest_first, printable_lines, spelt

SUBCOMMANDS = {
    "fit": "run a stream of experiences with one learning strategy; writes a run directory",
    "validate": "compute loss and accuracy of a checkpoint on the validation data",
    "test": "evaluate a checkpoint on the test data; rewrites the final metrics and the confusion matrix",
    "predict": "predict the test data, or given images and videos; with --model F.onnx DIR without torch",
    "explain": "show what a classifier looks at when it is wrong: class-activation maps, and how good they are",
    "export": "export the trained classifier to ONNX, pt2 or pte, and check it against the original",
    "compare": "compare learning strategies, seeds and settings on one stream, and write a report",
    "report": "write a page, tables and figures from any run directories",
    "push": "put a run into a repository of the Hugging Face Hub: weights, config, results, model card",
    "data": "describe the data: counts, sizes, sample images, leaks, anomalies; writes a page",
    "schema": "write a JSON schema of the configs, by which editors complete and check them",
    "list": "list the installed strategies, datamodules, scenarios, recipes and configs, including plugins",
}
STDOUT = 1
HELP = """\
usage: lightning-vision [--help] [--version] SUBCOMMAND ...

Continual learning for images: new labelled images keep coming; how should the classifier learn from them, and at what cost
in forgetting, time and carbon?

subcommands:
{subcommands}

first run:        lightning-vision fit --config configs/quickstart.yaml
which strategy?   lightning-vision compare --config configs/quickstart.yaml --strategies HeadOnly MoveToData --seeds 0 1 2
another strategy: lightning-vision fit --config configs/quickstart.yaml --config configs/strategy/full_fine_tune.yaml
your own photos:  lightning-vision fit --config configs/image_folder/base.yaml --data.root PHOTOS
look at data:     lightning-vision data --config configs/image_folder/base.yaml --data.root PHOTOS
a new photo:      lightning-vision predict --ckpt_path RUN photo.jpg
why these errors? lightning-vision explain --ckpt_path RUN
on a phone:       lightning-vision export --ckpt_path RUN --format onnx
for others:       lightning-vision push RUN owner/name
resume a run:     the same command with --ckpt_path last
all options:      lightning-vision fit --help; of a class: lightning-vision fit --model.strategy.help MoveToData
"""


def main(args: list[str] | None = None) -> int:
    """Run the program.

    Args:
        args: The command line without the program's name; None: that of the process.

    Returns:
        The exit code: 0 done; 1 error of data, checkpoint or training; 2 usage error; 3 done, but not evaluated, because
        there is no test image; 128 + n stopped by signal n, or SIGPIPE's if the reader of the output has ended. Errors that a
        user can fix are never raised.
    """
    # Idle threads of OpenMP spin: next to another busy process, a small network trains several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    own = args is None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names from disks may be no UTF-8: see wording.spelt
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if args is None else [str(word) for word in args]
    try:
        answer = _answer_at_once(words)
        if answer is not None:
            print(answer)
            return 0
        _check_words(words)
        _check_shadowing()
        _let_own_files_be_imported()
        typed, words = words, [_find_config(before, word) for before, word in zip(["", *words], words, strict=False)]
        if words[0] == "list":
            if words[1:] and words[1] not in ("-h", "--help"):
                raise ConfigError(f"list takes no options, found {words[1]!r}.")
            from lightning_vision.program.inventory import print_inventory

            print_inventory(config_folder())
            return 0
        if words[0] == "compare":
            from lightning_vision.comparison.command import compare

            return compare(words[1:], main, typed[1:])
        if words[0] == "predict" and _names(words, "--model") and not _names(words, "--config"):
            from lightning_vision.deployed.predict_folder import predict

            return predict(words[1:])
        if words[0] == "report":
            from lightning_vision.comparison.report_command import report

            return report(words[1:])
        if words[0] == "schema":
            from lightning_vision.program.schema_command import schema

            return schema(words[1:])
        if words[0] == "push":
            from lightning_vision.program.push_command import push

            return push(words[1:])
        from lightning_vision.program.dispatch import run
        from lightning_vision.program.stream_cli import NeedsOwnProcess

        try:
            return run(words, own_process=own)
        except NeedsOwnProcess:  # Lightning starts the other processes with this process's command line
            code = subprocess.run([sys.executable, "-m", "lightning_vision", *words], check=False).returncode
            return code if code >= 0 else 128 - code
    except UserError as error:
        _report(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _report("Interrupted.")
        return 130
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _has_lost_reader():
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # Python writes the rest of its buffer there at exit
            return 128 + signal.SIGPIPE
        if error.filename is None:  # a file name is sufficient
            traceback.print_exc()
        _report(f"{error.strerror or error}{'' if error.filename is None else f': {error.filename}'}")
        return 1
    except Exception as error:
        traceback.print_exc()
        _report(
            f"{type(error).__name__}: {error}\nThis is an unexpected error of lightning_vision; the traceback above shows where."
        )
        return 1


def _answer_at_once(words: list[str]) -> str | None:
    """Answer what needs no heavy import: help, version, a subcommand that does not exist.

    Raises:
        ConfigError: The subcommand does not exist.
    """
    first = words[0] if words else "--help"
    if first in ("-h", "--help"):
        width = max(map(len, SUBCOMMANDS))
        return HELP.format(subcommands="\n".join(f"  {name:{width}}  {text}" for name, text in SUBCOMMANDS.items()))
    if first == "--version":
        return f"lightning_vision {metadata.version('lightning_vision')}"
    if first not in SUBCOMMANDS:
        found = "an option before the subcommand" if first.startswith("-") else "no subcommand of that name"
        known = ", ".join(nearest_first(first, SUBCOMMANDS))
        raise ConfigError(f"Expected a subcommand, found {first!r}, {found}. Known, nearest first: {known}.")
    return None


def _check_words(words: list[str]) -> None:
    """Refuse options that could not be written to config.yaml; commands that only read accept them.

    Raises:
        ConfigError: A word contains bytes that are not UTF-8.
    """
    wrong = next((word for word in words if spelt(word) != word), None)
    if wrong is not None and words[0] != "report" and not _names(words, "--model"):
        raise ConfigError(
            f"Expected options in UTF-8, found other bytes in {spelt(wrong)}. Rename the file or folder, give its path from a "
            f"working directory below it, or a link with a plain name. Write a class as the command data prints it, with \\udc and two digits."
        )


def _check_shadowing() -> None:
    """Refuse to run if a folder in the working directory hides one of our packages.

    Raises:
        ConfigError: A folder hides one.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("strategies", "datamodules"):
        spec = importlib.util.find_spec(name)
        places = (
            [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec is not None else []
        )
        if spec is not None and spec.origin is not None and not places:
            places = [Path(spec.origin).resolve()]
        if places and (home / name) not in places:
            raise ConfigError(
                f"{places[0]} hides lightning_vision's own package {name!r}, because Python finds it first. Rename it, or start the "
                "program from another folder."
            )


def _let_own_files_be_imported() -> None:
    """Append the working directory to the path, for the user's own classes, as ``python -m`` does and a script does not.

    A run directory or a comparison is not appended: its files, from any source, could replace a missing package.
    """
    here = str(Path.cwd())
    of_a_run = any(Path(name).exists() for name in ("results.json", "checkpoints", "comparison.json"))
    if not of_a_run and here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def _find_config(before: str, word: str) -> str:
    """A word of the command line; the path of an installed config becomes absolute."""
    key, eq, value = word.partition("=") if word.startswith(("--config=", "-c=")) else ("", "", word)
    return f"{key}{eq}{find_config(value)}" if eq or before in ("--config", "-c") else word


def _has_lost_reader() -> bool:
    """Whether standard output is a pipe whose reader has ended, as ``head`` does, and ``tee`` at Ctrl-C."""
    output = select.poll()
    output.register(STDOUT, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))


def _names(words: list[str], option: str) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words)


def _report(text: str) -> None:
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    print(f"{'' if rank == '0' else f'[rank {rank}] '}error: {printable_lines(text)}", file=sys.stderr, flush=True)
