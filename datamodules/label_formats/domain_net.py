"""DomainNet: a folder for each domain, and lists of its training and test images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from datamodules.label_formats.text_lists import records
from datamodules.label_rows import LabelRows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, near, plural

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
PARTS = ("train", "test")
LIST_FOLDERS = ("", "splits", "txt")
"""Where the lists lie, from the root: the dataset's site offers them apart from the images."""
SOURCE = "https://ai.bu.edu/M3SDA"


def is_domain_net(root: Path) -> bool:
    """Whether a folder has a domain and a list of its images."""
    return any(
        (root / domain).is_dir() and any((root / inner / f"{domain}_{part}.txt").is_file() for part in PARTS)
        for inner in LIST_FOLDERS
        for domain in DOMAINS
    )


def read_domain_net(root: Path, problems: DataProblems) -> LabelRows:
    """DomainNet: <domain>_{train,test}.txt with <domain>/<class>/<image> <class number>; original and cleaned lists.

    The class is the folder; its number must be the same in all lists. The column ``domain`` is the name of the domain.
    """
    places = {file.name: file for inner in reversed(LIST_FOLDERS) for file in sorted((root / inner).glob("*_t*.txt"))}
    lists = {name.removesuffix(".txt"): file for name, file in places.items()}
    listed_domains = {name.rpartition("_")[0] for name in lists if name.rpartition("_")[2] in PARTS}
    for domain in sorted(listed_domains - set(DOMAINS)):
        similar = listed(near(domain, DOMAINS)) or listed(DOMAINS)
        problems.problem(f"the lists of '{domain}': no domain of DomainNet has this name (similar: {similar})")
    number_of: dict[str, str] = {}
    tables = []
    for domain in DOMAINS:
        missing = [f"{domain}_{part}.txt" for part in PARTS if f"{domain}_{part}" not in lists]
        if not (root / domain).is_dir():
            if domain in listed_domains:
                problems.problem(
                    f"there is no folder {domain}/ for the images of {domain}_*.txt; remove the lists or add it"
                )
        elif missing:
            problems.problem(
                f"{domain}/ lacks {listed(missing)}, its official {'list' if len(missing) == 1 else 'lists'} (from {SOURCE}; "
                "beside the folders, or in splits/ or txt/)"
            )
        else:
            tables += [_read_list(lists[f"{domain}_{part}"], domain, part, number_of, problems) for part in PARTS]
    shared = [number for number, count in Counter(number_of.values()).items() if count > 1]
    for number in shared:
        names = [name for name, its in number_of.items() if its == number]
        problems.problem(f"the lists give the number {number} to several classes: {listed(names, 5)}")
    if not tables:
        raise DataError(
            f"{root}: no domain of DomainNet has its folder and both lists: {'; '.join(problems.problems)}."
        )
    rows = pd.concat(tables, ignore_index=True).astype({"file": "category"})
    return LabelRows(rows, "DomainNet", "line", root)


def _read_list(file: Path, domain: str, part: str, number_of: dict[str, str], problems: DataProblems) -> pd.DataFrame:
    """The rows of a list; what is wrong in it is told with its number and the first lines."""
    good, foreign, other_number = [], [], []
    for line, (path, number) in records(file, 2, problems):
        folders = path.split("/")
        if len(folders) != 3 or folders[0] != domain or not number.isdecimal():
            foreign.append(f"line {line} ({path} {number})")
            continue
        if number_of.setdefault(folders[1], number) != number:
            other_number.append(f"line {line} ({folders[1]} is {number}, and was {number_of[folders[1]]})")
        good.append((path, folders[1], line))
    if foreign:
        problems.problem(
            f"{file.name}: {plural(len(foreign), 'line')} not of the form {domain}/<class>/<image> <class number>: "
            f"{listed(foreign, 3)}"
        )
    if other_number:
        problems.problem(
            f"{file.name}: {plural(len(other_number), 'line')} with another class number: {listed(other_number, 3)}"
        )
    rows = pd.DataFrame(good, columns=["name", "label", "number"])
    return rows.astype({"name": "str", "label": "str", "number": "int64"}).assign(
        file=file.name, split=part, domain=domain
    )
