"""The two sizes of the model: how many of everything. All these counts are part of the format."""

from __future__ import annotations

from dataclasses import dataclass

from lmarc.coding import contexts, match
from lmarc.coding.contexts import CLASSES

_SITUATIONS = 2 * match.BUCKETS + 1
_LANES = 16


@dataclass(frozen=True)
class Level:
    """What a level consists of. `sets` are the numbers of weight vectors in each set of the mixer.

    A context's knowledge is asked while one in `patience` of its guesses is right.

    The sets are chosen by: the bits of the byte so far; what the match model expects and how many contexts are known;
    classes of the last two bytes and bit position; and at level 2 how many orders are known, the last byte or sample
    position, and what `special.selector` says.
    """

    number: int
    contexts: int
    special: bool
    sets: tuple[int, ...]
    most_slot_bits: int
    patience: int

    @property
    def match_inputs(self) -> int:
        """Place of the first input of the match model, behind one for each context."""
        return self.contexts

    @property
    def order0_input(self) -> int:
        """Place of the order-0 input."""
        return self.contexts + 2 * match.MATCHES

    @property
    def second_inputs(self) -> int:
        """Place of the first of the contexts' second inputs."""
        return self.order0_input + 1

    @property
    def inputs(self) -> int:
        """Number of inputs, rounded up to whole vectors; the rest stay 0."""
        return -(-(self.second_inputs + self.contexts) // _LANES) * _LANES

    @property
    def state_fields(self) -> int:
        """Length of the state of the contexts."""
        return contexts.ALL_FIELDS if self.special else contexts.BASIC_FIELDS

    @property
    def final_rows(self) -> int:
        """Weight vectors of the second layer."""
        return _SITUATIONS


_BASIC_SETS = (256, _SITUATIONS * 8, CLASSES * CLASSES * 8)

BALANCED = Level(1, contexts.BASIC, False, _BASIC_SETS, 24, 8)
BEST = Level(2, contexts.ALL, True, (*_BASIC_SETS, 4 * 36 * 8, 4 * 256, 4 * 256), 26, 32)
LEVELS = {1: BALANCED, 2: BEST}
