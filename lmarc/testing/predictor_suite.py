"""Checks for predictor backends."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from blake3 import blake3

from lmarc.backends import predicted
from lmarc.backends.contract import PredictorBackend, PredictorModel, Promise
from lmarc.backends.predicted import PredictorCodec
from lmarc.errors import DamagedError, LmarcError
from lmarc.testing.contents import CONTENTS, PROSE, large
from lmarc.testing.suite import Suite, check, speeds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmarc.models.identity import ModelFile

_DIGEST = """
import sys
from lmarc.testing.predictor_suite import PredictorSuite
facts = {"backend": sys.argv[1], "model": sys.argv[2] or None, "params": eval(sys.argv[3], {})}
sys.stdout.write(type("Suite", (PredictorSuite,), facts)().digest())
"""
#: Steps and lanes that checks of shapes look at, at most.
_STEPS, _LANES = 24, 4
#: What an archive to check with holds: of these no predictor makes the random one smaller.
_ARCHIVED = ("prose", "empty", "random", "invalid UTF-8", "Chinese")
#: Lanes are worth it from so few symbols on, where checks look at lanes.
_FEW_SYMBOLS = 100
#: What coding may cost beyond the model's own log loss: a part of it, and bytes for each lane.
_OVERHEAD, _OVERHEAD_BYTES = 0.0005, 16
_ABSURD: tuple[Any, ...] = (-1, 0, 1 << 31, (1 << 63) - 1, "", "nonsense", b"", None, [], 0.5, True)
_UNSET = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "LLAMA_CACHE", "LMARC_MODEL_PATH")


class PredictorSuite(Suite):
    """For a backend that predicts. `model` is the file or folder to open, where the backend needs one."""

    model: ClassVar[str | os.PathLike[str] | None] = None

    # What checks are made of.

    def model_file(self) -> ModelFile:
        """The model, with its hash and what belongs to it."""
        from lmarc.models import find, identity

        backend = self.loaded(PredictorBackend)
        path = self.model if self.model is not None else backend.own_model(self.params)
        if path is not None:
            return find.resolve(os.fspath(path))
        self.expect(not backend.needs_model, "it needs a model: set `model`, or let own_model() name one")
        return identity.NO_MODEL

    @contextlib.contextmanager
    def opened(self, *, threads: int = 1, mixing: bool = True) -> Iterator[PredictorCodec]:
        """The model, open to pack with."""
        backend = self.loaded(PredictorBackend)
        model = backend.open(self.model_file().path, self.params, threads)
        yield from self._codec(backend, model, mixing)

    @contextlib.contextmanager
    def reopened(self, settings: Mapping[str, Any], *, threads: int = 1) -> Iterator[PredictorCodec]:
        """The model, open to unpack with, by what a header has of its settings."""
        from lmarc.container import wire

        backend = self.loaded(PredictorBackend)
        read = wire.parse_msgpack(wire.pack_msgpack({key: settings[key] for key in sorted(settings)}))
        model = predicted.reopen(backend, self.model_file().path, read, threads)
        yield from self._codec(backend, model, True)

    def _codec(self, backend: PredictorBackend, model: Any, mixing: bool) -> Iterator[PredictorCodec]:
        self.expect(isinstance(model, PredictorModel), f"it opens a {type(model).__name__}, not a PredictorModel")
        codec = PredictorCodec(backend, model, mixing=mixing)
        try:
            yield codec
        finally:
            codec.close()

    def spelled(self, codec: PredictorCodec, data: bytes = PROSE) -> npt.NDArray[np.int32]:
        """int32[]: the symbols of a text as a model is shown them."""
        import numpy as np

        from lmarc.coding import spelling
        from lmarc.coding.vocabulary import Vocabulary

        vocabulary = Vocabulary(codec.model.vocabulary)
        symbols = vocabulary.sorted.symbols[spelling.spell(data, vocabulary, codec.model.tokenize)]
        return np.where(symbols < 0, np.int32(codec.model.first), symbols).astype(np.int32)

    def shown(self, codec: PredictorCodec, lanes: int, steps: int = _STEPS) -> npt.NDArray[np.int32]:
        """int32[lanes, steps]: something else for every lane, each beginning as lanes do."""
        import numpy as np

        symbols = self.spelled(codec)
        rows = [np.resize(np.roll(symbols, -3 * lane), steps) for lane in range(lanes)]
        table = np.stack(rows).astype(np.int32)
        table[:, 0] = codec.model.first
        return table

    def scores(self, codec: PredictorCodec, table: npt.NDArray[np.int32], at_once: int = 1) -> npt.NDArray[np.int32]:
        """int32[lanes, steps, vocabulary]: the bits of the scores of what these lanes are shown, so many at once."""
        import numpy as np

        session = codec.model.session(len(table))
        out = []
        try:
            for at in range(0, table.shape[1], at_once):
                shown = np.ascontiguousarray(table[:, at : at + at_once])
                scores = session.advance(shown)
                wanted = (*shown.shape, len(codec.model.vocabulary))
                self.expect(isinstance(scores, np.ndarray), f"advance() gave a {type(scores).__name__}, not an array")
                self.expect(scores.dtype == np.float32, f"advance() gave {scores.dtype}, not float32")
                self.expect(scores.shape == wanted, f"advance() gave the shape {scores.shape}, not {wanted}")
                usable = scores[..., [bool(piece) for piece in codec.model.vocabulary]]
                self.expect(bool(np.isfinite(usable).all()), "advance() gave scores that are not finite numbers")
                out.append(scores.copy().view(np.int32))
        finally:
            session.close()
        return np.concatenate(out, axis=1)

    def lanes_of(self, codec: PredictorCodec) -> int:
        """How many lanes checks look at."""
        return min(codec.model.lanes, _LANES)

    def digest(self) -> str:
        """A hash of scores in one lane and in several."""
        hasher = blake3()
        with self.opened() as codec:
            for lanes in sorted({1, self.lanes_of(codec)}):
                hasher.update(self.scores(codec, self.shown(codec, lanes)).tobytes())
        return hasher.hexdigest()

    def payload_of(self, codec: PredictorCodec, data: bytes) -> bytes:
        """The payload of a content, in as many lanes as it can be. Not for several threads at once."""
        usual = predicted._LEAST_SYMBOLS
        predicted._LEAST_SYMBOLS = _FEW_SYMBOLS
        try:
            return codec.compress(data, {})
        finally:
            predicted._LEAST_SYMBOLS = usual

    def expect_back(self, codec: PredictorCodec, payload: bytes, data: bytes, what: str) -> None:
        """The payload decodes to what it was made of."""
        reason = ""
        try:
            back = codec.decompress(memoryview(payload), len(data), {})
        except DamagedError as error:
            back, reason = b"", f": {error}"
        self.expect(back == data, f"{what} did not come back as it was{reason}")

    # The checks.

    @check
    def test_registration(self) -> None:
        """It is registered, can run here, and declares a name, a version and a promise."""
        backend = self.loaded(PredictorBackend)
        self.expect_versions(backend)
        with self.opened() as codec:
            self.found(version=backend.version, promise=codec.promise)

    @check
    def test_vocabulary(self) -> None:
        """Every symbol has its bytes or none, and the numbers a model states are sound."""
        with self.opened() as codec:
            model = codec.model
            count = len(model.vocabulary)
            wrong = [piece for piece in model.vocabulary if piece is not None and type(piece) is not bytes]
            self.expect(not wrong, f"vocabulary has {wrong[:1]}: every symbol is bytes, or None")
            self.expect(0 <= model.first < count, f"first is {model.first}, not one of {count} symbols")
            for name in ("lanes", "steps", "canary_steps"):
                value = getattr(model, name)
                self.expect(type(value) is int and value >= 1, f"{name} is {value!r}, not an integer of at least 1")
            alone = {piece for piece in model.vocabulary if piece and len(piece) == 1}
            self.found(
                vocabulary=f"{count} symbols, {len(alone)} of 256 bytes among them",
                lanes=model.lanes,
                steps=model.steps,
            )

    @check
    def test_tokenizer(self) -> None:
        """The bytes of a text's symbols, joined, are the text."""
        with self.opened() as codec:
            for name, data in CONTENTS.items():
                try:
                    data.decode()
                except UnicodeDecodeError:
                    continue
                symbols = [int(symbol) for symbol in codec.model.tokenize(data)]
                count = len(codec.model.vocabulary)
                self.expect(
                    all(0 <= symbol < count for symbol in symbols),
                    f"tokenize() gave symbols that there are none of: {name!r}",
                )
                joined = b"".join(codec.model.vocabulary[symbol] or b"" for symbol in symbols)
                if joined != data:
                    # The core then spells it itself, and what the model has learned is worth less.
                    self.expect(
                        not self.tokenizer_is_whole,
                        f"the symbols of {name!r} join to {joined[:40]!r}, not {data[:40]!r}",
                    )

    #: False for a tokenizer that is known not to keep some texts, such as those that turn letters small.
    tokenizer_is_whole: ClassVar[bool] = True

    @check
    def test_contents_come_back(self) -> None:
        """Every content comes back, decoded by a model that was opened by its settings."""
        with self.opened() as codec:
            payloads = {name: self.payload_of(codec, data) for name, data in CONTENTS.items() if data}
            settings = dict(codec.model.settings)
        with self.reopened(settings) as codec:
            for name, payload in payloads.items():
                self.expect_back(codec, payload, CONTENTS[name], repr(name))

    @check
    def test_large_content(self) -> None:
        """So does a large one; what it becomes and how fast is told."""
        from lmarc.coding import codec as cm

        data = large(self.large)
        with self.opened() as codec:
            start = time.monotonic()
            payload = codec.compress(data, {})
            middle = time.monotonic()
            self.expect_back(codec, payload, data, f"content of {len(data)} bytes")
            end = time.monotonic()
        self.found(
            large_content=f"{len(data)} bytes became {len(payload)}; {len(cm.encode(data, 2))} by cm alone",
            speed=speeds(len(data), start, middle, end),
        )

    @check
    def test_again_and_elsewhere(self) -> None:
        """The same symbols give the same scores, again and in another process."""
        first = self.digest()
        self.expect(
            self.digest() == first, "the same symbols gave other scores the second time: it is not deterministic"
        )
        model = "" if self.model is None else self.model_file().path
        command = [sys.executable, "-c", _DIGEST, self.backend, model, repr(dict(self.params))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.expect(done.returncode == 0, f"it failed in another process: {done.stderr.strip()[-300:]}")
        self.expect(
            done.stdout == first, "the same symbols gave other scores in another process: it is not deterministic"
        )

    @check
    def test_threads(self) -> None:
        """The scores do not depend on how many threads it may use."""
        with self.opened() as codec:
            table = self.shown(codec, self.lanes_of(codec))
            wanted, settings = self.scores(codec, table), dict(codec.model.settings)
        with self.reopened(settings, threads=2) as codec:
            same = (self.scores(codec, table) == wanted).all()
        self.expect(bool(same), "2 threads gave other scores than 1: what an archive needs must be in its settings")

    @check
    def test_neighbours(self) -> None:
        """A lane's scores do not depend on what is in the others."""
        with self.opened() as codec:
            lanes = self.lanes_of(codec)
            table = self.shown(codec, lanes)
            wanted = self.scores(codec, table)[0]
            table[1:] = table[1:, ::-1]
            same = (self.scores(codec, table)[0] == wanted).all()
        self.expect(
            bool(same) or lanes == 1 or self.lanes_learn_together, "a lane's scores depend on its neighbours' content"
        )

    #: True for a model whose lanes learn from each other, which nothing decodes but the same lanes together.
    lanes_learn_together: ClassVar[bool] = False

    @check
    def test_prefill(self) -> None:
        """Several steps at once give the scores of single ones."""
        with self.opened() as codec:
            table = self.shown(codec, self.lanes_of(codec))
            wanted = self.scores(codec, table)
            for at_once in sorted({min(codec.model.steps, size) for size in (2, 5, _STEPS)}):
                same = (self.scores(codec, table, at_once) == wanted).all()
                self.expect(
                    bool(same),
                    f"{at_once} steps at once gave other scores than single ones: say `steps = 1`, or mend it",
                )

    @check
    def test_promise(self) -> None:
        """What promises to be portable gives the same scores in any number of lanes."""
        with self.opened() as codec:
            if codec.promise != Promise.PORTABLE:
                self.found(portable="not promised: archives hold the environment and a canary")
                return
            lanes = min(codec.model.lanes, 2 * _LANES)
            table = self.shown(codec, lanes)
            wanted = self.scores(codec, table)
            for count in range(1, lanes):
                same = (self.scores(codec, table[:count]) == wanted[:count]).all()
                self.expect(bool(same), f"it promises to be portable, but {count} lanes gave other scores than {lanes}")
            self.expect(not codec.model.environment(), "it promises to be portable, but names an environment")

    @check
    def test_interrupted_sessions(self) -> None:
        """A session that was left leaves nothing behind."""
        with self.opened() as codec:
            lanes = self.lanes_of(codec)
            table = self.shown(codec, lanes)
            wanted = self.scores(codec, table)
            left = codec.model.session(lanes)
            left.advance(table[:, ::-1][:, :1].copy())
            self.expect(
                bool((self.scores(codec, table) == wanted).all()), "a session left before decides scores of the next"
            )
            payload = codec.compress(PROSE, {})

            def interrupt(done: int) -> None:
                raise LmarcError("interrupted")

            codec.watch = interrupt
            with contextlib.suppress(LmarcError):
                codec.compress(PROSE, {})
            codec.watch = None
            self.expect(
                codec.compress(PROSE, {}) == payload, "after an interrupted group, the next was coded otherwise"
            )

    @check
    def test_overhead(self) -> None:
        """Without context models, coding costs what the model's log loss is."""
        import numpy as np

        with self.opened(mixing=False) as codec:
            size = len(codec.compress(PROSE, {}))
            symbols = self.spelled(codec)
            table = np.concatenate(([codec.model.first], symbols[:-1])).astype(np.int32)[np.newaxis]
            scores = self.scores(codec, table).view(np.float32)[0].astype(np.float64)
            usable = np.array([symbol for symbol, piece in enumerate(codec.model.vocabulary) if piece])
            tops = scores[:, usable].max(axis=1)
            totals = tops + np.log(np.exp(scores[:, usable] - tops[:, np.newaxis]).sum(axis=1))
            loss = float((totals - scores[np.arange(len(symbols)), symbols]).sum() / np.log(2) / 8)
            spelled = b"".join(codec.model.vocabulary[symbol] or b"" for symbol in symbols) == PROSE
        if spelled:
            most = loss * (1 + _OVERHEAD) + _OVERHEAD_BYTES
            self.expect(size <= most, f"{size} bytes for a log loss of {loss:.1f}: more than {most:.1f}")
            self.found(overhead=f"{size} bytes coded, a log loss of {loss:.1f}")

    @check
    def test_settings(self) -> None:
        """Settings reopen the model as it was; those that mean nothing are refused."""
        backend = self.loaded(PredictorBackend)
        path = self.model_file().path
        with self.opened() as codec:
            settings, canary = dict(codec.model.settings), codec.canary()
        fit = all(type(key) is str and type(value) in (int, str) for key, value in settings.items())
        self.expect(fit, f"settings are {settings}: they must be integers and strings by name")
        with self.reopened(settings) as codec:
            self.expect(dict(codec.model.settings) == settings, "reopened by its settings, it has others")
            self.expect(codec.canary() == canary, "reopened by its settings, it gives other scores")
        wishes = {**self.params, "no such setting": 1}
        attempts: list[tuple[Callable[..., PredictorModel], Mapping[str, Any]]] = [(backend.open, wishes)]
        for key in settings:
            others = [{**settings, key: value} for value in _ABSURD if settings[key] != value]
            missing = {other: value for other, value in settings.items() if other != key}
            attempts += [(partial(predicted.reopen, backend), wrong) for wrong in (*others, missing)]
        for attempt, wrong in attempts:
            try:
                attempt(path, wrong, 1).close()
            except (LmarcError, ValueError):
                continue
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                self.expect(False, f"settings {_difference(settings, wrong)} raised {what}, not UnsupportedError")
            self.expect(wrong is not wishes, "open() took a setting that it does not have: raise UnsupportedError")

    # Archives, by the program in a process of its own.

    def archive(self, folder: Path) -> Path:
        """An archive of some contents, coded by the model wherever it makes them smaller."""
        from lmarc.archive.observer import Observer
        from lmarc.archive.pack import Packer
        from lmarc.archive.presets import GROUP_SIZE, Preset

        backend = self.loaded(PredictorBackend)
        size = backend.group_size(self.params) or GROUP_SIZE
        preset = Preset(self.backend, size, self.params, self.model_file(), is_alone=True)
        sink = io.BytesIO()
        packer = Packer(sink, preset, jobs=1, observer=Observer())
        for name in _ARCHIVED:
            packer.pack_bytes(name.encode(), CONTENTS[name])
        chunks = packer.finish().chunks
        self.expect(self.backend in chunks, f"it made nothing smaller: all was coded by {', '.join(chunks)}")
        path = folder / "contents.lmarc"
        path.write_bytes(sink.getvalue())
        return path

    def unpack(self, archive: Path, target: Path, model: str | os.PathLike[str] | None) -> tuple[int, str]:
        """Exit code and messages of `lmarc unpack`, where no model is but this."""
        home = archive.parent / "home"
        env = {key: value for key, value in os.environ.items() if key not in _UNSET}
        env |= dict.fromkeys(("HOME", "HF_HOME", "OLLAMA_MODELS", "XDG_DATA_HOME", "XDG_CACHE_HOME"), str(home))
        command = [sys.executable, "-m", "lmarc", "unpack", "-q", "-C", os.fspath(target), os.fspath(archive)]
        command += ["--model", os.fspath(model)] if model is not None else []
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        self.expect("Traceback" not in done.stderr, f"unpacking ended with a traceback: {done.stderr.strip()[-300:]}")
        return done.returncode, done.stderr.strip()

    def expect_unpacked(self, target: Path) -> None:
        """Everything is as it was."""
        back = {path.name: path.read_bytes() for path in target.iterdir()} if target.exists() else {}
        wrong = sorted(name for name in _ARCHIVED if back.get(name) != CONTENTS[name])
        self.expect(not wrong, f"an archive gave back something else: {', '.join(wrong)}")

    def expect_nothing_wrong(self, target: Path) -> None:
        """Whatever was unpacked is as it was, and what the model coded was not."""
        self.expect(not (target / "prose").exists(), "what only the right model decodes was unpacked without it")
        for path in target.iterdir() if target.exists() else ():
            self.expect(path.read_bytes() == CONTENTS.get(path.name), f"{path.name!r} was unpacked as something else")

    @check
    def test_archive(self) -> None:
        """An archive is unpacked by another process; without the right model or environment it is refused."""
        with tempfile.TemporaryDirectory(prefix="lmarc-") as name:
            folder = Path(name)
            archive = self.archive(folder)
            model = self.model_file()
            path = model.path or None
            code, said = self.unpack(archive, folder / "out", path)
            self.expect(code == 0, f"unpacking its archive ended with exit code {code}: {said}")
            self.expect_unpacked(folder / "out")
            if self.model is not None:
                other = _other_model(model, folder)
                code, said = self.unpack(archive, folder / "other", other)
                self.expect(code == 13, f"unpacking with another model ended with exit code {code}, not 13: {said}")
                self.expect_nothing_wrong(folder / "other")
            for number, changed in enumerate(self._changed(archive.read_bytes())):
                archive.write_bytes(changed)
                code, said = self.unpack(archive, folder / f"{number}", path)
                self.expect(code == 14, f"a canary that differs ended with exit code {code}, not 14: {said}")
                self.expect_nothing_wrong(folder / f"{number}")

    def _changed(self, archive: bytes) -> Iterator[bytes]:
        """The archive with another canary, where it has one."""
        from lmarc.container.header import read_header

        header, start = read_header(io.BytesIO(archive))
        for number, ref in enumerate(header.backends):
            if ref.name == self.backend and ref.promise == Promise.MATCHING:
                canary = bytes(byte ^ 1 for byte in ref.properties["canary"])
                refs = list(header.backends)
                refs[number] = replace(ref, properties={**ref.properties, "canary": canary})
                yield replace(header, backends=tuple(refs)).to_bytes() + archive[start:]


def _difference(settings: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in other.items() if settings.get(key) != value)


def _other_model(model: ModelFile, folder: Path) -> Path:
    """A copy with one bit changed, in the weights."""
    other = folder / "other model"
    other.mkdir()
    path = Path(model.path)
    for name in (path.name, *model.beside):
        shutil.copyfile(path.parent / name, other / name)
    changed = other / path.name
    with open(changed, "r+b") as file:
        file.seek(-max(changed.stat().st_size // 8, 1), os.SEEK_END)
        at = file.tell()
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    return changed
