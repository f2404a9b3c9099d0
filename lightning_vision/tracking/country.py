"""The country whose electricity a run uses, as CodeCarbon knows it."""

from difflib import get_close_matches

from lightning_vision.errors import ConfigError


def check_country(country: str | None) -> str:
    """The 3-letter ISO code of a country, without starting a tracker.

    CodeCarbon itself takes the world's average for a country that it does not know, in silence; the factors of two
    countries differ up to 120-fold.

    Args:
        country: A 3-letter ISO code or an English name, in any case.

    Raises:
        ConfigError: The country is missing or not in CodeCarbon's data; the nearest ones are listed.
    """
    names = _country_names()
    wanted = (country or "").strip()
    for code, name in names.items():
        if wanted.casefold() in (code.casefold(), name.casefold()):
            return code
    found = f"{country!r} is not one of them" if wanted else "there is none"
    near = ", ".join(f"{code} ({names[code]})" for code in _near_countries(wanted, names))
    raise ConfigError(
        "Expected a country for the carbon intensity of electricity: a 3-letter ISO code or an English name, one of "
        f"the {len(names)} that CodeCarbon has data for; {found}. Near: {near}. Or turn the "
        "measurement of energy off: --energy.enabled false."
    )


def carbon_intensity(code: str) -> float:
    """Grams of CO2-equivalent for a kWh of a country's electricity.

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
    if not wanted:
        return ["FRA", "DEU", "GBR", "USA", "CHN", "IND"]
    import pycountry  # comes with CodeCarbon; knows the 2-letter codes

    spellings = {name.casefold(): code for code, name in names.items()} | {code.casefold(): code for code in names}
    near = [spellings[text] for text in get_close_matches(wanted.casefold(), spellings, n=5, cutoff=0.5)]
    two_letters = pycountry.countries.get(alpha_2=wanted.upper())
    if two_letters is not None and two_letters.alpha_3 in names:
        near.insert(0, two_letters.alpha_3)
    near = [code for code, name in names.items() if "".join(word[0] for word in name.split()) == wanted.upper()] + near
    near += [code for code, name in names.items() if wanted.casefold() in name.casefold()]
    return list(dict.fromkeys(near))[:6] or ["FRA", "DEU", "GBR", "USA"]
