"""All campaigns, by name."""

from __future__ import annotations

from tests.campaigns.campaign import Campaign
from tests.campaigns.changes import Changes
from tests.campaigns.corruptions import Corruption
from tests.campaigns.damage import Flips, Truncations
from tests.campaigns.escape import Escape
from tests.campaigns.faults import Faults
from tests.campaigns.fuzz import Fuzz
from tests.campaigns.hostile import Bombs, Hostile, Payloads
from tests.campaigns.kills import Kills


def campaigns() -> dict[str, type[Campaign]]:
    """In the order of docs/guarantees.md."""
    damage: list[type[Campaign]] = [Flips, Truncations, Corruption, Payloads]
    crashes: list[type[Campaign]] = [Kills, Faults, Changes]
    hostile: list[type[Campaign]] = [Hostile, Bombs, Fuzz, Escape]
    return {kind.name: kind for kind in (*damage, *crashes, *hostile)}
