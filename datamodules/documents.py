"""Reads JSON, XML and YAML files of annotations as plain data: nothing in them is executed or fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import yaml

from lightning_vision.errors import DataError


def read_bytes(file: Path, most: int = -1) -> bytes:
    """The content of a file.

    Args:
        file: The file.
        most: Bytes to read; below 0: all.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error


def read_text(file: Path, form: str = "", most: int = -1) -> str:
    """The content of a text file in UTF-8.

    Args:
        file: The file.
        form: What else it must be saved as, for the error: `` as CSV``.
        most: Bytes to read, of which the last line is left out if the file goes on; below 0: all.

    Raises:
        DataError: It cannot be read or is in another encoding.
    """
    data = read_bytes(file, most)
    if len(data) == most:
        data = data[: data.rfind(b"\n") + 1]
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file} is not UTF-8 text: line {line} contains the byte 0x{data[error.start]:02x}. Save it{form} in UTF-8."
        ) from error


def read_json(file: Path) -> Any:
    """A JSON document.

    Raises:
        DataError: It cannot be read or is not JSON.
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        at = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        whole = error.msg if isinstance(error, json.JSONDecodeError) else "too deeply nested"
        raise DataError(
            f"{file} is not valid JSON: {whole}{at}. The file may be cut off; export or download it again."
        ) from error


def read_yaml(file: Path) -> Any:
    """A YAML document of plain values.

    Raises:
        DataError: It cannot be read, is not YAML, or asks for an object to be built.
    """
    text = read_text(file)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{file} is not YAML of plain values: {' '.join(str(error).split())}.") from error


def read_xml(file: Path) -> ElementTree.Element:
    """The root element of an XML document without declarations of entities.

    Raises:
        DataError: It cannot be read, is not XML, or declares entities.
    """
    data, builder = read_bytes(file), ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> int:
        raise DataError(f"{file} declares XML entities, which annotations do not need. Remove its <!ENTITY> lines.")

    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except expat.ExpatError as error:
        raise DataError(
            f"{file} is not valid XML: {error}. The file may be cut off; export or download it again."
        ) from error
