"""Owners of members: names for numbers when packing, numbers for names when restoring."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from functools import lru_cache

from lmarc.container.index import Owner


@lru_cache(maxsize=1024)
def owner_of(uid: int, gid: int) -> Owner:
    """The owner as it goes into the index. 0 is the same owner everywhere and gets no name."""
    return Owner(uid, gid, _name(lambda: pwd.getpwuid(uid).pw_name, uid), _name(lambda: grp.getgrgid(gid).gr_name, gid))


@lru_cache(maxsize=1024)
def number_of(owner: Owner) -> tuple[int, int]:
    """The uid and gid here: by name where this machine knows it, otherwise the number."""
    return (
        _number(lambda: pwd.getpwnam(os.fsdecode(owner.uname)).pw_uid, owner.uname, owner.uid),
        _number(lambda: grp.getgrnam(os.fsdecode(owner.gname)).gr_gid, owner.gname, owner.gid),
    )


def _name(look_up: Callable[[], str], number: int) -> bytes:
    if number == 0:
        return b""
    try:
        return os.fsencode(look_up())
    except KeyError:
        return b""


def _number(look_up: Callable[[], int], name: bytes, number: int) -> int:
    if not name:
        return number
    try:
        return look_up()
    except (KeyError, ValueError):
        return number
