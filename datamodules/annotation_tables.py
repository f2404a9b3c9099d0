"""Annotation tables (CSV and MATLAB's .mat): checked columns, and errors with file and line."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.documents import read_bytes, read_text
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, plural

LONGEST_HEADER = 10_000
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True)
class Table:
    """The content of a table file. Checks drop invalid rows and collect their errors in one message."""

    file: Path
    rows: pd.DataFrame
    """Its index counts the lines (CSV, where a record begins) or rows (.mat) from 1, and bears that word as its name."""

    def place(self, at: object) -> str:
        """Where a row stands, for a message: ``names.csv line 7``."""
        return f"{self.file.name} {self.rows.index.name} {at}"

    def keep(self, good: pd.Series[bool]) -> Table:
        """The table without the other rows."""
        return Table(self.file, self.rows[good])

    def whole_numbers(self, columns: Sequence[str], findings: DataProblems) -> Table:
        """These columns as int64."""
        rows = self.rows.copy()
        good = pd.Series(True, index=rows.index)
        for column in columns:
            numbers = pd.to_numeric(rows[column], errors="coerce").astype("float64")
            wrong = ~(np.isfinite(numbers) & (numbers == np.floor(numbers)))
            for at, value in rows.loc[wrong, column].items():
                findings.problem(f"{self.place(at)}: {column} is {_shown(value)}, expected a whole number")
            rows[column] = numbers.where(~wrong, 0).astype("int64")
            good &= ~wrong
        return Table(self.file, rows[good])

    def texts(self, columns: Sequence[str], findings: DataProblems) -> Table:
        """These columns as text without blanks at its ends, none of it empty."""
        rows = self.rows.copy()
        good = pd.Series(True, index=rows.index)
        for column in columns:
            is_text = rows[column].map(lambda value: isinstance(value, str)).astype(bool)
            stripped = rows[column].where(is_text, "").astype("str").str.strip()
            for at, value in rows.loc[stripped == "", column].items():
                findings.problem(f"{self.place(at)}: {column} is {_shown(value)}, expected a text")
            rows[column] = stripped
            good &= stripped != ""
        return Table(self.file, rows[good])

    def once(self, column: str, findings: DataProblems) -> Table:
        """The first row of each value of a column; a second one is a problem."""
        again = self.rows[column].duplicated()
        if again.any():
            first = self.rows.index.to_series().groupby(self.rows[column]).first()
            word = self.rows.index.name
            for at, value in self.rows.loc[again, column].items():
                findings.problem(f"{self.place(at)}: {column} {value!r} is already in {word} {first[value]}")
        return self.keep(~again)


def read_csv(
    file: Path,
    findings: DataProblems,
    columns: Sequence[str],
    header: bool = True,
    other_names: Mapping[str, str] | None = None,
) -> Table:
    """Read a CSV file: UTF-8 with or without a byte-order mark, commas, any line ends, all values as text.

    Lines whose quotation is broken, or whose number of fields is wrong, are problems and left out.

    Args:
        file: The file.
        findings: Where problems go.
        columns: With a header line: the columns that must be there, among others. Without: all of them, in order.
        header: Whether the first line names the columns. If not, one that does is recognised nonetheless.
        other_names: Other names that header lines give the columns, in small letters.

    Raises:
        DataError: It cannot be read as a table at all.
    """
    text = read_text(file, " as CSV")
    records = read_records(file, text, findings)
    if not records:
        raise DataError(f"{file} is empty. Expected a table with the columns {listed(columns)}.")
    first = [_column_name(field, columns, other_names or {}) for field in records[0][1]]
    if header or set(first) <= set(columns):
        names, records = first, records[1:]
        _check_header(file, names, columns, text)
    else:
        names = list(columns)
        _check_separator(file, len(records[0][1]), columns, text)
    wrong = [record for record in records if len(record[1]) != len(names)]
    for line, fields in wrong:
        findings.problem(f"{file.name} line {line}: {plural(len(fields), 'field')}, expected {len(names)}")
    good = [record for record in records if len(record[1]) == len(names)]
    index = pd.Index([line for line, _ in good], name="line", dtype="int64")
    rows = pd.DataFrame([fields for _, fields in good], columns=names, index=index, dtype="str")
    return Table(file, rows.loc[:, rows.columns != ""])  # nothing can ask for a column without a name


def first_line(file: Path) -> str:
    """The first line as far as it can be read: enough to tell which table a file is."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            return lines.readline(LONGEST_HEADER)
    except OSError:
        return ""


def read_mat_struct(file: Path, variable: str, fields: Mapping[str, str]) -> Table:
    """Read a struct array of a .mat file by its fields' names.

    Args:
        file: The file.
        variable: Name of the struct array.
        fields: Name of each field that is needed, and the column that it becomes.

    Raises:
        DataError: The file cannot be read, or lacks the variable or a field.
    """
    value = np.atleast_1d(_variable(file, variable)).reshape(-1)
    names = value.dtype.names or ()
    if missing := [name for name in fields if name not in names]:
        raise DataError(
            f"{file}: '{variable}' must be a struct array with the fields {listed(fields)}. It lacks {listed(missing)} "
            f"and has {listed(names) or 'none'}."
        )
    return _mat_table(file, {column: value[name].tolist() for name, column in fields.items()})


def read_mat_columns(file: Path, variables: Mapping[str, str]) -> Table:
    """Read arrays of equal length of a .mat file, cell arrays of text among them, as the columns of a table.

    Args:
        file: The file.
        variables: Name of each array, and the column that it becomes.

    Raises:
        DataError: The file cannot be read, lacks an array, or they differ in length.
    """
    found = _load_mat(file)
    columns = {
        column: np.atleast_1d(_variable(file, name, found)).reshape(-1).tolist() for name, column in variables.items()
    }
    lengths = {name: len(columns[column]) for name, column in variables.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise DataError(
            f"{file}: its arrays must have equal lengths, found {told}. The file is damaged; download it again."
        )
    return _mat_table(file, columns)


def read_records(file: Path, text: str, findings: DataProblems, separator: str = ",") -> list[tuple[int, list[str]]]:
    """The records of a CSV file that parse, each with the line that it begins in; blank lines are none.

    Args:
        file: The file, for messages.
        text: Its content.
        findings: Where problems go.
        separator: The character between fields.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    records: list[tuple[int, list[str]]] = []
    while True:
        begins = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            # An open quotation takes all that follows for text; it ends with the file or with the largest field allowed.
            if "end of data" in str(error) or "field limit" in str(error):
                findings.problem(
                    f"{file.name} line {begins}: a quotation mark is opened here and never closed; the rest was not "
                    "read"
                )
                return records
            until = f"s {begins} to {reader.line_num}" if reader.line_num > begins else f" {begins}"
            findings.problem(
                f"{file.name} line{until}: broken quotation ({error}); double quotation marks inside a field"
            )
            continue
        if fields is None:
            return records
        if fields:
            records.append((begins, fields))


def _column_name(field: str, columns: Sequence[str], other_names: Mapping[str, str]) -> str:
    word = field.strip()
    if word in columns:
        return word
    small = {column.lower(): column for column in columns} | dict(other_names)
    return small.get(word.lower(), word)


def _check_header(file: Path, names: Sequence[str], columns: Sequence[str], text: str) -> None:
    if missing := [column for column in columns if column not in names]:
        _check_separator(file, len(names), columns, text)
        raise DataError(
            f"{file} lacks the {'column' if len(missing) == 1 else 'columns'} {listed(missing)}; its first line has "
            f"{listed((name[:60] for name in names), 30)}."
        )
    if repeated := sorted({name for name in names if name and list(names).count(name) > 1}):
        raise DataError(f"{file} has the column {listed(repeated)} twice. Remove one of them.")


def _check_separator(file: Path, found: int, columns: Sequence[str], text: str) -> None:
    """Report columns with the wrong separator."""
    first = text.lstrip().split("\n", 1)[0]
    for character, name in SEPARATORS.items():
        fields = [field.strip().strip('"') for field in first.split(character)]
        if found < len(columns) <= len(fields) or (found < len(fields) and set(columns) <= set(fields)):
            raise DataError(
                f"{file}: its columns are separated by {name}, expected commas. Save it as CSV with commas."
            )


def _load_mat(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat  # takes a while, and most datamodules need none of it

    data = read_bytes(file)
    try:
        return dict(loadmat(io.BytesIO(data), squeeze_me=True))
    except NotImplementedError as error:
        raise DataError(
            f"{file} has MATLAB's format 7.3 (HDF5), expected a version up to 7. Save it with '-v7'."
        ) from error
    except Exception as error:  # its decoder may raise anything for a damaged file
        raise DataError(
            f"{file} is not a readable .mat file; it begins with {data[:24]!r} (a MATLAB file begins with 'MATLAB "
            "5.0'). A dead link may have saved a web page under this name; download the file again."
        ) from error


def _variable(file: Path, name: str, found: Mapping[str, Any] | None = None) -> npt.NDArray[Any]:
    arrays = _load_mat(file) if found is None else found
    if name not in arrays:
        has = sorted(key for key in arrays if not key.startswith("__"))
        raise DataError(f"{file} has no '{name}', only {listed(has) or 'nothing'}. Is it the right file?")
    return np.asarray(arrays[name])


def _mat_table(file: Path, columns: Mapping[str, Sequence[Any]]) -> Table:
    """Scalars as MATLAB wraps them come out plain; what is empty or no scalar is None, for the checks to find."""
    plain = {column: [_plain(value) for value in values] for column, values in columns.items()}
    count = len(next(iter(plain.values())))
    return Table(file, pd.DataFrame(plain, index=pd.RangeIndex(1, count + 1, name="row"), dtype="object"))


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value
    array = np.asarray(value)
    return array.item() if array.size == 1 else None


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value[:60] if isinstance(value, str) else value)
