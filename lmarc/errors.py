"""Every error lmarc raises on purpose. The message says what and why; the class carries the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class LmarcError(Exception):
    """Something went wrong that lmarc can name. Base of all errors below."""

    exit_code = 1


class UsageError(LmarcError):
    """The request itself makes no sense."""

    exit_code = 2


class TargetExistsError(LmarcError):
    """Something already stands where output should go, and overwriting was not asked for."""


class MemberNotFoundError(LmarcError, KeyError):
    """No member of that name in the archive."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class NotAnArchiveError(LmarcError):
    """The file does not begin like an lmarc archive."""

    exit_code = 10


class DamagedError(LmarcError):
    """The bytes are not those that were written."""

    exit_code = 11


class LostContentError(DamagedError):
    """A file's content is lost, all of it or some: `lost` has the byte ranges (begin, end) that are."""

    def __init__(self, message: str, lost: tuple[tuple[int, int], ...]) -> None:
        super().__init__(message)
        self.lost = lost


class WrongKeyError(LmarcError):
    """An encrypted archive, and no key, or none that decrypts it."""

    exit_code = 12


class BackendMissingError(LmarcError):
    """A backend or model that the data needs is not there or cannot run here."""

    exit_code = 13


class EnvironmentMismatchError(LmarcError):
    """A matching backend's environment is not the one that wrote the archive."""

    exit_code = 14


class UnsupportedError(LmarcError):
    """A format version or required feature this lmarc does not know."""

    exit_code = 15


class UnsafeMemberError(LmarcError):
    """A member whose name would leave the target directory or go through a link."""

    exit_code = 16


class LimitError(LmarcError):
    """A length beyond what this reader accepts."""

    exit_code = 17


class MemberLimitError(LimitError):
    """An archive of more members than the reader accepts."""


class IncompleteError(LmarcError):
    """Some members could not be extracted; the others were. `result` is the ExtractResult, `failed` in it has them.

    The exit code is the one that unpack would end with.
    """

    def __init__(self, message: str, result: Any, exit_code: int) -> None:
        super().__init__(message)
        self.result = result
        self.exit_code = exit_code


class BackendError(LmarcError):
    """A backend failed while coding."""


#: Which of several failures gives the exit code; others count as plain failure.
_PRECEDENCE = (11, 16, 13, 14, 15, 17)


def exit_code(errors: Iterable[Exception]) -> int:
    """The exit code for what went wrong; 0 if nothing did."""
    codes = {error.exit_code if isinstance(error, LmarcError) else LmarcError.exit_code for error in errors}
    return next((code for code in _PRECEDENCE if code in codes), min(codes, default=0))


#: Exit code of an operation that skipped some of its sources and did the rest.
EXIT_SKIPPED = 3
#: Exit code after an interrupt.
EXIT_INTERRUPTED = 130
