"""Words that belong to no option come first, whatever options they stand between."""

import argparse

import pytest

from lightning_vision.program.word_order import images_first


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a.jpg b.jpg", "a.jpg b.jpg"),
        ("--ckpt_path RUN a.jpg", "a.jpg --ckpt_path RUN"),
        ("a.jpg --ckpt_path=RUN b.jpg", "a.jpg b.jpg --ckpt_path=RUN"),
        ("a.jpg -c F b.jpg --trust_run c.jpg", "a.jpg b.jpg c.jpg -c F --trust_run"),
        ("--trust_run false a.jpg --trust_run YES b.jpg", "a.jpg b.jpg --trust_run false --trust_run YES"),
        ("--data.of_a_class 3 a.jpg --number -1 b.jpg", "a.jpg b.jpg --data.of_a_class 3 --number -1"),
        ("--here a.jpg", "a.jpg --here"),
        ("--ckpt_path --trust_run a.jpg", "a.jpg --ckpt_path --trust_run"),
    ],
)
def test_order(words: str, expected: str) -> None:
    parser = argparse.ArgumentParser()
    actions = [
        parser.add_argument("--ckpt_path"),
        parser.add_argument("--config", "-c"),
        parser.add_argument("--number", type=int),
        parser.add_argument("--trust_run", nargs="?"),
        parser.add_argument("--here", action="store_true"),
    ]
    options = {name: action for action in actions for name in action.option_strings}
    assert images_first(words.split(), options) == expected.split()
