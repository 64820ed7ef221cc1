"""The command that compares with recorded results: what it prints, and that it fails where a case differs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllm.dataset.encoder import EpisodeEncoder
from mllm.types import Episode
from tests.golden.__main__ import main
from tests.golden.compare import compare, judge
from tests.golden.tokenisation import for_case, tokenise
from tests.slow_llama import write_tokenizer

INTERLEAVE = {
    'id': 'interleave-03',
    'group': 'interleave',
    'config': {'lengths': [1, 1, 1], 'probabilities': None, 'seed': 42, 'stopping_strategy': 'first_exhausted'},
    'expected': {'length': 3, 'indices': [0, 1, 2]},
}
BOX = {
    'id': 'format-01',
    'group': 'format_plain',
    'op': 'format_box',
    'input': {'formatter': {'type': 'PlainBoxFormatter'}, 'boxes': [[0.1, 0.2, 0.3, 0.4]]},
    'expected': '[0.100,0.200,0.300,0.400]',
}
REFUSED = {
    'id': 'substitute-16',
    'group': 'substitute_plain',
    'op': 'substitute_boxes',
    'input': {'formatter': {'type': 'PlainBoxFormatter'}, 'sentence': 'a <boxes>', 'boxes_seq': []},
    'expected_error': {'type': 'AssertionError', 'message': ''},
}
SETTINGS = {
    **{'mode': 'train', 'image_token_len': 4, 'use_im_start_end': True, 'sep_image_conv_front': False},
    **{'formatter': {'type': 'PlainBoxFormatter'}, 'transforms': 'Expand2square', 'truncation_size': None},
}


def write(folder: Path, *cases: dict[str, Any]) -> str:
    (folder / 'cases.jsonl').write_text(''.join(json.dumps(case) + '\n' for case in cases))
    return str(folder / 'cases.jsonl')


def test_the_command_counts_what_matches(tmp_path: Path):
    defect = {**BOX, 'id': 'format-03', 'expected': 'x', 'known_defect': 'y', 'sane': BOX['expected']}
    command = [sys.executable, '-m', 'tests.golden', write(tmp_path, INTERLEAVE, BOX, REFUSED, defect)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'cases.jsonl: matched 4 of 4 (1 known defects have the wanted value' in done.stdout


def test_it_fails_and_shows_both_values_where_a_case_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    wrong = {**BOX, 'id': 'format-02', 'expected': '[0.1,0.2,0.3,0.4]'}
    monkeypatch.setattr(sys, 'argv', ['golden', write(tmp_path, BOX, wrong, {**BOX, 'group': 'new'})])
    assert main() == 1
    printed = capsys.readouterr().out
    assert 'format-02 differs' in printed
    assert 'expected [0.1,0.2,0.3,0.4]\n      found    [0.100,0.200,0.300,0.400]' in printed
    assert 'matched 1 of 2' in printed
    assert 'not run, for want of an adapter: new (1)' in printed


@pytest.mark.parametrize(
    ('changes', 'found', 'status'),
    [
        ({}, 1.0, 'same'),
        ({}, 2.0, 'different'),
        ({'known_defect': 'x'}, 2.0, 'defect'),
        ({'known_defect': 'x', 'sane': 2.0}, 2.0, 'sane'),
        ({'known_defect': 'x', 'sane': 3.0}, 2.0, 'different'),
        ({'known_defect': 'x', 'sane': 3.0}, 1.0, 'different'),
    ],
)
def test_known_defects_count_only_with_the_sane_value(changes: dict[str, Any], found: float, status: str):
    assert judge({'id': 'x', 'expected': 1.0, **changes}, lambda case: found).status == status


def test_crashes_are_no_refusals():
    def crash(case: dict[str, Any]) -> None:
        raise AttributeError('a bug')

    with pytest.raises(AttributeError):
        judge({'id': 'x', 'expected_error': {'type': 'ValueError'}}, crash)
    assert judge({'id': 'x', 'expected_error': {'type': 'ValueError'}}, lambda case: 1).status == 'different'


def test_values_are_compared_by_kind():
    assert not compare({'a': [1, [0.1 + 1e-12]], 'b': 2}, {'a': (1, (0.1,))})
    assert compare({'a': 1}, {'a': True})
    assert compare({'a': [1, 2]}, {'a': [1]})
    assert compare({'a': 1}, {'b': 1}) == ["case: nothing to compare, ['b'] for ['a']"]
    assert not compare({'accuracy': 'NaN'}, {'accuracy': float('nan')})


def test_an_episode_of_named_templates_is_encoded_as_our_protocol(tmp_path: Path):
    """The adapter's own way of choosing templates agrees with that of the product."""
    (tmp_path / 'tokenizer').mkdir()
    write_tokenizer(tmp_path / 'tokenizer')
    modes = ['causal_v1.0', 'hypnotized_ans_v1.0', 'final_v1.0']
    items = [
        {
            'mode': mode,
            'image': {'width': 12, 'height': 8},
            'conversations': [
                {'from': 'human', 'value': 'What is in the image <image>?'},
                {'from': 'gpt', 'value': 'there is "kit fox" in the image.'},
            ],
        }
        for mode in modes
    ]
    case = {'id': 'x', 'folder': str(tmp_path), 'settings': SETTINGS, 'items': items, 'is_episode': True}
    found = tokenise(case)
    raw: Any = [{**item, 'image': Image.new('RGB', (12, 8))} for item in items]
    single = for_case({**case, 'is_episode': False})
    sample = EpisodeEncoder(single, training=True)(Episode(raw[-1], tuple(raw[:-1])), 0)
    assert found == {
        **{'input_ids': sample.input_ids, 'labels': sample.labels, 'image_shape': [3, 3, 224, 224]},
        'attention_mask': [1] * len(sample.input_ids),
    }
    evaluated = tokenise({**case, 'settings': {**SETTINGS, 'mode': 'test'}})
    learnt = [label for label in sample.labels if label != -100]
    assert evaluated['input_ids'] == sample.input_ids[: -len(learnt)]
    assert evaluated['labels'][-len(learnt) :] == learnt
    assert len(evaluated['labels']) == len(sample.input_ids) - len(items)
