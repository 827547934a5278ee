"""Plugins that are each wrong in one way: what of a good one is replaced, and which check has to say so."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple


class Wrong(NamedTuple):
    """What is replaced by what, the check that must fail, and words of its message."""

    changes: dict[str, str]
    check: str
    said: str


_SCORES = "        return scores\n"
_HEAD = "    def advance("
_LANES = "    lanes, steps = 1, 64"

PREDICTORS: dict[str, Wrong] = {
    "nondeterministic": Wrong(
        {_SCORES: "        return scores + np.float32(np.random.default_rng().random())\n"},
        "again_and_elsewhere",
        "time",
    ),
    "by-process": Wrong(
        {_SCORES: "        import os\n        scores[..., 7] += os.getpid() % 8191\n" + _SCORES},
        "again_and_elsewhere",
        "another process",
    ),
    "by-lane-count": Wrong(
        {_SCORES: "        scores[..., 5] += len(scores)\n" + _SCORES, _LANES: "    lanes, steps = 4, 64"},
        "promise",
        "lanes gave other scores",
    ),
    "by-environment": Wrong(
        {"    def session(": "    def environment(self):\n        return {'moon': 'full'}\n\n    def session("},
        "promise",
        "names an environment",
    ),
    "by-neighbours": Wrong(
        {_SCORES: "        scores[..., 5] += symbols.sum() % 1021\n" + _SCORES, _LANES: "    lanes, steps = 4, 1"},
        "neighbours",
        "neighbours",
    ),
    "by-steps": Wrong(
        {_SCORES: "        scores[..., 5] += symbols.shape[1]\n" + _SCORES},
        "prefill",
        "steps at once gave other scores",
    ),
    "by-threads": Wrong(
        {
            "        refuse_unknown": "        global THREADS\n        THREADS = threads\n        refuse_unknown",
            _SCORES: "        scores[..., 5] += THREADS\n" + _SCORES,
        },
        "threads",
        "2 threads gave other scores",
    ),
    "lossy": Wrong({"np.frombuffer(text,": "np.frombuffer(text.lower(),"}, "tokenizer", "join to"),
    "no-such-symbol": Wrong({"astype(np.int32)\n\n": "astype(np.int32) + 1\n\n"}, "tokenizer", "join to"),
    "nan": Wrong({_SCORES: "        scores[..., 3] = np.nan\n" + _SCORES}, "overhead", "not finite"),
    "infinite": Wrong({_SCORES: "        scores[..., 3] = np.inf\n" + _SCORES}, "contents_come_back", "not finite"),
    "shape": Wrong({_SCORES: "        return scores[..., :200]\n"}, "large_content", "scores of shape"),
    "dtype": Wrong({_SCORES: "        return scores.astype(np.float64)\n"}, "again_and_elsewhere", "not float32"),
    "hanging": Wrong({_SCORES: "        __import__('time').sleep(999)\n"}, "contents_come_back", "did not come back"),
    "raising": Wrong({_SCORES: "        raise OSError('no juice')\n"}, "contents_come_back", "no juice"),
    "leftovers": Wrong(
        {
            "        self.counts: ": "        self.counts = KEPT\n        self.unused: ",
            "class Lanes(": "KEPT = [{} for _ in range(64)]\n\n\nclass Lanes(",
        },
        "interrupted_sessions",
        "left",
    ),
    "any-setting": Wrong({"        refuse_unknown(self.name, params, ())\n": ""}, "settings", "does not have"),
    "forgetful": Wrong({"MappingProxyType({})": "MappingProxyType({'depth': 7})"}, "settings", "depth"),
    "words": Wrong({"bytes([byte]) for byte": "chr(byte) for byte"}, "registration", "not bytes or None"),
    "no-first": Wrong({_LANES: _LANES + "\n    first = 256"}, "vocabulary", "first is 256"),
    "no-lanes": Wrong({_LANES: "    lanes, steps = 0, 64"}, "vocabulary", "lanes is 0"),
    "no-model": Wrong({"        return ModelOf": "        return None and ModelOf"}, "registration", "PredictorModel"),
    "future": Wrong(
        {"    def open(": "    def decodes(self, version):\n        return True\n\n    def open("},
        "registration",
        "to come",
    ),
    "two-minds": Wrong(
        {
            _SCORES: "        self.steps = getattr(self, 'steps', 0) + symbols.shape[1]\n"
            "        scores[..., 5] += symbols.shape[1] * (self.steps > 1500)\n" + _SCORES
        },
        "large_content",
        "content of 2000 bytes did not come back",
    ),
    "once-sharper": Wrong(
        {
            "        return Lanes(lanes)": "        global SHARPER\n        SHARPER += 1\n        return Lanes(lanes)",
            "class Lanes(": "SHARPER = 0\n\n\nclass Lanes(",
            _SCORES: "        scores *= 3 if SHARPER < 2 else 1\n" + _SCORES,
        },
        "overhead",
        "for a log loss of",
    ),
    "opens-otherwise": Wrong(
        {
            "    def open(": "    def reopen(self, path, settings, threads):\n        global OTHER\n        OTHER = 9\n"
            "        return self.open(path, settings, threads)\n\n    def open(",
            "class Lanes(": "OTHER = 0\n\n\nclass Lanes(",
            _SCORES: "        scores[..., 101] += OTHER\n" + _SCORES,
        },
        "archive",
        "exit code 11",
    ),
    "old-lost": Wrong(
        {
            '"@NAME@", 1, Promise': '"@NAME@", 2, Promise',
            "    def open(": "    def at(self, version):\n        return None\n\n    def open(",
        },
        "registration",
        "NoneType",
    ),
    "needs-a-file": Wrong({"Promise.PORTABLE, False": "Promise.PORTABLE, True"}, "vocabulary", "needs a model"),
}

_CODEC = """
import zlib

from lmarc.backends.contract import CodecBackend, Promise, hookimpl


class Codec(CodecBackend):
    name, version, promise = "@NAME@", 1, Promise.PORTABLE

    def compress(self, data, params):
        return zlib.compress(bytes(data))

    def decompress(self, payload, size, params):
        stream = zlib.decompressobj()
        data = stream.decompress(payload, size + 1)
        if len(data) != size or not stream.eof:
            raise ValueError("a stream of another length")
        return data


@hookimpl
def lmarc_backend():
    return Codec()
"""
_COMPRESS, _RETURN = "        return zlib.compress(bytes(data))\n", "        return data\n"
#: Forgets what it was told by whoever called in between.
_SHARED = """        import time
        self.it = zlib.compress(bytes(data))
        time.sleep(0.001)
        return self.it
"""
_DEF = "    def compress("

CODECS: dict[str, Wrong] = {
    "codec-lossy": Wrong(
        {_COMPRESS: _COMPRESS.replace("bytes(data)", "bytes(data).lower()")}, "contents_come_back", "something else"
    ),
    "codec-random": Wrong(
        {
            _COMPRESS: "        import os\n        return zlib.compress(bytes(data)) + os.urandom(2)\n",
            "decompress(payload, ": "decompress(payload[:-2], ",
        },
        "again_and_elsewhere",
        "the second time",
    ),
    "codec-bytearray": Wrong({_RETURN: "        return bytearray(data)\n"}, "contents_come_back", "bytearray"),
    "codec-longer": Wrong({"len(data) != size or ": ""}, "damaged_payloads", "gave"),
    "codec-matching": Wrong({"PORTABLE": "MATCHING"}, "registration", "must promise PORTABLE"),
    "codec-bound": Wrong(
        {_DEF: "    def memory_bound(self, size, params):\n        return -size\n\n" + _DEF}, "memory_bound", "fall"
    ),
    "codec-shared": Wrong(
        {_DEF: "    def memory_shared(self, params):\n        return 1 << 60\n\n" + _DEF},
        "memory_bound",
        "memory_shared",
    ),
    "codec-large": Wrong(
        {_RETURN: "        return data[:-1] + b'?' if size > 1900 else data\n"}, "large_content", "something else"
    ),
    "codec-fails": Wrong(
        {_COMPRESS: "        if len(data) > 1900:\n            raise OSError('too much')\n" + _COMPRESS},
        "archive",
        "too much",
    ),
    "codec-threads": Wrong({_COMPRESS: _SHARED}, "many_threads", "another length"),
}


def source(name: str) -> str:
    """The plugin of that name; "good" and "good-codec" are as they should be."""
    if "codec" in name:
        text, wrong = _CODEC, CODECS.get(name)
    else:
        text = files("lmarc.testing").joinpath("template", "backend.py.txt").read_text("utf-8")
        wrong = PREDICTORS.get(name)
    text = text.replace("@CLASS@Model", "ModelOf").replace("@CLASS@", "Backend")
    for old, new in (wrong.changes if wrong else {}).items():
        assert old in text, f"{name}: {old!r}"
        text = text.replace(old, new, 1)
    return text.replace("@NAME@", name)
