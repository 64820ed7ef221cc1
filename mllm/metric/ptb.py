"""Stage 11 of a sample's way for captions: text -> tokens as COCO's caption evaluation has them.

That evaluation tokenises with Stanford's PTBTokenizer (a Java program), in lower case, and drops punctuation.
`tokenize` runs it where Java and pycocoevalcap's copy of it are present; elsewhere `tokenize_text` follows its rules.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

JAR = 'stanford-corenlp-3.4.1.jar'
PUNCTUATION = {"''", "'", '``', '`', '-LRB-', '-RRB-', '-LCB-', '-RCB-', '.', '?', '!', ',', ':', '-', '--', '...', ';'}
"""Tokens that the evaluation drops (pycocoevalcap). Brackets are lower case by then, so they stay."""

BRACKETS = {'(': '-lrb-', ')': '-rrb-', '[': '-lsb-', ']': '-rsb-', '{': '-lcb-', '}': '-rcb-'}
CHARACTERS = str.maketrans(
    {
        **{'\u2018': '`', '\u2019': "'", '\u201c': '``', '\u201d': "''"},
        **{'\u00a0': ' ', '\u2026': '...', '\u2013': '--', '\u2014': '--'},
    }
)

TITLES = 'mr mrs ms messrs dr drs prof st sr jr gen col lt capt sgt rep sen gov rev hon adm maj cmdr pvt'
OTHERS = 'vs etc inc ltd co corp bros dept univ assn blvd ave rd ft mt jan feb mar apr jun jul aug sep sept oct nov dec'
ABBREVIATIONS = '|'.join(f'{TITLES} {OTHERS}'.split())
SPLIT = {
    **{'cannot': 'can not', 'gonna': 'gon na', 'gotta': 'got ta', 'wanna': 'wan na', 'lemme': 'lem me'},
    **{'gimme': 'gim me', "d'ye": "d' ye", "more'n": "more 'n", "y'all": "y' all", "'tis": "'t is", "'twas": "'t was"},
}
"""Words that are two."""
CLITICS = re.compile(r"(?<=\w)('(?:s|m|d|re|ve|ll))(?!\w)|(?<=[a-z])(n't)(?![a-z])")

TOKEN = re.compile(
    r"""
    https?://[^\s"<>()]+ | www\.[^\s"<>()]+ | [\w.+-]+@[\w-]+\.[\w.-]+      # addresses
  | (?:\.\s?){2,}\. | \.{2,}                                               # an ellipsis
  | (?:[^\W\d_]\.){2,}                                                      # u.s., p.m.
  | \b(?:ABBREVIATIONS)\. | \bno\.(?=\s*\d) | \bph\.d\.                        # mr., no. 5
  | \d+(?:[.,:]\d+)+ | \d+/\d+(?:/\d+)* | [.]\d+                           # 1,000 and 10:30 and 1/2
  | '\d\ds?\b                                                              # '90s
  | [^\W_]+(?:&[^\W_]+)+                                                   # at&t
  | (?<!\S)'(?:s|n'|m|d|re|ve|ll)(?!\w) | @\w+ | \?!|!\?
  | [^\W_]+(?:[-_'/][^\W_]+)*(?:\+\+|\#)?                                  # words, with hyphens and apostrophes
  | `` | '' | -{2,} | <[^<>\s]+>
  | \S
    """.replace('ABBREVIATIONS', ABBREVIATIONS),
    re.VERBOSE,
)


def tokenize(texts: Sequence[str]) -> list[list[str]]:
    """The tokens of texts, without punctuation."""
    jar = java_tokenizer()
    lines = run_java(jar, texts) if jar else [tokenize_text(text) for text in texts]
    return [[token for token in line if token not in PUNCTUATION] for line in lines]


@functools.cache
def java_tokenizer() -> Path | None:
    """The Java program, None where it or Java is not there."""
    found = importlib.util.find_spec('pycocoevalcap')
    places = found.submodule_search_locations if found else None
    if not places or shutil.which('java') is None:
        return None
    jar = Path(places[0], 'tokenizer', JAR)
    works = jar.is_file() and subprocess.run(['java', '-version'], capture_output=True, check=False).returncode == 0
    return jar if works else None


def run_java(jar: Path, texts: Sequence[str]) -> list[list[str]]:
    """One process for all texts; a text is a line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'texts')
        # The last line must end, or Java takes no blank one for a line.
        path.write_text('\n'.join(one_line(text) for text in texts) + '\n', encoding='utf-8')
        options = ['-preserveLines', '-lowerCase', '-encoding', 'UTF-8']
        command = ['java', '-cp', str(jar), 'edu.stanford.nlp.process.PTBTokenizer', *options, str(path)]
        out = subprocess.run(command, capture_output=True, check=True).stdout.decode('utf-8')
    lines = out.split('\n')[: len(texts)]
    if len(lines) != len(texts):
        raise RuntimeError(f'PTBTokenizer gave {len(lines)} lines for {len(texts)} texts')
    return [line.split() for line in lines]


def one_line(text: str) -> str:
    return ' '.join(text.split())


def tokenize_text(text: str) -> list[str]:
    """The tokens of a text by the rules of PTBTokenizer, in lower case."""
    text = one_line(text.lower().translate(CHARACTERS))
    tokens: list[str] = []
    for match in TOKEN.finditer(text):
        token = match[0]
        if token == '"':
            # It opens where a blank, a bracket or the beginning stands before it.
            before = text[match.start() - 1] if match.start() else ' '
            tokens.append('``' if before in ' ([{' else "''")
        elif token == "'" and (not match.start() or text[match.start() - 1] in ' (["'):
            tokens.append('`')
        elif token in BRACKETS:
            tokens.append(BRACKETS[token])
        elif re.fullmatch(r'(?:\.\s?)+', token) and len(token) > 1:
            tokens.append('...')
        else:
            tokens += word_tokens(token)
    return tokens


def word_tokens(word: str) -> list[str]:
    """A word with its clitics apart."""
    if word in SPLIT:
        return SPLIT[word].split()
    return [part for part in CLITICS.sub(lambda match: f' {match[0]} ', word).split() if part]
