"""Encrypted archives: an archive inside an age file (age-encryption.org/v1), which `age -d` decrypts too."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from lmarc.container.writer import Sink
from lmarc.errors import BackendMissingError, DamagedError, LimitError, UsageError, WrongKeyError

MAGIC = b"age-encryption.org/v1\n"
#: With a passphrase, what is in it goes through memory as a whole.
MOST_WITH_PASSPHRASE = 2 << 30
_SCRYPT = b"-> scrypt "
_HEAD = 256
_PIPE_BLOCK = 1 << 20
_MOST_KEY = 1 << 16


@dataclass(frozen=True)
class Lock:
    """For whom an archive is encrypted: age recipients (age1..., ssh-ed25519 ..., ssh-rsa ...), or a passphrase."""

    recipients: Sequence[str] = ()
    passphrase: str = ""


@dataclass(frozen=True)
class Keys:
    """What an archive may be decrypted with: age identities or SSH keys as their files hold them, and a passphrase."""

    identities: Sequence[bytes] = ()
    passphrase: str = ""
    #: Asked for a passphrase where one is needed and none is given.
    ask: Callable[[], str] | None = None


def _age() -> Any:
    try:
        import pyrage
    except ImportError:
        raise BackendMissingError("encrypted archives need pyrage: pip install 'lmarc[encrypt]'") from None
    return pyrage


def is_encrypted(file: BinaryIO) -> bool:
    """Whether a seekable file begins as an age file."""
    file.seek(0)
    return file.read(len(MAGIC)) == MAGIC


def keys_from(paths: Sequence[str], ask: Callable[[], str] | None) -> Keys:
    """Keys from files: of identities, or else of one line, a passphrase. Raises UsageError, OSError."""
    identities, passphrase = [], ""
    for path in paths:
        with open(path, "rb") as file:
            data = file.read(_MOST_KEY)
        if b"AGE-SECRET-KEY-" in data or b"PRIVATE KEY-----" in data:
            identities.append(data)
            continue
        passphrase = data.decode("utf-8", "replace").rstrip("\r\n")
        if "\ufffd" in passphrase:
            raise UsageError(f"{path} is no key: it is not UTF-8")
        if not passphrase or "\n" in passphrase:
            raise UsageError(f"{path} is no key: neither an age identity, an SSH key, nor one line with a passphrase")
    return Keys(identities, passphrase, ask)


class Encrypting:
    """A context manager and sink: what is written comes encrypted to another. Nothing plain touches a disk."""

    def __init__(self, sink: Sink, lock: Lock) -> None:
        self._age = _age()
        _expect_text(lock.passphrase)
        self._sink, self._lock = sink, lock
        self._recipients = [_recipient(self._age, text) for text in lock.recipients]
        self._plain = io.BytesIO()
        self._failed: list[BaseException] = []

    def __enter__(self) -> Encrypting:
        if self._recipients:
            source, self._into = os.pipe()
            self._thread = threading.Thread(target=self._encrypt, args=(source,), name="lmarc-encrypt")
            self._thread.start()
        return self

    def _encrypt(self, source: int) -> None:
        with os.fdopen(source, "rb", buffering=_PIPE_BLOCK) as reader:
            try:
                self._age.encrypt_io(reader, _Writer(self._sink), self._recipients)
            except BaseException as error:
                self._failed.append(error)
                # Whoever writes must not wait for a reader that is gone.
                while reader.read(_PIPE_BLOCK):
                    pass

    def write(self, data: bytes) -> None:
        """Write all of data."""
        if self._failed:
            raise self._failed[0]
        if not self._recipients:
            if self._plain.tell() + len(data) > MOST_WITH_PASSPHRASE:
                raise LimitError(
                    f"with a passphrase, an archive has at most {MOST_WITH_PASSPHRASE} bytes: give a --recipient"
                )
            self._plain.write(data)
            return
        view = memoryview(data)
        while view:
            view = view[os.write(self._into, view) :]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        if self._recipients:
            os.close(self._into)
            self._thread.join()
            if kind is None and self._failed:
                raise self._failed[0]
        elif kind is None:
            self._sink.write(self._age.passphrase.encrypt(self._plain.getvalue(), self._lock.passphrase))


class _Writer:
    """What pyrage writes to."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _expect_text(text: str) -> None:
    """Raise UsageError for what is no Unicode text, as names and variables may be."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError("a passphrase or recipient is not UTF-8")


def _recipient(age: Any, text: str) -> Any:
    _expect_text(text)
    kind = age.ssh.Recipient if text.startswith("ssh-") else age.x25519.Recipient
    try:
        return kind.from_str(text)
    except age.RecipientError as error:
        raise UsageError(f"{text!r:.60} is no age recipient: {error}") from None


def decrypted(file: BinaryIO, keys: Keys) -> BinaryIO:
    """The archive in an age file, in a temporary file without a name. Raises WrongKeyError, DamagedError."""
    age = _age()
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    out = tempfile.TemporaryFile(prefix="lmarc-")
    try:
        if head[len(MAGIC) :].startswith(_SCRYPT):
            out.write(_by_passphrase(age, file, keys))
        else:
            identities = [each for data in keys.identities for each in _identities(age, data)]
            if not identities:
                raise WrongKeyError("it is encrypted for an age recipient: give the identity with --key FILE")
            age.decrypt_io(file, out, identities)
        out.seek(0)
        return out
    except BaseException as error:
        out.close()
        if isinstance(error, age.DecryptError):
            # It does not tell a wrong passphrase from a changed head.
            is_wrong = any(word in str(error).lower() for word in ("key", "decryption failed"))
            if is_wrong:
                raise WrongKeyError(f"no key that was given decrypts it: {error}") from None
            raise DamagedError(f"it cannot be decrypted: {error}") from None
        if isinstance(error, OSError) and error.errno is None:
            raise DamagedError(f"it cannot be decrypted: {error}") from None
        raise


def _by_passphrase(age: Any, file: BinaryIO, keys: Keys) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > 2 * MOST_WITH_PASSPHRASE:
        raise LimitError(f"an archive of {size} bytes behind a passphrase, which goes through memory as a whole")
    passphrase = keys.passphrase or (keys.ask() if keys.ask is not None else "")
    if not passphrase:
        raise WrongKeyError("it is encrypted with a passphrase: give it with --key FILE or LMARC_PASSPHRASE")
    _expect_text(passphrase)
    plain: bytes = age.passphrase.decrypt(file.read(), passphrase)
    return plain


def _identities(age: Any, data: bytes) -> list[Any]:
    try:
        if b"PRIVATE KEY-----" in data:
            return [age.ssh.Identity.from_buffer(data)]
        lines = (line.strip() for line in data.decode("ascii", "replace").splitlines())
        return [age.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except age.IdentityError as error:
        raise UsageError(f"a key file holds no identity that can be used: {error}") from None
