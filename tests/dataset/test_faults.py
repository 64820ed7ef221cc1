"""Faults by file and line, those alike together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.dataset.faults import FaultList, ranges


@given(st.sets(st.integers(1, 60)))
def test_ranges_name_every_number_once(numbers: set[int]):
    named = []
    for run in ranges(sorted(numbers)).split(',') if numbers else []:
        first, _, last = run.partition('-')
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)


def test_ranges_are_short():
    assert ranges([1, 2, 3, 7, 9, 10]) == '1-3,7,9-10'


@pytest.mark.parametrize(
    ('message', 'where', 'expected'),
    [
        ('a/b.jsonl:3: no image', '', ('a/b.jsonl', 3, 'no image')),
        ('no image', 'a/b.jsonl:3', ('a/b.jsonl', 3, 'no image')),
        ('a.jsonl:3: not JSON: line 1', 'a.jsonl:3', ('a.jsonl', 3, 'not JSON: line 1')),
        ('shot=0: wrong', '', ('', 0, 'shot=0: wrong')),
        ('wrong', 'Numbers[3]', ('', 0, 'Numbers[3]: wrong')),
        ('Mixture: dataset 1: a.jsonl:3: wrong', '', ('', 0, 'Mixture: dataset 1: a.jsonl:3: wrong')),
        ('one\ntwo', 'a.jsonl:3', ('a.jsonl', 3, 'one; two')),
    ],
)
def test_messages_are_taken_apart(message: str, where: str, expected: tuple[str, int, str]):
    fault = FaultList().add('train', message, where)
    assert (fault.file, fault.line, fault.text) == expected


def test_a_fault_counts_once_however_many_datasets_have_it():
    faults = FaultList()
    for name in ('train', 'test', 'train'):
        faults.add(name, 'a.jsonl:3: wrong')
    (fault,) = faults
    assert len(faults) == 1
    assert fault.datasets == ['train', 'test']


def test_faults_alike_are_grouped_and_all_is_in_order():
    faults = FaultList()
    faults.add('test', 'b.jsonl:4: gone')
    faults.add('test', 'b.jsonl:10: no folder').samples = 3
    for line in (9, 8, 2):
        faults.add('train', f'a.jsonl:{line}: no folder')
    faults.add('test', 'no folder')
    faults.add('test', 'shot=0')
    assert [fault.line for fault in faults] == [0, 0, 2, 8, 9, 4, 10]
    groups = faults.groups()
    assert [group.text for group in groups] == ['no folder', 'shot=0', 'gone']
    assert groups[0].places == ['a.jsonl:2,8-9', 'b.jsonl:10']
    assert (groups[0].datasets, groups[0].samples) == (['test', 'train'], 3)
    assert groups[1].places == []
