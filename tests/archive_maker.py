"""Archives of images, as people have them and as they should not be."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

FORMS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def pack(folder: Path, archive: Path, inside: str = "") -> Path:
    """A folder's files in an archive of the form that its name says, below a folder ``inside`` of it."""
    return write_archive(
        archive,
        {
            f"{inside}/{file.relative_to(folder).as_posix()}".lstrip("/"): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        },
    )


def write_archive(archive: Path, files: Mapping[str, bytes]) -> Path:
    """An archive of files by their names, in the form that its own name says."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return archive
    compression = archive.name.rpartition(".")[2].replace("tgz", "gz").replace("tar", "")
    with tarfile.open(archive, f"w:{compression}") as written:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_600_000_000
            written.addfile(member, io.BytesIO(content))
    return archive


def write_tar(archive: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar archive of any members, such as links and devices."""
    with tarfile.open(archive, "w") as written:
        for member, content in members:
            member.size = len(content)
            written.addfile(member, io.BytesIO(content))
    return archive


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """The header of a member of a tar archive."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made
