"""Stage 1 of the shipped emoji data: fetch the pinned npm packages, verify them, read pictures and names from them.

An Iconify package holds ``icons.json`` (name -> SVG body, plus aliases) and ``chars.json`` (code point -> name; empty
for some sets); emojibase holds the CLDR names, groups and subgroups.
"""

import base64
import hashlib
import json
import re
import subprocess
import tarfile
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

# npm package -> (version, subresource integrity as the registry publishes it)
PINNED = {
    '@iconify-json/noto': (
        '1.2.9',
        'sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==',
    ),
    '@iconify-json/noto-v1': (
        '1.2.5',
        'sha512-/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==',
    ),
    '@iconify-json/fxemoji': (
        '1.2.2',
        'sha512-UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==',
    ),
    '@iconify-json/fluent-emoji-flat': (
        '1.2.6',
        'sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==',
    ),
    '@iconify-json/fluent-emoji-high-contrast': (
        '1.2.6',
        'sha512-esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w==',
    ),
    '@iconify-json/twemoji': (
        '1.2.5',
        'sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==',
    ),
    '@iconify-json/emojione': (
        '1.2.3',
        'sha512-T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==',
    ),
    'emojibase-data': (
        '17.0.0',
        'sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==',
    ),
}

# (art family, style) -> npm package. The two Fluent sets are one design, hence one family
# (the third, with gradients, is nearly the flat one again and is left out for its size).
STYLES = {
    ('noto', 'std'): '@iconify-json/noto',
    ('noto-v1', 'std'): '@iconify-json/noto-v1',
    ('fxemoji', 'std'): '@iconify-json/fxemoji',
    ('fluent', 'flat'): '@iconify-json/fluent-emoji-flat',
    ('fluent', 'mono'): '@iconify-json/fluent-emoji-high-contrast',
    ('twemoji', 'std'): '@iconify-json/twemoji',
    ('emojione', 'std'): '@iconify-json/emojione',
}

Style = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """One emoji of CLDR: ``code`` is the lower-case hex sequence without variation selectors."""

    code: str
    label: str
    group: str
    subgroup: str


@dataclass(frozen=True)
class IconSet:
    """One art set: ``icons`` name -> SVG text (aliases included), ``chars`` code -> name."""

    icons: dict[str, str]
    aliases: dict[str, str]
    chars: dict[str, str]


def tarball_name(package: str) -> str:
    """File name ``npm pack`` gives a package."""
    return f'{package.lstrip("@").replace("/", "-")}-{PINNED[package][0]}.tgz'


def fetch(folder: Path) -> None:
    """Download every pinned package that ``folder`` lacks (``npm pack``) and verify all of them.

    Raises ValueError naming each archive whose sha512 is not the pinned one, and RuntimeError when npm fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package, (version, _) in PINNED.items():
        if (folder / tarball_name(package)).is_file():
            continue
        command = ['npm', 'pack', '--silent', f'{package}@{version}']
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f'{" ".join(command)} failed (network? or pass --packages DIR): {done.stderr.strip()}')
    wrong = [tarball_name(package) for package in PINNED if not _is_intact(folder, package)]
    if wrong:
        raise ValueError(
            f'{folder}: sha512 differs from the pinned value for {", ".join(wrong)}; delete and fetch anew'
        )


def _is_intact(folder: Path, package: str) -> bool:
    digest = hashlib.sha512((folder / tarball_name(package)).read_bytes()).digest()
    return f'sha512-{base64.b64encode(digest).decode()}' == PINNED[package][1]


def _read_json(folder: Path, package: str, *members: str) -> list:
    with tarfile.open(folder / tarball_name(package)) as archive:
        files = [archive.extractfile(f'package/{member}') for member in members]
        return [json.load(file) for file in files if file is not None]


def code_key(hexcode: str) -> str:
    """Hex sequence in lower case without the emoji variation selector."""
    return hexcode.lower().replace('-fe0f', '')


def normalised(name: str) -> str:
    """Letters and digits only, lower case, accents removed: 'Bear-Face' -> 'bearface'."""
    plain = unicodedata.normalize('NFKD', name).encode('ascii', 'ignore').decode().lower()
    return re.sub('[^a-z0-9]', '', plain)


def read_entries(folder: Path) -> list[Entry]:
    """All base emoji of emojibase (skin tones are nested there and so left out), in CLDR order."""
    data, meta = _read_json(folder, 'emojibase-data', 'en/data.json', 'meta/groups.json')
    rows = [row for row in data if 'group' in row and 'subgroup' in row]
    rows.sort(key=lambda row: row['order'])
    return [
        Entry(
            code_key(row['hexcode']),
            row['label'],
            meta['groups'][str(row['group'])],
            meta['subgroups'][str(row['subgroup'])],
        )
        for row in rows
    ]


def read_icon_set(folder: Path, package: str) -> IconSet:
    """One art set with every icon as a complete SVG document."""
    icons, chars = _read_json(folder, package, 'icons.json', 'chars.json')
    documents = {name: _document(icons, icon) for name, icon in icons['icons'].items()}
    aliases = {name: row['parent'] for name, row in icons.get('aliases', {}).items() if set(row) == {'parent'}}
    return IconSet(documents, aliases, {code_key(code): name for code, name in chars.items()})


def _document(icons: dict, icon: dict) -> str:
    left, top = (icon.get(key, icons.get(key, 0)) for key in ('left', 'top'))
    width, height = (icon.get(key, icons.get(key, 16)) for key in ('width', 'height'))
    head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {head} viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'


def match(entries: list[Entry], sets: dict[Style, IconSet]) -> dict[str, dict[Style, str]]:
    """Code -> {style: SVG}. By code point where a set lists them, else by normalised name.

    Older sets know only older names, so names are pooled: the CLDR label, the Unicode name and every name and alias
    that a set with code points gives the same emoji. A name that means two emoji is used for neither.
    """
    codes = _pooled_names(entries, sets)
    found: dict[str, dict[Style, str]] = defaultdict(dict)
    for style, icon_set in sets.items():
        by_name = {name: name for name in icon_set.icons} | icon_set.aliases
        icon_of = {}
        for name in sorted(by_name):
            owners = codes.get(normalised(name), set())
            if len(owners) == 1:
                icon_of.setdefault(next(iter(owners)), by_name[name])
        icon_of |= {code: by_name[name] for code, name in icon_set.chars.items() if name in by_name}
        for entry in entries:
            if icon_of.get(entry.code) in icon_set.icons:
                found[entry.code][style] = icon_set.icons[icon_of[entry.code]]
    return dict(found)


def _pooled_names(entries: list[Entry], sets: dict[Style, IconSet]) -> dict[str, set[str]]:
    codes: dict[str, set[str]] = defaultdict(set)
    known = {entry.code for entry in entries}
    for entry in entries:
        codes[normalised(entry.label)].add(entry.code)
        if '-' not in entry.code:
            codes[normalised(unicodedata.name(chr(int(entry.code, 16)), entry.label))].add(entry.code)
    for icon_set in sets.values():
        aliases = defaultdict(list)
        for alias, parent in icon_set.aliases.items():
            aliases[parent].append(alias)
        for code, name in icon_set.chars.items():
            if code in known:
                for alias in [name, *aliases[name]]:
                    codes[normalised(alias)].add(code)
    return codes
