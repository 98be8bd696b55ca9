"""Which people are held out: by identity, spread over outfits, the same whatever machine decides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

HELD_OUT_SHARE = 0.1


def held_out_people(outfits: Mapping[str, tuple[str, ...]], share: float = HELD_OUT_SHARE) -> frozenset[str]:
    """`share` of the people, rounded, of `outfits` (person -> garments).

    People are sorted by outfit, those of one outfit by a hash of their name, and every so manieth of that row is taken,
    so that each kind of outfit gives its share.
    """
    row = sorted(outfits, key=lambda person: (sorted(outfits[person]), hashlib.sha256(person.encode()).digest()))
    count = round(share * len(row))
    return frozenset(row[int((k + 0.5) * len(row) / count)] for k in range(count))
