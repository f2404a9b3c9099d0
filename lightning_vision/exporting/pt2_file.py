"""The classifier as one file of torch.export, which Python and C++ programs with torch can run."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.export import ExportedProgram

from lightning_vision.errors import CheckpointError
from lightning_vision.exporting.description import KEY, PLACEHOLDER, SCHEMA, Description

EXTRA = f"{KEY}.json"
UNSTABLE = ".data/serialization_id"
"""An entry of the archive that torch derives from all others, these very metadata included."""
HARMLESS = "tensor_"
"""Constants with other names than these are pickled objects."""


def write_pt2(program: ExportedProgram, description: Description, path: Path) -> None:
    """Write the file with its description and the digest of its content.

    Args:
        program: The classifier.
        description: The content of ``extra/lightning_vision.json`` in the archive.
        path: The file.
    """
    torch.export.save(program, path)
    digest = _digest(path, description.to_json())
    torch.export.save(program, path, extra_files={EXTRA: description.to_json(digest)})


def load_pt2(path: str | Path) -> tuple[ExportedProgram, dict[str, Any]]:
    """Load a classifier of ``export --format pt2``. Files that could contain code are refused.

    ``program.module()(image)`` takes uint8 (N, 3, S, S) and returns the outputs by name.

    Args:
        path: The file.

    Returns:
        The program, and the description as in docs/export.md.

    Raises:
        CheckpointError: It is missing, damaged, altered, of a newer version, or was not written by this program.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"Expected an exported classifier at {path}, which does not exist.")
    try:
        with zipfile.ZipFile(path) as archive:
            (extra,) = [name for name in archive.namelist() if name.endswith(f"/extra/{EXTRA}")]
            text = archive.read(extra).decode()
            _refuse_code(archive, path)
        facts = json.loads(text)
        schema, digest = int(facts["schema"]), facts["digest"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} is damaged or was not written by lightning-vision export --format pt2 ({error}). Export it again."
        ) from error
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path} was written by lightning_vision {facts.get(KEY)}, with schema {schema}; this version reads schema "
            f"{SCHEMA}. Install a newer lightning_vision, or export it again."
        )
    if _digest(path, text.replace(digest, PLACEHOLDER)) != digest:
        raise CheckpointError(
            f"{path} was altered after the export: its content does not match its digest. Export it again."
        )
    return torch.export.load(path), facts


def _digest(path: Path, description: str) -> str:
    """sha256 over the description, its digest being zeros, and names and contents of the archive's other entries."""
    total = hashlib.sha256(description.encode())
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            short = PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix()  # the first is the file's own name
            if short not in (UNSTABLE, f"extra/{EXTRA}"):
                total.update(f"{short}\n".encode() + hashlib.sha256(archive.read(name)).digest())
    return total.hexdigest()


def _refuse_code(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse entries that torch.export.load would unpickle or run.

    Raises:
        CheckpointError: There are such entries.
    """
    suspicious = []
    for name in archive.namelist():
        if "/data/aotinductor/" in name:
            suspicious.append(name)
        elif name.endswith(("weights_config.json", "constants_config.json")):
            entries = json.loads(archive.read(name))["config"].values()
            suspicious += [
                f"{name}: {entry['path_name']}"
                for entry in entries
                if entry.get("use_pickle") or ("constants" in name and not entry["path_name"].startswith(HARMLESS))
            ]
        elif "/data/sample_inputs/" in name:
            try:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            except Exception:  # in any case, torch.export.load would unpickle it
                suspicious.append(name)
    if suspicious:
        raise CheckpointError(
            f"{path} contains more than tensors and a graph, which could be code, so it was not loaded: "
            f"{', '.join(suspicious[:5])}."
        )
