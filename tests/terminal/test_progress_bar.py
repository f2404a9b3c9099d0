"""The bar is live in a terminal alone; in a log one line stands for it, and nothing blank."""

import os
import pty
import subprocess
import sys

PROGRAM = """
from lightning_vision.terminal import progress_bar as module
module.PATIENCE_SECONDS = {patience}
with module.progress_bar("counting", 1200) as advance:
    for _ in range(1200):
        advance()
"""


def test_one_line_in_a_log() -> None:
    for patience, expected in ((-1.0, "counting (1,200)\n"), (1000.0, "")):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(patience=patience)], capture_output=True, text=True, check=True
        )
        assert (done.stderr, done.stdout) == (expected, "")


def test_a_bar_in_a_terminal() -> None:
    own, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    subprocess.run(
        [sys.executable, "-c", PROGRAM.format(patience=-1.0)], stderr=terminal, env=environment, check=True, timeout=120
    )
    os.close(terminal)
    shown = os.read(own, 100_000).decode()
    os.close(own)
    assert "counting" in shown and "1200/1200" in shown and "counting (1,200)" not in shown
