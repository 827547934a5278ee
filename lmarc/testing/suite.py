"""What both suites have in common: checks with a time limit, whose failures name the plugin, and their figures."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from lmarc.backends import registry
from lmarc.backends.contract import Backend

S = TypeVar("S", bound="Suite")


class CheckError(AssertionError):
    """A backend does not keep what the contract asks for; names the plugin and its version, and what is expected."""


class HangError(CheckError):
    """A check did not come back."""


class Suite:
    """Subclass a suite in a module of tests, name the class Test..., and set `backend`; pytest does the rest.

    Each test is a check: it fails with CheckError, in one line that says what is wrong and what is expected.
    """

    #: The backend's name, under which it is installed.
    backend: ClassVar[str]
    #: What to pack with, as --set gives it.
    params: ClassVar[Mapping[str, Any]] = {}
    #: Seconds after which a check has hung.
    patience: ClassVar[float] = 600.0
    #: How many bytes the large content has; less for what is slow.
    large: ClassVar[int] = 1 << 20
    #: What checks found out, by name: figures for the certificate.
    figures: ClassVar[dict[str, str]]

    def __init_subclass__(cls) -> None:
        cls.figures = {}

    @classmethod
    def checks(cls) -> dict[str, str]:
        """The names of all checks in order, and what each looks at."""
        names = [name for kind in reversed(cls.__mro__) for name in vars(kind) if name.startswith("test_")]
        found = {name: getattr(cls, name) for name in dict.fromkeys(names)}
        return {name: _first_line(method.__doc__) for name, method in found.items() if method is not None}

    def label(self) -> str:
        """The plugin, for messages."""
        offer = registry.found().get(self.backend)
        return f"backend {self.backend!r}" + (f" of {offer.label}" if offer else "")

    def loaded(self, kind: type[Any]) -> Any:
        """The backend, which is of that kind. Raises CheckError."""
        backend: Backend = registry.able(self.backend)
        self.expect(isinstance(backend, kind), f"it is a {type(backend).__name__}, not a {kind.__name__}")
        return backend

    def expect_versions(self, backend: Backend) -> None:
        """It decodes its own version, and none to come."""
        version = backend.version
        self.expect(backend.decodes(version), f"decodes({version}), its own version, must be true")
        self.expect(not backend.decodes(version + 1), f"decodes({version + 1}), a version to come, must be false")
        for older in range(1, version):
            if backend.decodes(older):
                # Raises where at() gives none.
                registry.able(self.backend, older)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Raise CheckError unless that holds."""
        if not holds:
            raise CheckError(f"{self.label()}: {otherwise}")

    def found(self, **figures: object) -> None:
        """Keep a figure for the certificate."""
        type(self).figures |= {name.replace("_", " "): str(value) for name, value in figures.items()}


def check(function: Callable[[S], None]) -> Callable[[S], None]:
    """A check: in time, and with failures that name the plugin."""

    @functools.wraps(function)
    def checked(self: S) -> None:
        failed: list[BaseException] = []

        def run() -> None:
            try:
                function(self)
            except BaseException as error:
                failed.append(error)

        # What hangs cannot be stopped, but does not keep the process from ending.
        thread = threading.Thread(target=run, daemon=True, name=f"check {function.__name__}")
        thread.start()
        thread.join(self.patience)
        if thread.is_alive():
            raise HangError(f"{self.label()}: it did not come back within {self.patience:g} s")
        if failed:
            if isinstance(failed[0], CheckError):
                raise failed[0]
            raise CheckError(f"{self.label()}: {type(failed[0]).__name__}: {failed[0]}") from failed[0]

    return checked


def speeds(size: int, start: float, middle: float, end: float) -> str:
    """Of packing so many bytes until `middle`, and unpacking them until `end`, in seconds."""
    packing, unpacking = (size / max(seconds, 1e-9) / 1000 for seconds in (middle - start, end - middle))
    return f"{packing:.1f} kB/s packing, {unpacking:.1f} unpacking"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
