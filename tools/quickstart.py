"""Train the tiny model on link-context episodes beside its controls, evaluate all, and show what came out.

python tools/quickstart.py [--output exp/quickstart] [--seed 42] [-- extra flags for every run]

Three runs of the ordinary pipeline (lcl, last_only, control), two at a time, one thread each. Writes
{output}/{run}/ with logs, checkpoints and predictions, {output}/summary.json and {output}/episodes.png.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil
from rich.console import Console
from rich.live import Live
from rich.table import Table

from mllm.evaluation.report.episode_picture import NEUTRAL, RIGHT, WRONG, EpisodeRow, Picture, draw_episodes
from mllm.utils import log
from mllm.utils.image_io import load_image

RUNS = {
    'lcl': 'config/quickstart_lcl.py',
    'last_only': 'config/quickstart_last_only.py',
    'control': 'config/quickstart_control.py',
}
AT_ONCE = 2
NAMES = {
    ('lcl', 'heldout'): 'unseen concepts, two invented names',
    ('lcl', 'heldout_real_name'): 'unseen concepts, one invented and one real name',
    ('lcl', 'invented'): 'invented concepts, two invented names',
    ('lcl', 'invented_real_name'): 'invented concepts, one invented and one real name',
    ('lcl', 'permuted'): 'labels of the supports permuted (right = follows them)',
    ('lcl', 'blanked'): 'support images blanked',
    ('last_only', 'heldout'): 'only the query image reaches the language model',
    ('control', 'heldout'): 'trained on image -> name, without episodes',
}


@dataclass
class Run:
    """One pipeline process."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    started: float
    seconds: float | None = None

    @property
    def log(self) -> Path:
        return self.folder.with_suffix('.log')

    def last_line(self) -> str:
        lines = self.log.read_text(errors='replace').replace('\r', '\n').split('\n')
        return next((line.strip() for line in reversed(lines) if line.strip()), '')


@dataclass
class Memory:
    """The most memory that this process and its children held together, in bytes."""

    peak: int = 0
    own: psutil.Process = field(default_factory=psutil.Process)

    def look(self) -> None:
        total = 0
        for process in [self.own, *self.own.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.peak = max(self.peak, total)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--output', default='exp/quickstart')
    parser.add_argument('--seed', type=int, default=42)
    parser.add_argument('extra', nargs='*', help='after --: flags for every run, e.g. -- --max_steps 10')
    return parser.parse_args()


def start(name: str, output: Path, seed: int, extra: list[str]) -> Run:
    folder = output / name
    command = [sys.executable, '-m', 'accelerate.commands.launch', '--config_file']
    command += [str(ROOT / 'accelerate_config' / 'default_config.yaml')]
    command += [str(ROOT / 'mllm' / 'pipeline' / 'finetune.py'), str(ROOT / RUNS[name])]
    command += ['--output_dir', str(folder), '--seed', str(seed), '--overwrite_output_dir', *extra]
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'TOKENIZERS_PARALLELISM': 'false'}
    with folder.with_suffix('.log').open('wb') as log:
        # A group of its own: the launcher does not end what it has started.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    return Run(name, folder, process, time.perf_counter())


def run_all(output: Path, seed: int, extra: list[str], console: Console, memory: Memory) -> dict[str, float]:
    """All runs, a few at once; seconds of each. SystemExit with the end of the log if one fails."""
    waiting, active, done = list(RUNS), [], []
    try:
        with Live(console=console, refresh_per_second=2, transient=True) as live:
            while waiting or active:
                while waiting and len(active) < AT_ONCE:
                    active.append(start(waiting.pop(0), output, seed, extra))
                time.sleep(0.5)
                memory.look()
                for run in list(active):
                    if run.process.poll() is not None:
                        run.seconds = time.perf_counter() - run.started
                        active.remove(run)
                        done.append(run)
                        if run.process.returncode:
                            fail(run, console)
                live.update(progress_table(waiting, active, done))
    finally:
        stop(active)
    return {run.name: round(run.seconds or 0.0, 1) for run in done}


def stop(runs: list[Run]) -> None:
    """End runs with all their processes, of which the launcher may be gone already."""
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGTERM)


def fail(run: Run, console: Console) -> None:
    tail = run.log.read_text(errors='replace').splitlines()[-25:]
    console.print('\n'.join(tail), markup=False, highlight=False)
    raise SystemExit(f'run {run.name} failed with status {run.process.returncode}; its log is {run.log}')


def progress_table(waiting: list[str], active: list[Run], done: list[Run]) -> Table:
    table = Table.grid(padding=(0, 2))
    for run in (*done, *active):
        seconds = run.seconds or time.perf_counter() - run.started
        table.add_row(run.name, f'{seconds:4.0f} s', 'done' if run in done else run.last_line()[:100])
    for name in waiting:
        table.add_row(name, '', 'waiting')
    return table


def summarise(output: Path) -> dict[str, Any]:
    """{run: {group: {shot: figures}}} from the result files of all runs."""
    summary: dict[str, Any] = {}
    for name in RUNS:
        for path in sorted((output / name).glob('multitest_*_results.json')):
            prefix = path.name.removesuffix('_results.json')
            group, shot = prefix.removeprefix('multitest_').rsplit('_', 1)
            figures = {key.removeprefix(f'{prefix}_'): value for key, value in json.loads(path.read_text()).items()}
            summary.setdefault(name, {}).setdefault(group, {})[shot] = {
                'accuracy': figures['accuracy'],
                'ci_low': figures['accuracy_ci_low'],
                'ci_high': figures['accuracy_ci_high'],
                'n': figures['n'],
                'likelihood_accuracy': figures['likelihood_accuracy'],
                'likelihood_ci_low': figures['likelihood_accuracy_ci_low'],
                'likelihood_ci_high': figures['likelihood_accuracy_ci_high'],
            }
    return summary


def show(summary: dict[str, Any], console: Console) -> None:
    """The table: by generation with its 95 % interval, and by likelihood (chance 0.5), per number of shots."""
    groups = [group for run in RUNS for group in summary.get(run, {}).values()]
    shots = sorted({shot for group in groups for shot in group}, key=int)
    table = Table(title='2-way link-context accuracy: generated name exactly right [95 %] / right name more likely')
    table.add_column('')
    for shot in shots:
        table.add_column(f'{shot} shot' + 's' * (shot != '1'), justify='right')
    for (run, group), text in NAMES.items():
        found = summary.get(run, {}).get(group)
        if found:
            table.add_row(text, *(cell(found.get(shot)) for shot in shots))
    console.print(table)


def cell(figures: dict[str, float] | None) -> str:
    if figures is None:
        return ''
    low, high = figures['ci_low'], figures['ci_high']
    return f'{figures["accuracy"]:.3f} [{low:.2f}, {high:.2f}] / {figures["likelihood_accuracy"]:.3f}'


def picture_rows(output: Path, images: Path) -> list[EpisodeRow]:
    """A few episodes of each kind with the model's answers; the first of every file, not chosen by result."""
    rows = []
    for group, title, count in (('heldout_2', 'unseen\nconcepts', 4), ('invented_2', 'invented\nconcepts', 3)):
        path = output / 'lcl' / f'multitest_{group}_extra_prediction.jsonl'
        lines = path.read_text().splitlines() if path.is_file() else []
        # Neighbouring rows ask about neighbouring concepts: take rows from all over the file.
        for line in lines[:: max(1, len(lines) // count)][:count]:
            rows.append(picture_row(json.loads(line), title, images))
    return rows


def picture_row(row: dict[str, Any], title: str, images: Path) -> EpisodeRow:
    meta, archive = row['meta'], str(images)
    support = [Picture(load_image(s['image_path'], archive), s['label'], NEUTRAL) for s in meta['support']]
    right = row['pred'] == row['target']
    said = row['pred'].removeprefix('there is "').removesuffix('" in the image.')
    query = Picture(
        load_image(meta['image_path'], archive),
        f'model: {said}\nright: {meta["label"]}',
        RIGHT if right else WRONG,
    )
    return EpisodeRow(title, support, query)


def main() -> None:
    args = parse_args()
    # As Ctrl-C does: an orphan would go on to write into the folders of the next quickstart.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('ended by SIGTERM'))
    console, memory = log.console(), Memory()
    output, began = Path(args.output), time.perf_counter()
    console.print(f'Training and evaluating {len(RUNS)} runs, {AT_ONCE} at a time; logs in {output}/*.log')
    seconds = run_all(output, args.seed, args.extra, console, memory)
    summary = summarise(output)
    seconds['total'] = round(time.perf_counter() - began, 1)
    summary |= {'seconds': seconds, 'peak_memory_gb': round(memory.peak / 1e9, 2), 'seed': args.seed}
    (output / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    rows = picture_rows(output, ROOT / 'data' / 'emoji' / 'images.zip')
    if rows:
        draw_episodes(rows, output / 'episodes.png', 'Labelled pictures in the prompt, and the name given to a new one')
    show(summary, console)
    console.print(
        f'{seconds["total"]:.0f} s, {summary["peak_memory_gb"]} GB; {output}/summary.json, {output}/episodes.png'
    )


if __name__ == '__main__':
    main()
