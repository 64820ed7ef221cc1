"""Our tokens are those of Stanford's PTBTokenizer: against its recorded output, and against itself where Java is."""

import json
from pathlib import Path

import pytest

from mllm.metric import ptb
from mllm.metric.ptb import java_tokenizer, run_java, tokenize, tokenize_text

RECORDED = [json.loads(line) for line in Path(__file__).with_name('ptb_tokens.jsonl').read_text().splitlines()]


@pytest.mark.parametrize('row', RECORDED, ids=lambda row: row['text'][:30])
def test_tokens_are_those_that_java_gave(row: dict[str, str]):
    assert kept(tokenize_text(row['text'])) == kept(row['java'].split())


def kept(tokens: list[str]) -> list[str]:
    return [token for token in tokens if token not in ptb.PUNCTUATION]


def test_java_gives_what_was_recorded():
    jar = java_tokenizer()
    if jar is None:
        pytest.skip('no Java here')
    assert run_java(jar, [row['text'] for row in RECORDED]) == [row['java'].split() for row in RECORDED]


@pytest.mark.parametrize('java', [True, False])
def test_a_text_is_a_line_whatever_it_holds(java: bool, monkeypatch: pytest.MonkeyPatch):
    if java and java_tokenizer() is None:
        pytest.skip('no Java here')
    if not java:
        monkeypatch.setattr(ptb, 'java_tokenizer', lambda: None)
    assert tokenize(['', 'A dog.\nIt\tbarks!', ' ', 'last\r\n']) == [[], ['a', 'dog', 'it', 'barks'], [], ['last']]
    assert tokenize([]) == []
