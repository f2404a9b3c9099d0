"""What can be done to a folder of data: each function takes the folder, and changes it."""

import shutil
from collections.abc import Callable
from pathlib import Path

Spoil = Callable[[Path], object]


def nothing(root: Path) -> None:
    """As it is."""


def add(name: str, write: Callable[[Path], object]) -> Spoil:
    """Let a function write a file."""
    return lambda root: write(root / name)


def put(name: str, content: str | bytes) -> Spoil:
    """Another content of a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda root: (root / name).write_bytes(data)


def swap(name: str, old: str, new: str, count: int = 1) -> Spoil:
    """Other words in a text file; count -1 is everywhere."""

    def spoil(root: Path) -> None:
        text = (root / name).read_bytes().decode()
        assert old in text
        (root / name).write_bytes(text.replace(old, new, count).encode())

    return spoil


def append(name: str, text: str) -> Spoil:
    """More at the end of a text file."""
    return lambda root: (root / name).write_bytes((root / name).read_bytes() + text.encode())


def recode(name: str, change: Callable[[bytes], bytes]) -> Spoil:
    """The bytes of a file changed."""
    return lambda root: (root / name).write_bytes(change((root / name).read_bytes()))


def as_from_windows(text: bytes) -> bytes:
    """A byte-order mark, and CRLF."""
    return b"\xef\xbb\xbf" + text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def remove(*names: str) -> Spoil:
    """Files or folders taken away."""

    def spoil(root: Path) -> None:
        for name in names:
            shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()

    return spoil


def instead(name: str, write: Callable[[Path], object]) -> Spoil:
    """Something else in the place of a file or folder."""
    return lambda root: (remove(name)(root), write(root / name))


def link_to_itself(file: Path) -> None:
    file.symlink_to(file)


def link_to_nothing(file: Path) -> None:
    file.symlink_to(file.with_name("nowhere"))


def no_rights(name: str) -> Spoil:
    """Nobody may read it."""
    return lambda root: (root / name).chmod(0)


def every(pattern: str, write: Callable[[Path], object]) -> Spoil:
    """A function let loose on all these files."""
    return lambda root: [write(file) for file in sorted(root.rglob(pattern))]


def cut_in_half(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def together(*spoils: Spoil) -> Spoil:
    """One after another."""
    return lambda root: [spoil(root) for spoil in spoils]
