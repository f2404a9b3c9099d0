"""YAML as plain values: a key that stands twice is an error, where PyYAML keeps the last value in silence."""

import pytest
import yaml

from lightning_vision.storage.plain_yaml import with_keys_once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "'a' in line 1 and again in line 3"),
        ("model:\n  lr: 1\n  lr: 2", "'lr' in line 2 and again in line 3"),
        ("steps: [{x: 1}, {x: 1, x: 2}]", "'x' in line 1 and again in line 1"),
        ("- [1]\n- {a: {b: 1}, c: [2], a: 0}", "'a' in line 2"),
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str, words: str) -> None:
    with pytest.raises(yaml.YAMLError, match=words):
        with_keys_once(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 2}]\nx: x",
        "a: &same {x: 1}\nb: *same\nc: {<<: *same, <<: {y: 1}}",
        "? [1, 2]\n: 3\n? [1, 2, 3]\n: 4",
    ],
)
def test_other_texts_are_returned(text: str) -> None:
    assert with_keys_once(text) == text
