"""Archives are unpacked once, whole or not at all, never beside their folder, and only the images and what labels them."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_maker import FORMS, member, write_archive, write_tar
from PIL import Image

from lightning_vision.errors import DataError
from lightning_vision.images import archive_entries, archive_unpacking, unpacked_archives
from lightning_vision.images.unpacked_archives import image_root


def picture(side: int = 8, form: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (side, 90, 20)).save(file, form)
    return file.getvalue()


PICTURE = picture()
CLASSES = {"cats/1.jpg": PICTURE, "cats/2.jpg": PICTURE, "dogs/1.jpg": PICTURE}


def files_in(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


class TestWhatIsUnpacked:
    @pytest.mark.parametrize("form", FORMS)
    def test_each_form(self, tmp_path: Path, form: str) -> None:
        found = image_root(write_archive(tmp_path / f"photos{form}", CLASSES))
        assert found.path.name == "photos"
        assert files_in(found.path) == list(CLASSES)
        assert (found.path / "cats" / "1.jpg").read_bytes() == PICTURE
        assert "3 images unpacked to" in found.remark

    def test_an_archive_that_only_its_content_tells(self, tmp_path: Path) -> None:
        file = write_archive(tmp_path / "photos.zip", CLASSES).rename(tmp_path / "download")
        assert files_in(image_root(file).path) == list(CLASSES)

    def test_a_folder_of_images_and_a_missing_one_stay_as_they_are(self, tmp_path: Path) -> None:
        (tmp_path / "photos" / "cats").mkdir(parents=True)
        (tmp_path / "photos" / "cats" / "1.jpg").write_bytes(PICTURE)
        write_archive(tmp_path / "photos" / "backup.zip", CLASSES)
        for given in (tmp_path / "photos", tmp_path / "nowhere"):
            assert image_root(given) == unpacked_archives.ImageRoot(given)

    def test_a_folder_of_links_to_folders_of_images_stays_as_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "stored").mkdir()
        (tmp_path / "stored" / "1.jpg").write_bytes(PICTURE)
        (tmp_path / "stored" / "above").symlink_to(tmp_path)
        (tmp_path / "photos").mkdir()
        write_archive(tmp_path / "photos" / "backup.zip", CLASSES)
        (tmp_path / "photos" / "cats").symlink_to(tmp_path / "stored")
        assert image_root(tmp_path / "photos") == unpacked_archives.ImageRoot(tmp_path / "photos")

    def test_folders_that_link_to_each_other(self, tmp_path: Path) -> None:
        """Through each of them the walk comes to the others, and not again to itself, or it would not end."""
        for name in "abc":
            (tmp_path / name).mkdir()
            (tmp_path / name / "notes.md").write_text("x", encoding="utf-8")
            for other in set("abc") - {name}:
                (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
        assert image_root(tmp_path) == unpacked_archives.ImageRoot(tmp_path)

    def test_outer_folders_are_left_out(self, tmp_path: Path) -> None:
        inside = {f"export/photos/{name}": content for name, content in CLASSES.items()}
        assert files_in(image_root(write_archive(tmp_path / "a.zip", inside)).path) == list(CLASSES)

    def test_a_single_class_folder_is_none_of_them(self, tmp_path: Path) -> None:
        found = image_root(write_archive(tmp_path / "a.zip", {"photos/cats/1.jpg": PICTURE}))
        assert files_in(found.path) == ["cats/1.jpg"]

    def test_images_tables_and_annotations_only(self, tmp_path: Path) -> None:
        kept = {
            **CLASSES,
            "labels.csv": b"path,label\n",
            "notes/n0123_1": b"<annotation>\n",
            "scan": picture(form="PNG"),
            "clip.mp4": b"\0\0\0\x18ftypmp42" + bytes(50),
        }
        left = {
            **{"__MACOSX/cats/._1.jpg": b"x", ".DS_Store": b"x", "cats/.thumb.jpg": PICTURE, "Thumbs.db": b"x"},
            **{"paper.pdf": b"%PDF-1.5", "code.py": b"import os", "weights.pt": b"\0\1", "raw": b"\0\1\2"},
        }
        found = image_root(write_archive(tmp_path / "a.zip", {**kept, **left}))
        assert files_in(found.path) == sorted(kept)
        assert "5 images and 2 tables unpacked" in found.remark
        assert "left out: 4 hidden, 4 of another kind (1 .pdf, 1 .py, 1 .pt, 1 no extension)" in found.remark
        # The remark of a later start, which unpacks nothing, says the same.
        assert image_root(tmp_path / "a.zip").remark == found.remark

    def test_times_are_those_of_the_archive(self, tmp_path: Path) -> None:
        found = image_root(write_archive(tmp_path / "a.tar", CLASSES))
        assert (found.path / "cats" / "1.jpg").stat().st_mtime == 1_600_000_000
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("cats/1.jpg", (2020, 5, 17, 12, 30, 4)), PICTURE)
            archive.writestr(zipfile.ZipInfo("cats/2.jpg", (1980, 0, 0, 0, 0, 0)), PICTURE)
        found = image_root(tmp_path / "a.zip")
        taken = time.mktime((2020, 5, 17, 12, 30, 4, 0, 0, -1))
        assert (found.path / "cats" / "1.jpg").stat().st_mtime == taken

    def test_links_within_become_files(self, tmp_path: Path) -> None:
        members = [
            (member("cats/later.jpg", tarfile.SYMTYPE, "../dogs/link.jpg"), b""),
            (member("cats/1.jpg"), PICTURE),
            (member("dogs/1.jpg", tarfile.LNKTYPE, "cats/1.jpg"), b""),
            (member("dogs/link.jpg", tarfile.SYMTYPE, "./1.jpg"), b""),
            (member("dogs/round.jpg", tarfile.SYMTYPE, "round.jpg"), b""),
            (member("birds", tarfile.SYMTYPE, "cats"), b""),
        ]
        found = image_root(write_tar(tmp_path / "a.tar", members))
        assert files_in(found.path) == ["cats/1.jpg", "cats/later.jpg", "dogs/1.jpg", "dogs/link.jpg"]
        assert not any(path.is_symlink() for path in found.path.rglob("*"))
        assert (found.path / "cats" / "later.jpg").read_bytes() == PICTURE
        assert "left out: 2 links to folders or to what is left out" in found.remark

    def test_the_last_file_of_a_path_counts(self, tmp_path: Path) -> None:
        newer = picture(9)
        found = image_root(write_tar(tmp_path / "a.tar", [(member("a/1.jpg"), PICTURE), (member("a/1.jpg"), newer)]))
        assert (found.path / "a" / "1.jpg").read_bytes() == newer
        assert "1 image unpacked" in found.remark
        assert "1 replaced by a later file of the same path" in found.remark
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr("a/1.jpg", PICTURE)
            archive.writestr("a/1.jpg", newer)
        assert (image_root(tmp_path / "b.zip").path / "a" / "1.jpg").read_bytes() == newer


class TestNamesInZipArchives:
    def write(self, file: Path, stored: bytes) -> Path:
        """A name of these bytes without the flag for UTF-8."""
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("N" * len(stored) + "/1.jpg", PICTURE)
        file.write_bytes(file.read_bytes().replace(b"N" * len(stored), stored))
        return file

    def test_backslashes_are_slashes(self, tmp_path: Path) -> None:
        found = image_root(write_archive(tmp_path / "a.zip", {"cats\\1.jpg": PICTURE, "dogs\\1.jpg": PICTURE}))
        assert files_in(found.path) == ["cats/1.jpg", "dogs/1.jpg"]

    def test_utf_8_without_its_flag(self, tmp_path: Path) -> None:
        found = image_root(self.write(tmp_path / "a.zip", "Kätzchen".encode()))
        assert files_in(found.path) == ["Kätzchen/1.jpg"]
        assert "code page" not in found.remark

    def test_code_page_437_is_said(self, tmp_path: Path) -> None:
        found = image_root(self.write(tmp_path / "a.zip", "Kätzchen".encode("cp437")))
        assert files_in(found.path) == ["Kätzchen/1.jpg"]
        assert "1 name not in UTF-8, read in code page 437, as the format prescribes: 'Kätzchen/1.jpg'" in found.remark
        assert "pack the archive again with names in UTF-8" in found.remark


class TestFoldersOfArchives:
    def test_an_archive_a_class(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        write_archive(folder / "cats.zip", {"1.jpg": PICTURE, "2.jpg": PICTURE})
        write_archive(folder / "dogs.tar.gz", {"dogs/1.jpg": PICTURE})
        write_archive(folder / "fish.zip", {"Fish/1.jpg": PICTURE})
        found = image_root(folder)
        assert files_in(found.path) == ["Fish/1.jpg", "cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"]
        assert "photos: 3 archives, 4 images unpacked to" in found.remark

    def test_an_archive_a_split_with_a_table_beside(self, tmp_path: Path) -> None:
        write_archive(tmp_path / "train.zip", CLASSES)
        write_archive(tmp_path / "test.zip", CLASSES)
        (tmp_path / "labels.csv").write_text("old")
        root = image_root(tmp_path).path
        inside = [f"{split}/{name}" for split in ("test", "train") for name in CLASSES]
        assert files_in(root) == ["labels.csv", *inside]
        # A file beside the archives that changes, comes or goes needs no unpacking.
        (tmp_path / "labels.csv").unlink()
        (tmp_path / "names.csv").write_text("new")
        assert image_root(tmp_path).path == root
        assert files_in(root) == ["names.csv", *inside]
        assert (root / "names.csv").read_text() == "new"

    def test_a_deeper_archive(self, tmp_path: Path) -> None:
        (tmp_path / "train").mkdir()
        (tmp_path / "test").mkdir()
        write_archive(tmp_path / "train" / "cats.zip", {"1.jpg": PICTURE})
        write_archive(tmp_path / "test" / "cats.zip", {"1.jpg": PICTURE})
        assert files_in(image_root(tmp_path).path) == ["test/cats/1.jpg", "train/cats/1.jpg"]

    def test_two_of_one_place_are_refused(self, tmp_path: Path) -> None:
        write_archive(tmp_path / "cats.zip", {"1.jpg": PICTURE})
        write_archive(tmp_path / "cats.tar", {"1.jpg": PICTURE})
        with pytest.raises(DataError, match=r"would both be the folder 'cats'\. Rename or remove one of them"):
            image_root(tmp_path)

    def test_a_file_beside_that_is_inside_too_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "labels.csv").write_text("x")
        write_archive(tmp_path / "all.zip", {"notes/labels.csv": b"y", "1.jpg": PICTURE})
        assert "all/notes/labels.csv" in files_in(image_root(tmp_path).path)
        write_archive(tmp_path / "notes.zip", {"labels.csv": b"y"})
        with pytest.raises(DataError, match="would both be the folder 'notes'"):
            image_root(tmp_path)


class TestOnce:
    def test_nothing_is_unpacked_twice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = image_root(write_archive(tmp_path / "a.zip", CLASSES))
        monkeypatch.setattr(unpacked_archives, "_unpack", None)
        assert image_root(tmp_path / "a.zip") == found

    def test_a_changed_archive_is_unpacked_again(self, tmp_path: Path) -> None:
        before = image_root(write_archive(tmp_path / "a.zip", CLASSES)).path
        write_archive(tmp_path / "a.zip", {**CLASSES, "dogs/2.jpg": PICTURE})
        after = image_root(tmp_path / "a.zip").path
        assert before != after
        assert "dogs/2.jpg" in files_in(after)
        assert before.is_dir()  # a run may still read it

    def test_other_content_with_the_size_and_the_time_of_the_former(self, tmp_path: Path) -> None:
        """As archives have whose time is set, so that they can be built again; those of tar often have equal sizes."""
        archive = tmp_path / "a.tar"
        for content in (picture(8, "BMP"), picture(8, "BMP")[::-1]):
            write_archive(archive, {"cats/1.bmp": content})
            os.utime(archive, ns=(1, 1))
            root = image_root(archive).path
            assert (root / "cats" / "1.bmp").read_bytes() == content

    @pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(b"")])
    def test_what_is_no_longer_whole_is_unpacked_again(self, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
        root = image_root(write_archive(tmp_path / "a.zip", CLASSES)).path
        spoil(root / "cats" / "1.jpg")
        assert image_root(tmp_path / "a.zip").path == root
        assert (root / "cats" / "1.jpg").read_bytes() == PICTURE

    def test_what_a_killed_process_left_is_not_taken(self, tmp_path: Path) -> None:
        root = image_root(write_archive(tmp_path / "a.zip", CLASSES)).path
        place, home = root.parent, root.parent.parent
        place.rename(home / f"{place.name}.partial")
        (home / f"{place.name}.partial" / "a" / "cats" / "1.jpg").unlink()
        assert files_in(image_root(tmp_path / "a.zip").path) == list(CLASSES)
        assert not list(home.glob("*.partial"))

    def test_a_process_that_is_killed_while_it_unpacks(self, tmp_path: Path) -> None:
        archive = write_archive(tmp_path / "a.zip", {f"cats/{number}.jpg": PICTURE for number in range(50)})
        slow = (
            "import shutil, sys, time\n"
            "from pathlib import Path\n"
            "from lightning_vision.images.unpacked_archives import image_root\n"
            "shutil.copyfileobj = lambda *_: time.sleep(0.1)\n"
            "image_root(Path(sys.argv[1]))\n"
        )
        home = tmp_path / ".a.zip.lightning_vision" / "unpacked"
        with subprocess.Popen([sys.executable, "-c", slow, str(archive)]) as process:
            while process.poll() is None and not list(home.glob("*.partial/a/cats/3.jpg")):
                time.sleep(0.02)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert [path.suffix for path in home.iterdir() if path.is_dir()] == [".partial"]
        root = image_root(archive).path
        assert len(files_in(root)) == 50
        assert all(file.read_bytes() == PICTURE for file in root.glob("cats/*"))
        assert not list(home.glob("*.partial"))

    def test_two_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        archive, times, unpack = write_archive(tmp_path / "a.zip", CLASSES), [], unpacked_archives._unpack

        def slow(*args: object) -> object:
            times.append(1)
            time.sleep(0.2)
            return unpack(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(unpacked_archives, "_unpack", slow)
        found: list[unpacked_archives.ImageRoot] = []
        threads = [threading.Thread(target=lambda: found.append(image_root(archive))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(times) == 1
        assert len(found) == 3
        assert len(set(found)) == 1

    def test_old_versions_are_removed_beyond_the_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        places = []
        for number in range(3):
            files = {f"cats/{each}.jpg": PICTURE for each in range(number + 1)}
            places.append(image_root(write_archive(tmp_path / "a.zip", files), gigabytes=1).path.parent)
            os.utime(places[-1], (number, number))
        assert all(place.is_dir() for place in places)
        monkeypatch.setattr(unpacked_archives, "_in_use", lambda place: place == places[0])
        write_archive(tmp_path / "a.zip", {"cats/1.jpg": PICTURE, "dogs/1.jpg": PICTURE})
        image_root(tmp_path / "a.zip", gigabytes=len(PICTURE) * 4 / 1e9)
        assert [place.is_dir() for place in places] == [True, False, False]

    def test_a_version_that_a_process_reads_is_kept(self, tmp_path: Path) -> None:
        first = image_root(write_archive(tmp_path / "a.zip", CLASSES), gigabytes=0).path.parent
        write_archive(tmp_path / "a.zip", {"cats/1.jpg": PICTURE})
        second = image_root(tmp_path / "a.zip", gigabytes=0).path.parent
        assert first.is_dir()  # this process has it
        unpacked_archives._held.pop(first).release()
        write_archive(tmp_path / "a.zip", {"cats/2.jpg": PICTURE})
        image_root(tmp_path / "a.zip", gigabytes=0)
        assert not first.exists()
        assert second.is_dir()

    def test_the_folder_of_the_caches(self, tmp_path: Path) -> None:
        archive = write_archive(tmp_path / "a.zip", CLASSES)
        assert image_root(archive).path.is_relative_to(tmp_path / ".a.zip.lightning_vision")
        assert image_root(archive, tmp_path / "elsewhere").path.is_relative_to(tmp_path / "elsewhere")


def encrypted(file: Path) -> Path:
    write_archive(file, CLASSES)
    content = bytearray(file.read_bytes())
    for start, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(start)
        while place >= 0:
            content[place + at] |= 1
            place = content.find(start, place + 1)
    file.write_bytes(content)
    return file


def cut(file: Path) -> Path:
    noise = {f"a/{number}.jpg": os.urandom(3000) for number in range(5)}
    content = write_archive(file, noise).read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


def spoilt(file: Path) -> Path:
    noise = {f"a/{number}.jpg": os.urandom(3000) for number in range(5)}
    content = bytearray(write_archive(file, noise).read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    return file


def zip_link(file: Path, target: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("cats/1.jpg")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    return file


def odd_method(file: Path) -> Path:
    content = write_archive(file, CLASSES).read_bytes()
    file.write_bytes(content.replace(b"\x08\0\0\0", b"\x09\0\0\0"))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cats/1.jpg", PICTURE)
    changed = bytearray(file.read_bytes())
    changed[8], changed[changed.find(b"PK\x01\x02") + 10] = 9, 9  # Deflate64, as Windows writes large files
    file.write_bytes(changed)
    return file


def web_page(file: Path) -> Path:
    file.write_text("<!DOCTYPE html><html>Log in</html>")
    return file


def empty(file: Path) -> Path:
    file.touch()
    return file


OUT = "expected files below one folder, found"
BAD: list[tuple[str, Callable[[Path], Path], str]] = [
    ("encrypted.zip", encrypted, r"is encrypted \('cats/1\.jpg' and 2 more\)\. Unpack it with its password"),
    ("cut.zip", cut, r"is no whole zip archive: .*The download may not be finished.*Download or copy it again"),
    ("cut.tar", cut, r"is no whole tar archive: .*Download or copy it again"),
    ("cut.tar.gz", cut, r"is no whole tar archive: .*Download or copy it again"),
    ("cut.tar.xz", cut, r"is no whole tar archive: .*Download or copy it again"),
    ("spoilt.zip", spoilt, r"is no whole zip archive: Bad CRC-32"),
    ("spoilt.tar.gz", spoilt, "is no whole tar archive: "),
    ("spoilt.tar.bz2", spoilt, "is no whole tar archive: "),
    ("spoilt.tar.xz", spoilt, "is no whole tar archive: "),
    ("page.zip", web_page, r"expected a zip archive, found a web page, which a failed download leaves"),
    ("page.tar.gz", web_page, r"expected a tar archive, found a web page"),
    ("empty.zip", empty, r"is empty; expected a zip archive"),
    ("empty.tar", empty, r"is empty; expected a tar archive"),
    ("method.zip", odd_method, r"cannot be unpacked: .*compression.*Unpack it with '7z x', and give the folder"),
    ("no_image.zip", lambda file: write_archive(file, {"a.csv": b"x", "b.pdf": b"x"}),
     r"no image in the archive, which holds 1 table, and 1 of another kind \(1 \.pdf\)\. Expected image files"),
    ("nested.zip", lambda file: write_archive(file, {**CLASSES, "train.zip": b"PK"}),
     r"contains another archive, 'train\.zip', and archives within archives are not read\. Unpack nested\.zip and give the folder"),
    ("nested.tar", lambda file: write_archive(file, {"a/b.tar.gz": b"x"}), r"contains another archive, 'a/b\.tar\.gz'"),
    ("above.zip", lambda file: write_archive(file, {"../../evil.jpg": PICTURE}), rf"{OUT} '\.\./\.\./evil\.jpg', a path outside"),
    ("above.tar", lambda file: write_archive(file, {"a/../../evil.jpg": PICTURE}), rf"{OUT} 'a/\.\./\.\./evil\.jpg', a path outside"),
    ("back.zip", lambda file: write_archive(file, {"a\\..\\..\\evil.jpg": PICTURE}), f"{OUT} .*evil.*, a path outside"),
    ("absolute.zip", lambda file: write_archive(file, {"/etc/evil.jpg": PICTURE}), f"{OUT} '/etc/evil.jpg', a path outside"),
    ("absolute.tar", lambda file: write_archive(file, {"/etc/evil.jpg": PICTURE}), f"{OUT} '/etc/evil.jpg', a path outside"),
    ("drive.zip", lambda file: write_archive(file, {"C:\\evil.jpg": PICTURE}), f"{OUT} 'C:/evil.jpg', a path outside"),
    ("link.zip", lambda file: zip_link(file, "/etc/passwd"), f"{OUT} 'cats/1.jpg', a link to /etc/passwd, which is outside"),
    ("link.tar", lambda file: write_tar(file, [(member("a/1.jpg", tarfile.SYMTYPE, "../../x.jpg"), b"")]),
     rf"{OUT} 'a/1\.jpg', a link to \.\./\.\./x\.jpg, which is outside the archive.*Unpack it only if you trust its source"),
    ("hard.tar", lambda file: write_tar(file, [(member("a/1.jpg", tarfile.LNKTYPE, "../x.jpg"), b"")]), f"{OUT} .*x.jpg', a path outside"),
    ("device.tar", lambda file: write_tar(file, [(member("a/1.jpg", tarfile.CHRTYPE), b"")]), f"{OUT} 'a/1.jpg', a device or a pipe"),
    ("pipe.tar", lambda file: write_tar(file, [(member("a/1.jpg", tarfile.FIFOTYPE), b"")]), f"{OUT} 'a/1.jpg', a device or a pipe"),
    ("both.tar", lambda file: write_archive(file, {"a/1.jpg": PICTURE, "a/1.jpg/2.jpg": PICTURE}), "as a file and as a folder"),
]  # fmt: skip


class TestRefused:
    @pytest.mark.parametrize(("name", "make", "words"), BAD, ids=[name for name, _, _ in BAD])
    def test_nothing_is_written(self, tmp_path: Path, name: str, make: Callable[[Path], Path], words: str) -> None:
        inside = tmp_path / "inside"
        inside.mkdir()
        archive = make(inside / name)
        with pytest.raises(DataError, match=words):
            image_root(archive)
        assert [path.name for path in tmp_path.iterdir()] == ["inside"]
        assert {path.name for path in inside.iterdir()} == {name, f".{name}.lightning_vision"}
        assert files_in(inside / f".{name}.lightning_vision") == ["unpacked/unpacked.lock"]

    def test_a_header_that_tarfile_skips_in_silence(self, tmp_path: Path) -> None:
        file = write_archive(tmp_path / "a.tar", CLASSES)
        content = bytearray(file.read_bytes())
        content[content.find(b"dogs/1.jpg") + 150] ^= 0xFF  # in its checksum
        file.write_bytes(content)
        with pytest.raises(DataError, match="is no whole tar archive: its end is missing"):
            image_root(file)

    @pytest.mark.parametrize("form", [".zip", ".tar.gz"])
    def test_a_bomb(self, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive_unpacking, "FREE_BYTES", 1_000_000)
        bomb = write_archive(tmp_path / f"bomb{form}", {"a/1.jpg": PICTURE, "a/2.bmp": bytes(3_000_000)})
        with pytest.raises(
            DataError, match=r"unpacks to at least 3,000,\d+ bytes, more than 100 times its size.*Nothing was unpacked"
        ):
            image_root(bomb)
        assert not list((tmp_path / f".bomb{form}.lightning_vision" / "unpacked").glob("*.partial"))

    def test_a_header_that_would_fill_the_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive_entries, "LARGEST_HEADER", 100_000)
        file = write_tar(tmp_path / "a.tar", [(member("long", tarfile.GNUTYPE_LONGNAME), bytes(200_000))])
        with pytest.raises(DataError, match="has a header of 200,192 bytes, which no image needs"):
            image_root(file)

    def test_more_than_the_disk_holds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        used = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=archive_unpacking.SPARE_BYTES + 500))
        for form in (".zip", ".tar"):
            with pytest.raises(
                DataError, match=r"unpacks to at least .* bytes, and 500 bytes can be used.*data\.cache_dir"
            ):
                image_root(write_archive(tmp_path / f"a{form}", CLASSES))

    def test_a_disk_that_fills_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*args: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(
            DataError, match=r"a\.zip cannot be unpacked to .*: No space left on device\. Free some space"
        ):
            image_root(write_archive(tmp_path / "a.zip", CLASSES))
        assert files_in(tmp_path / ".a.zip.lightning_vision") == ["unpacked/unpacked.lock"]

    def test_a_record_of_another_form_is_not_taken(self, tmp_path: Path) -> None:
        root = image_root(write_archive(tmp_path / "a.zip", CLASSES)).path
        for text in ("{", json.dumps({"other": 1}), "[]"):
            (root.parent / "record.json").write_text(text)
            assert files_in(image_root(tmp_path / "a.zip").path) == list(CLASSES)
