"""Nothing damaged is read as results.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_results import NAN, made

from lightning_vision.errors import CheckpointError
from lightning_vision.results.schema import read_results


def spoilt(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(made().model_dump_json(by_alias=True))
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (spoilt(lambda c: None)[:400], r"truncated or damaged.*--ckpt_path last"),
        ("", r"truncated or damaged"),
        (spoilt(lambda c: c.update(forgetting=NAN)), r"NaN is not JSON"),
        ("[1, 2]", r"a field `schema` from 1 to 2.*found None"),
        ("{}", r"a field `schema` from 1 to 2.*found None"),
        (spoilt(lambda c: c.update(schema="1")), r"found '1'"),
        (spoilt(lambda c: c.update(schema=True)), r"found True"),
        (spoilt(lambda c: c.update(schema=3, further=[])), r"found schema 3: a newer.*Update lightning_vision"),
        (spoilt(lambda c: c.pop("test")), r"(?s)1 problem.*test: Field required"),
        (spoilt(lambda c: c["run"].update(seed="3")), r"(?s)run\.seed: Input should be a valid integer, found '3'"),
        (spoilt(lambda c: c["test_accuracy"].append("high")), r"(?s)test_accuracy\.1: .*valid number, found 'high'"),
        (spoilt(lambda c: c["energy"].update(mode="guessed")), r"(?s)energy\.mode: .*'measured' or 'estimated'"),
        (spoilt(lambda c: c.update(class_names=list(range(40)))), r"(?s)40 problem.*and 30 more"),
    ],
)
def test_damaged_file(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=match) as caught:
        read_results(path)
    assert str(path) in str(caught.value)


def test_missing_and_binary_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No such file or directory.*folder of a run"):
        read_results(tmp_path / "results.json")
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_results(tmp_path / "results.json")
