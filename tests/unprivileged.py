"""The rights of files, made to count for the superuser too, as whom tests often run."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

VERSION = 0x20080522
"""Of the kernel's interface."""
READ_ALL = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def rights_count() -> Iterator[None]:
    """Within the block this thread, and those it starts, may read only what the rights of files allow."""
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("the superuser may read everything here")
    library = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(VERSION, 0), (_Data * 2)()
    if library.capget(ctypes.byref(header), ctypes.byref(data)):
        raise OSError(ctypes.get_errno(), "capget")
    before = data[0].effective
    try:
        data[0].effective = before & ~READ_ALL
        if library.capset(ctypes.byref(header), ctypes.byref(data)):
            raise OSError(ctypes.get_errno(), "capset")
        yield
    finally:
        data[0].effective = before
        library.capset(ctypes.byref(header), ctypes.byref(data))
