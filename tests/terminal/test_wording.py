"""How texts and numbers are written."""

from lightning_vision.terminal.wording import figure, printable


def test_printable() -> None:
    assert printable("Größe 猫 'x' \\") == "Größe 猫 'x' \\"
    assert printable("a\x00b\udc80\u2067c\tx") == r"a\x00b\udc80\u2067c\tx"
    assert printable(3) == "3"


def test_figure() -> None:
    assert [figure(value) for value in (0, 12.0, 0.33333, 1234.5, 98.76543)] == ["0", "12", "0.3333", "1,234", "98.77"]
