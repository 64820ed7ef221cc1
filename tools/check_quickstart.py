"""Does a quickstart's summary.json hold what the README promises? Lists every figure that does not; exit status 1.

python tools/check_quickstart.py [exp/quickstart/summary.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

AT_LEAST = {
    ('lcl', 'heldout', '1', 'accuracy'): 0.85,
    ('lcl', 'heldout', '4', 'accuracy'): 0.90,
    ('lcl', 'invented', '1', 'accuracy'): 0.80,
    ('lcl', 'invented', '2', 'accuracy'): 0.80,
    ('lcl', 'invented', '4', 'accuracy'): 0.80,
    # The share that follows the permuted labels; a model that ignored its prompt would keep the old ones.
    ('lcl', 'permuted', '1', 'accuracy'): 0.80,
}
"""Two-way accuracy by generation."""

CHANCE = {('last_only', 'heldout'), ('control', 'heldout'), ('lcl', 'blanked')}
AT_MOST_BY_CHANCE = 0.55
"""Two-way accuracy by likelihood, at every number of shots; 0.5 is chance."""

MIN_N = 500
MAX_SECONDS = 8 * 60
MAX_MEMORY_GB = 4.0


def faults(summary: dict[str, Any]) -> list[str]:
    """What does not hold, one line each."""
    found = []
    for (run, group, shot, name), least in AT_LEAST.items():
        value = summary.get(run, {}).get(group, {}).get(shot, {}).get(name)
        if value is None or value < least:
            found.append(f'{run} {group} {shot}-shot {name} is {value}, expected at least {least}')
    for run, group in sorted(CHANCE):
        shots = summary.get(run, {}).get(group, {})
        values = {shot: figures['likelihood_accuracy'] for shot, figures in shots.items()}
        if not values or max(values.values()) > AT_MOST_BY_CHANCE:
            found.append(f'{run} {group} likelihood_accuracy is {values}, expected at most {AT_MOST_BY_CHANCE}')
    for run, groups in summary.items():
        for group, shots in groups.items() if run in ('lcl', 'last_only', 'control') else ():
            small = {shot: figures['n'] for shot, figures in shots.items() if figures['n'] < MIN_N}
            found += [f'{run} {group}: n per shot is {small}, expected at least {MIN_N}'] if small else []
    for name, value, most in (
        ('seconds.total', summary.get('seconds', {}).get('total'), MAX_SECONDS),
        ('peak_memory_gb', summary.get('peak_memory_gb'), MAX_MEMORY_GB),
    ):
        if value is None or value > most:
            found.append(f'{name} is {value}, expected at most {most}')
    return found


def main() -> int:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else 'exp/quickstart/summary.json')
    found = faults(json.loads(path.read_text()))
    print('\n'.join(found) or f'{path}: every figure holds')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
