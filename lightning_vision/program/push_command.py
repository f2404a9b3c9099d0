"""The subcommand ``push``: a run to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_vision.program.library_errors import quieten
from lightning_vision.program.push_run import push_run, write_repository
from lightning_vision.storage.hub_address import SCHEME
from lightning_vision.terminal.messages import print_line
from lightning_vision.terminal.option_parser import WordsParser
from lightning_vision.terminal.wording import plural


def push(words: Sequence[str]) -> int:
    """Run the subcommand ``push``.

    Args:
        words: The command line after ``push``.

    Returns:
        The exit code.

    Raises:
        UserError: There is no run, no login, no network, or the Hub refuses the files.
    """
    parser = WordsParser(
        prog="lightning-vision push",
        allow_abbrev=False,
        description="Put a run into a repository of the Hugging Face Hub: its weights as safetensors, config.yaml, results.json with "
        "curves and predictions, and a model card with the scores. Log in first with `hf auth login`. Folders of this machine, "
        "secrets, images and checkpoints are not uploaded.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory with at least one finished experience")
    parser.add_argument("name", metavar="owner/name", help="the repository; it is created if it does not exist")
    parser.add_argument(
        "--private", action="store_true", help="create a private repository; default: as the account's settings say"
    )
    parser.add_argument("--output", type=Path, help="write the files into this folder, to look at them; upload nothing")
    parser.add_argument(
        "--trust_run", action="store_true", help="the run directory may have symbolic links to files of other folders"
    )
    given = parser.parse_args(list(words))
    quieten()
    if given.output is not None:
        names = write_repository(given.run, given.name, given.output, trust_run=given.trust_run)
        print_line(f"Written, and not uploaded: {plural(len(names), 'file')} in {given.output}")
        return 0
    pushed = push_run(given.run, given.name, private=given.private or None, trust_run=given.trust_run)
    print_line(f"Pushed: {plural(len(pushed.files), 'file')} as {pushed.address}")
    print_line(f'Open it with: lightning_vision.open_run("{SCHEME}{pushed.address.name}")')
    return 0
