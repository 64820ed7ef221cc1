"""Stage 2 of the shipped emoji data: which emoji are concepts, what they are called, and who is in which split.

Dropped are emoji that are no picture of a thing (flags, keycaps, letters, arrows, ...), gendered doubles of a neutral
person, and all but the first of a family that differs only by colour, side, size or number: without colour (one art
style is black and white) or after a mirror image these would be the same picture.
"""

import random
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass

from packages import Entry, Style

MIN_FAMILIES = 3
MAX_NAME = 24
SPLIT_SIZES = {'test': 200, 'val': 100}
MAX_NEIGHBORS = 6
MIN_SUPPORTS = 4

_DROPPED_GROUPS = {'flags', 'component'}
_DROPPED_SUBGROUPS = frozenset(
    [
        'family',
        'arrow',
        'zodiac',
        'av-symbol',
        'gender',
        'math',
        'punctuation',
        'currency',
        'keycap',
        'alphanum',
        'geometric',
        'transport-sign',
        'skin-tone',
        'hair-style',
        'person-symbol',
    ]
)
_DROPPED_LABELS = re.compile(
    r'o.clock|-thirty|facing right|^(man|men|woman|women)[ :]|^person: |\bdeaf (man|woman)|'
    r'^(copyright|registered|trade mark|hundred points|zzz|part alternation mark)$'
)
_KIN_WORDS = re.compile(
    r'\b(red|pink|orange|yellow|green|light blue|blue|purple|brown|black|grey|white|face|left|right|waxing|waning|'
    r'first|last|small|large|low|medium|high|1st|2nd|3rd|yen|euro|pound|dollar|horizontal|vertical|showing .*)\b'
)
_SHORTEN = [(r' face\b', ''), (r'\bface with ', ''), (r' (?:and|with|the|of|in|on|at) ', ' '), (r'\bperson ', '')]


@dataclass(frozen=True)
class Concept:
    """One class: ``name`` is lower-case ASCII, ``slug`` its file name, ``images`` its archive paths (filled later)."""

    name: str
    slug: str
    group: str
    subgroup: str
    art: dict[Style, str]


def can_be_asked(samples: list[str]) -> bool:
    """Whether a query of any family leaves MIN_SUPPORTS pictures of other families (paths begin with the family)."""
    families = Counter(path.split('/')[0] for path in samples)
    return families.total() - max(families.values()) >= MIN_SUPPORTS


def plain_name(label: str) -> str | None:
    """Lower-case ASCII name of at most MAX_NAME characters, or None when the label cannot be shortened to that."""
    name = unicodedata.normalize('NFKD', label).encode('ascii', 'ignore').decode().lower()
    name = re.sub('[^a-z0-9 -]', '', name)
    for pattern, replacement in _SHORTEN:
        if len(name) > MAX_NAME:
            name = re.sub(pattern, replacement, name)
    return name if 0 < len(name) <= MAX_NAME else None


def select(entries: list[Entry], art: dict[str, dict[Style, str]]) -> list[Concept]:
    """The concepts, in CLDR order."""
    concepts, names, kins = [], set(), set()
    for entry in entries:
        label = entry.label.lower()
        if entry.group in _DROPPED_GROUPS or entry.subgroup in _DROPPED_SUBGROUPS or _DROPPED_LABELS.search(label):
            continue
        if len({family for family, _ in art.get(entry.code, {})}) < MIN_FAMILIES:
            continue
        name = plain_name(entry.label)
        kin = (entry.subgroup, re.sub(' +', ' ', _KIN_WORDS.sub('', label)).strip())
        if name is None or name in names or kin in kins:
            continue
        names.add(name)
        kins.add(kin)
        concepts.append(Concept(name, name.replace(' ', '-'), entry.group, entry.subgroup, art[entry.code]))
    return concepts


def split(concepts: list[Concept], samples: dict[str, list[str]], seed: int) -> dict[str, list[Concept]]:
    """Disjoint ``train``, ``val`` and ``test``, each with about its share of every CLDR subgroup.

    The concepts of all subgroups that can be asked about, shuffled inside each, form one line; test and val take evenly
    spaced places of it. What is left, and concepts with too few pictures to be asked about, is train.
    """
    rng = random.Random(seed)
    by_subgroup = defaultdict(list)
    for concept in concepts:
        if can_be_asked(samples[concept.name]):
            by_subgroup[concept.subgroup].append(concept)
    line = []
    for members in by_subgroup.values():
        rng.shuffle(members)
        line += members
    splits: dict[str, list[Concept]] = {}
    for name, size in SPLIT_SIZES.items():
        places = {round((i + 0.5) * len(line) / size - 0.5) for i in range(size)}
        splits[name] = [concept for place, concept in enumerate(line) if place in places]
        line = [concept for place, concept in enumerate(line) if place not in places]
    asked = {concept.name for members in splits.values() for concept in members}
    splits['train'] = [concept for concept in concepts if concept.name not in asked]
    order = {concept.name: place for place, concept in enumerate(concepts)}
    return {name: sorted(members, key=lambda c: order[c.name]) for name, members in splits.items()}


def neighbors(concept: Concept, members: list[Concept], rng: random.Random) -> list[Concept]:
    """Up to MAX_NEIGHBORS others of the same split: same subgroup first, then same group, then any, each shuffled."""
    others = [other for other in members if other is not concept]
    rng.shuffle(others)
    others.sort(key=lambda other: (other.subgroup != concept.subgroup, other.group != concept.group))
    return others[:MAX_NEIGHBORS]
