"""The images of a tree whose folders are the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.folder_doubts import refuse_doubtful, refuse_mostly_skipped, refuse_unreadable
from datamodules.folder_layout import LabelledImage, find_layout, remarks_on
from datamodules.folder_tree import Folder
from datamodules.tables_beside import tables_beside
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.terminal.wording import plural


class FolderOptions(NamedTuple):
    """How the folders are read."""

    split_folders: Mapping[str, str | Sequence[str]] | str | None = None
    """As the option of ``ImageFolder``."""
    classes_from: str | None = None
    """Likewise."""
    by_domain: bool = False
    """The scenario divides the stream by the column domain, so the user knows of the sub-folders."""
    skip_others: bool = False
    """More files may be skipped than read."""
    metadata: Path | None = None
    """A table that is used already."""


def read_class_folders(tree: Folder, options: FolderOptions, problems: DataProblems) -> list[LabelledImage]:
    """The images in class folders.

    Args:
        tree: The data's root.
        options: How it is read.
        problems: Where skipped files and remarks go.

    Raises:
        DataError: The tree holds no class folders, or is probably meant otherwise.
        ConfigError: ``split_folders`` does not fit the tree.
    """
    root = Path(tree.place)
    layout = find_layout(tree, options.split_folders, options.classes_from)
    for top, _ in layout.tops:
        for folder in top.folders:
            folder.report_skipped(problems)
    named = ((image.path, image.class_name) for image in layout.images)
    tables = tables_beside(tree, named if layout.images else layout.loose_paths(), options.metadata)
    refuse_unreadable(layout, problems, tables)
    if options.classes_from is None and options.split_folders is None:
        refuse_doubtful(layout, tables, options.by_domain)
    if not options.skip_others:
        refuse_mostly_skipped(layout, problems)
    for top, names in layout.loose.items():
        if any(folder.has_images() for folder in top.folders):
            for name in names:
                problems.skip(top.path_of(name), "beside the class folders")
        else:
            problems.remark(
                f"{root}: {plural(len(names), 'image')} directly in {top.path}, and none in a class folder, are left out: "
                "they have no label."
            )
    for remark in remarks_on(layout, options.split_folders is not None):
        problems.remark(remark)
    for table in tables:
        use = f"If it holds the labels, set data.labels={table.path}."
        if table.adds_columns:
            use = f"data.metadata={table.path} adds its columns."
        problems.remark(f"{root}: {table.sentence()}, and is not used. {use}")
    if len(layout.classes) == 1:
        problems.remark(
            f"{root}: there is one class, '{layout.classes[0]}', and a classifier needs at least 2. New images of one class "
            "can be learned on a base (model.base_checkpoint)."
        )
    return layout.images
