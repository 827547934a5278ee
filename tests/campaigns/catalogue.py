"""All campaigns, by name."""

from __future__ import annotations

from tests.campaigns.campaign import Campaign
from tests.campaigns.corruptions import Corruption
from tests.campaigns.damage import Flips, Truncations
from tests.campaigns.escape import Escape


def campaigns() -> dict[str, type[Campaign]]:
    """In the order of docs/guarantees.md."""
    kinds: list[type[Campaign]] = [Flips, Truncations, Corruption, Escape]
    return {kind.name: kind for kind in kinds}
