"""The country whose electricity mix a run uses, as in CodeCarbon's data."""

from contextlib import suppress

from lightning_vision.errors import ConfigError
from lightning_vision.terminal.wording import near


def check_country(country: str | None) -> str:
    """The 3-letter ISO code of a country, without starting a tracker.

    CodeCarbon silently uses the world's average for an unknown country, and the factors of two countries differ up to
    120-fold.

    Args:
        country: A 3-letter ISO code or an English name, in any case.

    Raises:
        ConfigError: The country is missing or not in CodeCarbon's data. The message names similar ones.
    """
    names = _country_names()
    wanted = (country or "").strip()
    for code, name in names.items():
        if wanted.casefold() in (code.casefold(), name.casefold()):
            return code
    found = f"{country!r} is not one of them" if wanted else "there is none"
    similar = ", ".join(f"{code} ({names[code]})" for code in _near_countries(wanted, names))
    raise ConfigError(
        "Expected a country for the carbon intensity of electricity: a 3-letter ISO code or an English name, one of "
        f"the {len(names)} that CodeCarbon has data for; {found}. Similar: {similar}. To disable the measurement of energy, "
        "use --energy.enabled false."
    )


def carbon_intensity(code: str) -> float:
    """Grams of CO2 equivalent per kWh of a country's electricity.

    Args:
        code: As `check_country` returns it.
    """
    from codecarbon.core.emissions import Emissions
    from codecarbon.core.units import Energy
    from codecarbon.external.geography import GeoMetadata
    from codecarbon.input import DataSource

    source = DataSource()  # type: ignore[no-untyped-call]
    return 1000 * Emissions(source).get_country_emissions(Energy.from_energy(1.0), GeoMetadata(country_iso_code=code))


def _country_names() -> dict[str, str]:
    from codecarbon.input import DataSource  # CodeCarbon takes a while to load, and not every run measures energy

    mixes = DataSource().get_global_energy_mix_data()  # type: ignore[no-untyped-call]
    return {str(code): str(mix["country_name"]) for code, mix in mixes.items()}


def _near_countries(wanted: str, names: dict[str, str]) -> list[str]:
    """Codes of similar countries: pycountry's fuzzy search knows other names and 2-letter codes, ``near`` misspellings."""
    import pycountry  # comes with CodeCarbon, and is needed for an error only

    found: list[str] = []
    if wanted:
        with suppress(LookupError):
            found += [country.alpha_3 for country in pycountry.countries.search_fuzzy(wanted)]
        spellings = {name: code for code, name in names.items()} | {code: code for code in names}
        found += [spellings[text] for text in near(wanted, spellings)]
    return [code for code in dict.fromkeys(found) if code in names][:6] or ["FRA", "DEU", "GBR", "USA", "CHN", "IND"]
