"""python -m tests.golden FILE.jsonl... [--group NAME ...] [--show N]

Runs every case of recorded files through our public path, prints `matched M of N` for each file, and the cases that
differ with both values side by side. Exit status 1 if a case differs that is not a known defect of the original.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections import Counter
from pathlib import Path

from tests.golden import datasets
from tests.golden.compare import Case, Outcome, Runner, judge

ADAPTERS = {'metric': 'metrics', 'op': 'boxes', 'config': 'interleave', 'settings': 'tokenisation', 'text': 'strings'}
"""The module beside this one for cases that have such a field; groups of different kinds share names.

Each has RUNNERS: {group: case -> what we give} and, where needed, SANE likewise.
"""


def runners(case: Case) -> tuple[Runner | None, Runner | None]:
    """What runs a case, None where there is nothing yet, and what gives its sane value, if that is something else."""
    name = next(name for field, name in ADAPTERS.items() if field in case)
    module = importlib.import_module(f'tests.golden.{name}')
    return module.RUNNERS.get(case['group']), vars(module).get('SANE', {}).get(case['group'])


def read_cases(path: Path) -> list[Case]:
    """The cases of a file; each knows the folder that holds tokenizer/. Strings name their expectation `ids`."""
    lines = path.read_text(encoding='utf-8').split('\n')
    cases = [{'folder': str(path.resolve().parent), **json.loads(line)} for line in lines if line.strip()]
    return [{'expected': case['ids'], **case} if 'ids' in case else case for case in cases]


def check(path: Path, groups: list[str], show: int) -> bool:
    """Run one file and print what came out; whether no case differs."""
    cases = [case for case in read_cases(path) if not groups or case['group'] in groups]
    missing: Counter[str] = Counter()
    outcomes = []
    for case in cases:
        run, sane = runners(case)
        if run is None:
            missing[case['group']] += 1
        else:
            outcomes.append(judge(case, run, sane))
    different = [outcome for outcome in outcomes if outcome.status == 'different']
    for outcome in different[:show]:
        print(f'{outcome.id} differs')
        print('\n'.join(f'  {line}' for line in outcome.differences))
    if len(different) > show:
        print(f'... and {len(different) - show} more that differ: {", ".join(o.id for o in different[show:])}')
    print(f'{path.name}: {summary(outcomes)}')
    ours = [case for case in cases if datasets.has_dataset(case)]
    made = [judge({**case, 'expected': datasets.wanted(case)}, datasets.items) for case in ours]
    if made:
        different += [outcome for outcome in made if outcome.status == 'different']
        for outcome in [outcome for outcome in made if outcome.status == 'different'][:show]:
            print(f'{outcome.id}: the item of its dataset differs')
            print('\n'.join(f'  {line}' for line in outcome.differences))
        print(f'  items made by our datasets: {summary(made)}')
    if missing:
        print(f'  not run, for want of an adapter: {", ".join(f"{group} ({n})" for group, n in missing.items())}')
    return not different and not missing


def summary(outcomes: list[Outcome]) -> str:
    count = Counter(outcome.status for outcome in outcomes)
    defects = f'{count["sane"]} known defects have the wanted value, {count["defect"]} differ as no value is given'
    return f'matched {len(outcomes) - count["different"]} of {len(outcomes)} ({defects})'


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m tests.golden', description=(__doc__ or '').split('\n\n')[1])
    parser.add_argument('files', nargs='+', type=Path, metavar='FILE.jsonl')
    parser.add_argument('--group', nargs='+', default=[], help='only cases of these groups')
    parser.add_argument('--show', type=int, default=10, help='so many differing cases are shown in full')
    args = parser.parse_args()
    good = [check(path, args.group, args.show) for path in args.files]
    return 0 if all(good) else 1


if __name__ == '__main__':
    sys.exit(main())
