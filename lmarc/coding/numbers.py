"""Numbers in the heads of payloads: seven bits a byte, the lowest first, the top bit set in all but the last."""

from __future__ import annotations


def number(value: int) -> bytes:
    """The bytes of a number that is not negative."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def read_number(head: bytes, at: int, most_bytes: int) -> tuple[int, int]:
    """The number at a place in a head, and the place behind it. Raises ValueError."""
    value = 0
    for shift in range(0, 7 * most_bytes, 7):
        if at >= len(head):
            raise ValueError("the head of the payload is cut")
        byte = head[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number in the head of the payload is too long")
