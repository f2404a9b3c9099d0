"""Small folders of images with labels in files, in the layouts of the tools that write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from lightning_vision.data.scenarios import Joint

QUICK: dict[str, Any] = {"batch_size": 4, "num_workers": 0, "image_size": 16, "val_fraction": 0.0, "stream": Joint()}
"""Options of a small datamodule."""
SIZE = (40, 30)
"""Width and height of the images."""
CLASSES = ("cup", "plate")
BOX = (4.0, 6.0, 24.0, 26.0)
"""Corners in pixels."""


def draw(file: Path, kind: int = 0, seed: int = 0) -> Path:
    """Noise in the colour of a class; returns the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([seed, kind])
    pixels = generator.normal(((200, 60, 60), (60, 190, 60))[kind % 2], 30, (SIZE[1], SIZE[0], 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return file


def draw_all(folder: Path, count: int = 12, suffix: str = ".jpg", first: int = 0) -> list[str]:
    """Images ``000.jpg``, ``001.jpg``, ... of the two classes in turn; returns their names without suffix."""
    names = [f"{number:03d}" for number in range(first, first + count)]
    for number, name in enumerate(names, start=first):
        draw(folder / f"{name}{suffix}", number % 2, number)
    return names


def class_of(name: str) -> str:
    """The class of an image by its number."""
    return CLASSES[int(name[:3]) % 2]


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]], separator: str = ",") -> Path:
    """A table; returns the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(map(str, row)) for row in ([header] if header else [])] + [
        separator.join(map(str, row)) for row in rows
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_kaggle(root: Path) -> Path:
    """train.csv beside train_images/ and unlabelled test_images/."""
    names = draw_all(root / "train_images")
    draw_all(root / "test_images", 4, first=100)
    write_csv(root / "train.csv", ["id_code", "diagnosis"], [[name, class_of(name)] for name in names])
    write_csv(root / "sample_submission.csv", ["id_code", "diagnosis"], [[f"{n}", "cup"] for n in range(100, 104)])
    write_csv(root / "test.csv", ["id_code"], [[f"{n}"] for n in range(100, 104)])
    return root


def write_hugging_face(root: Path, lines: bool = False) -> Path:
    """train/ and test/, each with metadata.csv or metadata.jsonl."""
    for split, count, first in (("train", 12, 0), ("test", 4, 100)):
        names = draw_all(root / split, count, ".png", first)
        rows = [{"file_name": f"{name}.png", "label": class_of(name)} for name in names]
        if lines:
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (root / split / "metadata.jsonl").write_text(text, encoding="utf-8")
        else:
            write_csv(root / split / "metadata.csv", ["file_name", "label"], [list(row.values()) for row in rows])
    return root


def write_roboflow(root: Path) -> Path:
    """train/, valid/ and test/, each with _classes.csv of 0 and 1."""
    for split, count, first in (("train", 12, 0), ("valid", 4, 50), ("test", 4, 100)):
        names = draw_all(root / split, count, first=first)
        rows = [[f"{name}.jpg", *(f" {int(class_of(name) == kind)}" for kind in CLASSES)] for name in names]
        write_csv(root / split / "_classes.csv", ["filename", *(f" {kind}" for kind in CLASSES)], rows)
    (root / "README.roboflow.txt").write_text("exported, 2026-03-01", encoding="utf-8")
    return root


def write_coco(root: Path, per_image: int = 1, mixed: bool = False) -> Path:
    """Roboflow's form: train/ and test/, each with _annotations.coco.json."""
    for split, count, first in (("train", 12, 0), ("test", 4, 100)):
        names = draw_all(root / split, count, first=first)
        document = coco_document([f"{name}.jpg" for name in names], per_image, mixed)
        (root / split / "_annotations.coco.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def hugging_face_objects(name: str) -> dict[str, Any]:
    """The column objects of an image with two boxes of its class, which is a number."""
    x1, y1, x2, y2 = BOX
    boxes = [[x1, y1, x2 - x1, y2 - y1], [x1 + 1, y1, x2 - x1, y2 - y1]]
    return {"id": [0, 1], "bbox": boxes, "category": [CLASSES.index(class_of(name))] * 2, "area": [400.0, 400.0]}


def coco_document(files: Sequence[str], per_image: int = 1, mixed: bool = False) -> dict[str, Any]:
    """COCO's lists, with so many boxes an image; mixed: of different classes."""
    x1, y1, x2, y2 = BOX
    annotations = [
        {
            "id": 10 * number + item,
            "image_id": number,
            "category_id": 1 + (CLASSES.index(class_of(file.rpartition("/")[2])) + (item if mixed else 0)) % 2,
            "bbox": [x1 + item, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
        }
        for number, file in enumerate(files)
        for item in range(per_image)
    ]
    return {
        "images": [{"id": number, "file_name": file, "width": 40, "height": 30} for number, file in enumerate(files)],
        "annotations": annotations,
        "categories": [{"id": 0, "name": "things"}, *({"id": 1 + n, "name": name} for n, name in enumerate(CLASSES))],
    }


def write_yolo(root: Path, boxes: int = 1, data_yaml: str | None = None) -> Path:
    """images/{train,val}/ and labels/{train,val}/ with data.yaml."""
    x, y, w, h = 14 / 40, 16 / 30, 20 / 40, 20 / 30
    for split, count, first in (("train", 12, 0), ("val", 4, 100)):
        names = draw_all(root / "images" / split, count, first=first)
        (root / "labels" / split).mkdir(parents=True)
        for name in names:
            lines = [f"{(CLASSES.index(class_of(name)) + item) % 2} {x} {y} {w} {h}\n" for item in range(boxes)]
            (root / "labels" / split / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    text = data_yaml or "train: images/train\nval: images/val\nnc: 2\nnames: [cup, plate]\n"
    (root / "data.yaml").write_text(text, encoding="utf-8")
    return root


def voc_annotation(file: str, objects: Sequence[tuple[str, Sequence[float]]]) -> str:
    """The XML of an image."""
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
        "</object>"
        for name, (x1, y1, x2, y2) in objects
    )
    return (
        f"<annotation><folder>VOC</folder><filename>{file}</filename><size><width>40</width></size>{items}</annotation>"
    )


def write_voc(root: Path, lists: bool = True) -> Path:
    """JPEGImages/, Annotations/ and, with the split, ImageSets/Main/."""
    names = draw_all(root / "JPEGImages", 16)
    (root / "Annotations").mkdir()
    for name in names:
        text = voc_annotation(f"{name}.jpg", [(class_of(name), (5, 7, 24, 26))])
        (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    if lists:
        main = root / "ImageSets" / "Main"
        main.mkdir(parents=True)
        (main / "trainval.txt").write_text("\n".join(names[:12]) + "\n", encoding="utf-8")
        (main / "test.txt").write_text("\n".join(names[12:]) + "\n", encoding="utf-8")
    return root


def write_cvat(root: Path, tags: bool = False) -> Path:
    """images/ and annotations.xml of CVAT for images 1.1, with boxes or with tags."""
    names = draw_all(root / "images")
    said = {
        name: f'<tag label="{class_of(name)}" source="manual"></tag>'
        if tags
        else f'<box label="{class_of(name)}" occluded="0" xtl="4.0" ytl="6.0" xbr="24.0" ybr="26.0" z_order="0"></box>'
        for name in names
    }
    images = "".join(
        f'<image id="{number}" name="{name}.jpg" width="40" height="30">{said[name]}</image>'
        for number, name in enumerate(names)
    )
    text = f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta/>{images}</annotations>'
    (root / "annotations.xml").write_text(text, encoding="utf-8")
    return root


def write_cvat_video(root: Path, video: str = "kitchen", first: int = 0) -> Path:
    """images/frame_000000.PNG, ... and annotations.xml of CVAT for video 1.1: a cup in even frames, a plate in odd ones."""
    tracks = []
    for track, label in enumerate(CLASSES):
        shapes = []
        for number in range(12):
            if track == 0:
                draw(root / "images" / f"frame_{number:06d}.PNG", number % 2, first + number)
            outside = int(number % 2 != track)
            box = '<box frame="{}" keyframe="1" outside="{}" occluded="0" xtl="4.0" ytl="6.0" xbr="24.0" ybr="26.0" z_order="0"></box>'
            shapes.append(box.format(number, outside))
        tracks.append(f'<track id="{track}" label="{label}" source="manual">{"".join(shapes)}</track>')
    meta = f"<meta><task><name>{video}</name><mode>interpolation</mode></task></meta>"
    text = f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{meta}{"".join(tracks)}</annotations>'
    (root / "annotations.xml").write_text(text, encoding="utf-8")
    return root


def labelme_shape(label: str, points: Sequence[Sequence[float]], kind: str = "rectangle") -> dict[str, Any]:
    """A shape of labelme."""
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def labelme_document(name: str, shapes: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """The content of labelme's file of an image."""
    document: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": name,
        "imageData": None,
    }
    return {**document, "imageHeight": SIZE[1], "imageWidth": SIZE[0], **more}


def write_labelme(root: Path, flags: bool = False) -> Path:
    """images/ with a JSON file beside each image, with a rectangle or with flags."""
    corners = [BOX[:2], BOX[2:]]
    for name in draw_all(root / "images"):
        shapes = [] if flags else [labelme_shape(class_of(name), corners)]
        said = {kind: kind == class_of(name) for kind in CLASSES} if flags else {}
        document = labelme_document(f"{name}.jpg", shapes, flags=said)
        (root / "images" / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def label_studio_task(name: str, results: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A task of the JSON export, of an uploaded image."""
    return {
        "id": 1,
        "data": {"image": f"/data/upload/3/0a1b2c3d-{name}"},
        "annotations": [{"result": list(results)}],
        **more,
    }


def choice(*labels: str) -> dict[str, Any]:
    """A result that labels the whole image."""
    return {"type": "choices", "value": {"choices": list(labels)}}


def rectangle(label: str) -> dict[str, Any]:
    """A result with ``BOX``, in per cent."""
    value = {"x": 10.0, "y": 20.0, "width": 50.0, "height": 20 / 30 * 100, "rectanglelabels": [label]}
    return {"type": "rectanglelabels", "original_width": 40, "original_height": 30, "value": value}


def write_label_studio(root: Path, boxes: bool = False) -> Path:
    """images/ and an export in JSON."""
    names = draw_all(root / "images")
    tasks = [label_studio_task(f"{n}.jpg", [rectangle(class_of(n)) if boxes else choice(class_of(n))]) for n in names]
    (root / "project-1-at-2026.json").write_text(json.dumps(tasks), encoding="utf-8")
    return root


def write_cub(root: Path, whole: bool = True) -> Path:
    """CUB-200 with two classes; 8 training and 4 test images."""
    images, splits, labels, boxes = [], [], [], []
    number = 0
    for kind, folder in enumerate(("001.Gull", "002.Wren")):
        for item in range(6):
            number += 1
            draw(root / "images" / folder / f"{folder[4:]}_{item}.jpg", kind, number)
            images.append(f"{number} {folder}/{folder[4:]}_{item}.jpg")
            splits.append(f"{number} {int(item < 4)}")
            labels.append(f"{number} {kind + 1}")
            boxes.append(f"{number} 4.0 6.0 20.0 20.0")
    files = {"images": images, "train_test_split": splits}
    if whole:
        files |= {"image_class_labels": labels, "bounding_boxes": boxes, "classes": ["1 001.Gull", "2 002.Wren"]}
    for name, lines in files.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def write_food(root: Path) -> Path:
    """Food-101 with two classes; 8 training and 4 test images."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for kind, name in enumerate(("apple_pie", "waffles")):
        for item in range(6):
            draw(root / "images" / name / f"{1000 + item}.jpg", kind, item)
            lists["train" if item < 4 else "test"].append(f"{name}/{1000 + item}")
    (root / "meta").mkdir()
    for split, lines in lists.items():
        (root / "meta" / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "meta" / "classes.txt").write_text("apple_pie\nwaffles\n", encoding="utf-8")
    return root


def write_pets(root: Path) -> Path:
    """Oxford-IIIT Pet with two breeds; 8 training and 4 test images."""
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for kind, breed in enumerate(("Abyssinian", "american_bulldog")):
        for item in range(1, 7):
            draw(root / "images" / f"{breed}_{item}.jpg", kind, item)
            lists["trainval" if item < 5 else "test"].append(f"{breed}_{item} {kind + 1} {kind + 1} 1")
    (root / "annotations").mkdir()
    for name, lines in lists.items():
        (root / "annotations" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    head = "#Image CLASS-ID SPECIES BREED ID\n"
    (root / "annotations" / "list.txt").write_text(
        head + "\n".join([*lists["trainval"], *lists["test"]]), encoding="utf-8"
    )
    return root


def write_flowers(root: Path) -> Path:
    """Flowers-102 with two classes; 6 training, 2 validation and 4 test images."""
    for number in range(1, 13):
        draw(root / "jpg" / f"image_{number:05d}.jpg", number % 2, number)
    savemat(
        root / "imagelabels.mat", {"labels": np.array([[1 + number % 2 for number in range(1, 13)]], dtype=np.uint8)}
    )
    parts = {"trnid": np.arange(1, 7), "valid": np.arange(7, 9), "tstid": np.arange(9, 13)}
    savemat(root / "setid.mat", {name: numbers[None].astype(np.uint16) for name, numbers in parts.items()})
    return root


def write_tiny_imagenet(root: Path) -> Path:
    """Tiny ImageNet with two classes; 8 training and 4 labelled validation images, and a test set without labels."""
    lines = []
    for kind, synset in enumerate(("n01443537", "n01629819")):
        for item in range(4):
            draw(root / "train" / synset / "images" / f"{synset}_{item}.JPEG", kind, item)
        (root / "train" / synset / f"{synset}_boxes.txt").write_text("x.JPEG\t0\t0\t1\t1\n", encoding="utf-8")
        for item in range(2):
            name = f"val_{2 * kind + item}.JPEG"
            draw(root / "val" / "images" / name, kind, 10 + item)
            lines.append(f"{name}\t{synset}\t0\t32\t44\t62")
    draw(root / "test" / "images" / "test_0.JPEG", 0, 99)
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "wnids.txt").write_text("n01443537\nn01629819\n", encoding="utf-8")
    (root / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\nn01629819\tsalamander\n", encoding="utf-8")
    return root


def write_aircraft(root: Path) -> Path:
    """FGVC-Aircraft with two variants; 4 training, 4 validation and 4 test images."""
    for place, split in enumerate(("train", "val", "test")):
        lines = []
        for item in range(4):
            name = f"{1000 + 4 * place + item:07d}"
            draw(root / "images" / f"{name}.jpg", item % 2, 4 * place + item)
            lines.append(f"{name} {('707-320', 'Gulfstream IV')[item % 2]}")
        (root / f"images_variant_{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def write_all(folder: Path) -> None:
    """The folders that docs/data.md speaks of."""
    write_kaggle(folder / "leaves")
    (folder / "leaves" / "names.json").write_text('{"cup": "healthy", "plate": "rust"}', encoding="utf-8")
    write_cvat(folder / "scans")
    write_coco(folder / "street", per_image=2, mixed=True)
    for number in range(12):
        draw(folder / "named" / f"{CLASSES[number % 2]}_{number:04d}.jpg", number % 2, number)
    write_cub(folder / "birds")
    write_labelme(folder / "shapes")
    for video in ("monday", "tuesday"):
        write_cvat_video(folder / "videos" / video, video, first=12 * (video == "tuesday"))
