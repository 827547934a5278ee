"""Campaigns: what lmarc promises about damage, kills, failing disks and hostile files, tried many times.

Each has a short version in the default suite; the full ones run by ``python -m tests.campaigns NAME``.
"""
