"""All campaigns, by name."""

from __future__ import annotations

from tests.campaigns.campaign import Campaign


def campaigns() -> dict[str, type[Campaign]]:
    """In the order of docs/guarantees.md."""
    kinds: list[type[Campaign]] = []
    return {kind.name: kind for kind in kinds}
