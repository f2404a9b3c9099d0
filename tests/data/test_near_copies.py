"""Near copies against a comparison pair by pair, and what is kept of the search."""

from pathlib import Path

import numpy as np
import pytest

from lightning_vision.data import near_copies as module
from lightning_vision.data.near_copies import MOST_BITS, MOST_DIFFERENCE, Nearest, Side, near_copies, nearest


def side(count: int, flips: int, noise: float, seed: int) -> Side:
    """Hashes a few bits from one another, and grey thumbnails with noise."""
    draw = np.random.default_rng(seed)
    hashes = np.full(count, 0xA5A5_0F0F_3C3C_9999, dtype=np.uint64)
    for _ in range(flips):
        hashes ^= np.uint64(1) << draw.integers(0, 64, count).astype(np.uint64)
    return hashes, np.clip(120 + draw.normal(0, noise, (count, 8, 8, 3)), 0, 255).astype(np.uint8)


def one_by_one(images: Side, others: Side) -> list[tuple[int, int]]:
    """Bits and place of the nearest, (65, -1) where there is none."""
    found = []
    for hashed, thumbnail in zip(*images, strict=True):
        best = (65, -1)
        for place, (other, seen) in enumerate(zip(*others, strict=True)):
            bits = int(hashed ^ other).bit_count()
            if bits <= MOST_BITS and np.abs(thumbnail.astype(float) - seen.astype(float)).mean() <= MOST_DIFFERENCE:
                best = min(best, (bits, place))
        found.append(best)
    return found


@pytest.mark.parametrize(("flips", "noise"), [(1, 4.0), (3, 7.0), (4, 7.1), (6, 7.2)])
def test_as_a_comparison_of_all_pairs(flips: int, noise: float) -> None:
    earlier, later = side(150, flips, noise, seed=0), side(140, flips, noise, seed=1)
    found, expected = near_copies(earlier, later), one_by_one(later, earlier)
    assert found.later.place.tolist() == [place for _, place in expected]
    assert [int(bits) for bits in found.later.bits] == [bits if place >= 0 else 0 for bits, place in expected]
    assert found.shared.tolist() == [place >= 0 for _, place in one_by_one(earlier, later)]
    assert found.shared.mean() > 0 and (noise < 7.2 or found.shared.mean() < 1)


def test_an_empty_side_has_none() -> None:
    full, empty = side(5, 0, 1.0, seed=0), side(0, 0, 1.0, seed=0)
    assert nearest(full, empty).place.tolist() == [-1] * 5
    assert nearest(empty, full).place.tolist() == []


def test_the_result_is_kept_until_an_image_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 0)
    earlier, later = side(20, 1, 3.0, seed=0), side(20, 1, 3.0, seed=1)
    first = near_copies(earlier, later, tmp_path)
    searches = []

    def counted(images: Side, others: Side) -> Nearest:
        searches.append(len(images[0]))
        return nearest(images, others)

    monkeypatch.setattr(module, "nearest", counted)
    again = near_copies(earlier, later, tmp_path)
    assert searches == [] and again.later.place.tolist() == first.later.place.tolist()
    changed = later[1].copy()
    changed[0] = 0
    assert near_copies(earlier, (later[0], changed), tmp_path).later.place[0] == -1
    assert len(searches) == 2, "each side against the other"
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(b"not an archive")
    assert near_copies(earlier, later, tmp_path).shared.tolist() == first.shared.tolist()
