import pytest

from lightning_vision.errors import ConfigError
from lightning_vision.tracking.country import carbon_intensity, check_country


@pytest.mark.parametrize(("country", "code"), [("FRA", "FRA"), ("fra", "FRA"), ("Germany", "DEU"), (" usa ", "USA")])
def test_known_countries(country: str, code: str) -> None:
    assert check_country(country) == code


@pytest.mark.parametrize(
    ("country", "near"),
    [
        ("Frnce", r"FRA \(France\)"),
        ("DE", r"Similar: DEU \(Germany\)"),
        ("UK", r"GBR \(United Kingdom\)"),
        ("Holland", r"Similar: NLD \(Netherlands\)"),
        ("Korea", r"KOR \(South Korea\)"),
        ("", r"there is none.*FRA \(France\)"),
        (None, r"there is none.*FRA \(France\)"),
        ("?!", r"3-letter ISO code.*Similar: FRA \(France\)"),
    ],
)
def test_unknown_countries_name_near_ones(country: str | None, near: str) -> None:
    with pytest.raises(ConfigError, match=near):
        check_country(country)


def test_carbon_intensity_is_the_countrys_own() -> None:
    assert carbon_intensity("FRA") == pytest.approx(56.039)
    assert carbon_intensity("POL") > 5 * carbon_intensity("FRA")
