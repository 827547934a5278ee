"""Well known texts that others measure compressors with, by phrases of theirs and by how their files are called."""

from __future__ import annotations

import re
from typing import NamedTuple

from training.corpus import Document

MIN_PHRASES = 2

# In lower case, with single spaces: this is how `marked` looks for them.
PHRASES: dict[str, tuple[str, ...]] = {
    "Alice in Wonderland": (
        "alice was beginning to get very tired of sitting by her sister",
        "curiouser and curiouser!",
        "why is a raven like a writing-desk",
        "the queen of hearts, she made some tarts",
        "oh my ears and whiskers",
        "off with her head!",
    ),
    "As You Like It": (
        "all the world's a stage",
        "under the greenwood tree",
        "sweet are the uses of adversity",
        "blow, blow, thou winter wind",
        "as i remember, adam, it was upon this fashion",
    ),
    "Paradise Lost": (
        "of man's first disobedience",
        "better to reign in hell than serve in heaven",
        "hail, holy light, offspring of heaven",
        "with wandering steps and slow",
        "no light; but rather darkness visible",
        "high on a throne of royal state",
    ),
    "lcet10 (workshop on electronic texts)": (
        "workshop on electronic texts",
        "during the question-and-answer period that followed",
        "library of congress, american memory",
    ),
    "Dickens": (
        "whether i shall turn out to be the hero of my own life",
        "it was the best of times, it was the worst of times",
        "marley was dead: to begin with",
        "my father's family name being pirrip",
        "please, sir, i want some more",
        "barkis is willin'",
        "now, what i want is, facts",
        "fog up the river, where it flows among green aits",
        "the first ray of light which illumines the gloom",
        "thirty years ago, marseilles lay burning in the sun",
        "dombey sat in the corner of the darkened room",
        "in these times of ours, though concerning the exact year",
        "there once lived, in a sequestered part of the county of devonshire",
        "an ancient english cathedral tower? how can the ancient english",
        "annual income twenty pounds, annual expenditure nineteen",
        "it is a far, far better thing that i do",
        "mr. pickwick observed",
        "sam weller",
        "mr. micawber",
        "mr. pecksniff",
        "mrs. gamp",
        "uriah heep",
        "mr. wemmick",
        "miss havisham",
        "the artful dodger",
    ),
    "Hongloumeng": (
        "贾宝玉",
        "林黛玉",
        "王熙凤",
        "贾母",
        "賈寶玉",
        "凤姐儿",
        "袭人",
    ),
    "Far from the Madding Crowd (Calgary book1)": (
        "when farmer oak smiled, the corners of his mouth spread",
        "bathsheba",
        "sergeant troy",
        "gabriel oak",
        "weatherbury",
    ),
    "book2 (Calgary)": ("principles of computer speech", "speech synthesis by rule", "linear predictive coding"),
    "paper1, paper2 (Calgary)": (
        "arithmetic coding is superior in most respects to the better-known huffman method",
        "the state of the art in data compression is arithmetic coding",
    ),
    "King James Bible (Canterbury bible.txt)": (
        "in the beginning god created the heaven and the earth",
        "and the earth was without form, and void",
        "the lord is my shepherd; i shall not want",
        "in the beginning was the word, and the word was with god",
        "vanity of vanities, saith the preacher",
        "for god so loved the world, that he gave his only begotten son",
        "these are the generations of the heavens and of the earth",
        "and he shall rule them with a rod of iron",
    ),
    "World Factbook (Canterbury world192.txt)": (
        "comparative area: slightly",
        "natural resources: ",
        "exclusive economic zone: 200 nm",
        "defense expenditures: exchange rate conversion",
    ),
    "Webster 1913 (Silesia webster)": ("[1913 webster]", "[written also", "<hw>", "syn. -- "),
    "Chłopi (Silesia reymont)": ("niech będzie pochwalony jezus", "boryna", "lipce", "jagustynka"),
    "Wikipedia export (enwik)": (
        "<sitename>wikipedia</sitename>",
        "<base>http://en.wikipedia.org/wiki/main_page</base>",
        "{{cite encyclopedia",
        "[[category:",
        "anarchism originated as a term of abuse",
    ),
    "loghub": (
        "combo sshd(pam_unix)[",
        "labsz sshd[",
        "calvisitor-10-105-160-",
        "nova-api.log.1.2017-05-16",
        "nova-compute.log.1.2017-05-16",
        "jk2_init() found child",
        "dfs.datanode$packetresponder: packetresponder",
        "dfs.fsnamesystem: block* namesystem.addstoredblock",
        "proxy.cse.cuhk.edu.hk:5070",
        "queuesenderworker@",
        "tbird-admin1",
        "ras kernel info",
        "step_standreportreceiver",
        "loaded servicing stack v6.1.7601",
        "msra-sa-41",
        "hpc node-246",
        "unix.hw state_change.unavailable",
        "powermanagerservice: acquire lock=",
    ),
    "citm_catalog.json": ('"areanames"', '"audiencesubcategorynames"'),
    "tc39 meeting notes": ("tc39 meeting", "this problem statement is basically the core of this proposal"),
    "This Week in Rust": ("this week in rust", "crate of the week", "call for participation"),
    "zstd sources": ("zstd_countleadingzeros32_fallback", "zstd_compressblock_", "fse_buildctable_wksp"),
    "restic sources": ("github.com/restic/restic/internal/restic",),
    "datasette sources": ("from datasette.utils import", "datasette.utils.asgi"),
    "samba sources": ("samba unix smb/cifs implementation", "unix smb/netbios implementation"),
}

# Words that many other texts have too: only together do they say which text it is.
COMMON_WORDS: dict[str, int] = {
    "Dickens": 5,
    "Far from the Madding Crowd (Calgary book1)": 3,
    "World Factbook (Canterbury world192.txt)": 3,
    "Chłopi (Silesia reymont)": 3,
    "Wikipedia export (enwik)": 3,
    "Hongloumeng": 3,
    "This Week in Rust": 3,
}

NAMES = re.compile(
    r"alice29|asyoulik|plrabn12|lcet10|honglou|红楼梦|紅樓夢|dickens(?![a-z])|reymont|enwik[0-9]|silesia|calgary|loghub"
    r"|canterbury[-_. ]?corpus|world192|_2k\.log|kennedy\.xls|ptt5|far.from.the.madding|paradise.lost|citm_catalog",
    re.IGNORECASE,
)

_PHRASES = {title: [phrase.encode() for phrase in phrases] for title, phrases in PHRASES.items()}


class Marked(NamedTuple):
    """A document that has phrases of a well known text, or a name like one's."""

    document: str
    title: str
    why: str
    excluded: bool

    def __str__(self) -> str:
        return f"{'left out' if self.excluded else 'kept    '} {self.document}: {self.title}: {self.why}"


def marked(document: Document) -> list[Marked]:
    text = b" ".join(document.data.lower().split())
    marks = []
    for title, phrases in _PHRASES.items():
        found = [phrase.decode() for phrase in phrases if phrase in text]
        if found:
            needed = COMMON_WORDS.get(title, MIN_PHRASES)
            why = f"{len(found)} of {len(phrases)} phrases: {'; '.join(found)}"
            marks.append(Marked(document.path, title, why, len(found) >= min(needed, len(phrases))))
    name = NAMES.search(document.name)
    if name:
        marks.append(Marked(document.path, name[0].lower(), "by name", True))
    return marks
