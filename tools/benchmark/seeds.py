"""Mean and spread of several quickstarts, as a Markdown table.

for seed in 42 1 2; do python tools/quickstart.py --seed $seed --output exp/seeds/$seed; done
python tools/benchmark/seeds.py exp/seeds/*/summary.json
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

RUNS = ('lcl', 'last_only', 'control')
MEASURES = {'accuracy': 'by generation', 'likelihood_accuracy': 'by likelihood'}


def figures(summaries: list[dict[str, Any]], run: str, group: str, shot: str, name: str) -> str:
    """'mean (least to most)' of one figure over the summaries."""
    values = [summary[run][group][shot][name] for summary in summaries]
    return f'{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})'


def table(summaries: list[dict[str, Any]]) -> str:
    shots = sorted({shot for run in RUNS for group in summaries[0][run].values() for shot in group}, key=int)
    lines = ['| run, evaluation | | ' + ' | '.join(f'shot {shot}' for shot in shots) + ' |']
    lines.append('|---|---|' + '---|' * len(shots))
    for run in RUNS:
        for group in summaries[0][run]:
            for name, words in MEASURES.items():
                cells = [figures(summaries, run, group, shot, name) for shot in shots]
                lines.append(f'| {run}, {group} | {words} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit('name the summary.json files of the runs')
    summaries = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    print(f'{len(summaries)} seeds ({", ".join(str(summary["seed"]) for summary in summaries)})\n')
    print(table(summaries))
    seconds = [summary['seconds']['total'] for summary in summaries]
    print(f'\nSeconds per quickstart: {", ".join(f"{value:.0f}" for value in seconds)}')


if __name__ == '__main__':
    main()
