"""What the file results.json says, before its values are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning_vision.errors import CheckpointError
from lightning_vision.results.former_schema import from_schema_1


def read_content(path: Path, schema: int) -> dict[str, Any]:
    """What results.json says, in the present schema.

    Args:
        path: The file.
        schema: The number of the present schema.

    Raises:
        CheckpointError: The file is missing, truncated, or of a later schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise CheckpointError(
            f"Expected the results of a run in {path}, but: {error.strerror or error}. Give the folder of a run that "
            "has finished at least one experience."
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"Expected JSON in {path}, found a file that is truncated or damaged: {error}. Remove it and resume with "
            "--ckpt_path last, or restore it from a copy."
        ) from error
    found = content.get("schema") if isinstance(content, dict) else None
    if type(found) is not int or found < 1:
        raise CheckpointError(
            f"Expected results with a field `schema` from 1 to {schema} in {path}, found {found!r}. This is no "
            "results.json of lightning_vision; give the folder of a run."
        )
    if found > schema:
        raise CheckpointError(
            f"Expected results of schema {schema} or earlier in {path}, found schema {found}: a newer lightning_vision "
            "wrote them. Update lightning_vision, or run it again with this version."
        )
    return from_schema_1(content) if found == 1 else content


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
