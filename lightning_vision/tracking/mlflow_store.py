"""Checks that the store of an MLflow logger can be used before anything is trained: MLflow itself tries for minutes."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lightning.pytorch.loggers import MLFlowLogger

from lightning_vision.errors import ConfigError

DATABASES = {"databricks", "databricks-uc", "mssql", "mysql", "postgresql", "uc"}
"""Schemes of stores that nothing here can try at once."""
SECONDS = 5.0
"""How long a server may take to accept a connection."""


def check_options(trainer: Mapping[str, Any]) -> None:
    """Check the stores that options of the Trainer name; building a logger opens its store.

    Args:
        trainer: The options, with ``logger`` as a class path with arguments, a list of these, or anything else.

    Raises:
        ConfigError: One cannot be written or reached.
    """
    asked = trainer.get("logger")
    for each in asked if isinstance(asked, list) else [asked]:
        if isinstance(each, Mapping) and str(each.get("class_path")).endswith("MLFlowLogger"):
            given = each.get("init_args") or {}
            uri = str(given.get("tracking_uri") or given.get("save_dir") or "")
            try:
                _try(uri)
            except (OSError, sqlite3.Error) as error:
                raise _unusable(f"{_without_password(uri)!r}", error) from error


def check_store(logger: MLFlowLogger) -> None:
    """Begin the run in the store. Called by the process that writes.

    Raises:
        ConfigError: It cannot be written or reached.
    """
    try:
        logger.experiment  # noqa: B018 - the first access creates experiment and run
    except Exception as error:  # its stores raise errors of their libraries
        raise _unusable("one that cannot", error) from error


def _unusable(found: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"trainer.logger: expected an MLflow store that can be written, found {found} "
        f"({' '.join(str(error).split())[:300]}). Give a file in a folder that exists, such as "
        "--trainer.logger.tracking_uri=sqlite:///mlflow.db, or the address of a server that runs."
    )


def _try(uri: str) -> None:
    """Try what can be tried at once.

    Raises:
        OSError: The server or the folder cannot be reached.
        sqlite3.Error: The file is no database, or cannot be written.
    """
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        path = unquote(uri.removeprefix("sqlite:///"))
        if path and path != ":memory:":
            with closing(sqlite3.connect(path, timeout=SECONDS)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("CREATE TABLE lightning_vision_probe (id)")
                database.rollback()
    elif parts.scheme in ("http", "https"):
        proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"))
        if not proxied:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), timeout=SECONDS).close()
    elif parts.scheme in ("", "file"):
        folder = Path(unquote(parts.path or uri) or "mlruns")
        folder.mkdir(parents=True, exist_ok=True)
    elif parts.scheme.partition("+")[0] not in DATABASES:
        try:
            MLFlowLogger(tracking_uri=uri)  # which knows the schemes of its plugins too
        except ImportError:
            raise
        except Exception as error:  # an error of its own, or of a plugin
            raise OSError(str(error).replace(uri, _without_password(uri))) from error


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return uri.replace(f"{parts.username}:{parts.password}@", "***@") if parts.password else uri
