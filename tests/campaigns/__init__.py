"""Campaigns: what lmarc promises about damage, kills and hostile files, tried many times.

Each has a short version in the default suite and a full one: ``python -m pytest -m slow tests/campaigns``.
Every one prints a line of figures.
"""
