"""Runs the pipeline in children of one process that has imported everything, and kills them: see test_kill.

python run_server.py CONFIG. Each line of standard input is a JSON object: `arguments` of the pipeline, `folder` it
writes to, a `log` file, and when to kill the run: `kill_after` so many seconds of training, or at its `kill_at`-th
change of a file. A line of JSON answers when the child has ended: its `status`, negative for a signal, and the
`seconds` it trained.
"""

import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard
from tqdm import tqdm

from mllm.config.config import load_config
from mllm.engine import callbacks, trainer
from mllm.models.builder import load_model, load_preprocessor
from mllm.pipeline.finetune import main

CHANGES = {'os.rename', 'os.remove', 'os.mkdir', 'os.rmdir'}
POLL, LIMIT = 0.002, 120
"""Seconds between two looks at a child, and after which it must have ended."""


class CountedChanges:
    """An audit hook that kills its process at the n-th change of a file in `folder`, just before it happens."""

    def __init__(self, folder: str, kill_at: int) -> None:
        self.folder = folder
        self.kill_at = kill_at
        self.count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == 'open' and set(str(arguments[1])) & set('wax')):
            # A name without a folder is one in a folder that is being removed.
            path = str(arguments[0])
            if path.startswith(self.folder) or '/' not in path:
                self.count += 1
                if self.count == self.kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)


def run(request: dict[str, Any]) -> None:
    """The child's part."""
    log = os.open(request['log'], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # Its own is shared between processes: a child that is killed would keep it from all others.
    tqdm.set_lock(threading.RLock())
    # Where a run that hangs does so: it is told before the limit ends it.
    faulthandler.dump_traceback_later(LIMIT - 10)
    changes = CountedChanges(request['folder'], request.get('kill_at', 0))
    sys.addaudithook(changes)
    status = main(request['arguments'])
    sys.stdout.write(f'\n{changes.count} changes\n')
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def watch(child: int, request: dict[str, Any]) -> dict[str, Any]:
    """Wait for a child's end, or bring it about. It is not reaped before: its id is nobody else's."""
    events, kill_after = Path(request['folder'], 'runs'), request.get('kill_after', float('inf'))
    before, began, started = count(events), None, time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return {'status': os.waitstatus_to_exitcode(status), 'seconds': time.monotonic() - (began or 0)}
        if began is None and count(events) > before:
            began = time.monotonic()
        if began is not None and time.monotonic() - began >= kill_after:
            os.kill(child, signal.SIGKILL)
            kill_after = float('inf')
        if time.monotonic() - started > LIMIT:
            os.kill(child, signal.SIGTERM)
        time.sleep(POLL)


def count(folder: Path) -> int:
    return len(os.listdir(folder)) if folder.is_dir() else 0


def serve() -> None:
    torch.set_num_threads(1)
    # A picture takes longer than all else that is saved, and is no part of a run's state.
    callbacks.plot_history = trainer.plot_history = lambda history, path: None
    # Children inherit what this leaves behind: patterns compiled, tables built.
    cfg = load_config(sys.argv[1])
    load_model(cfg.model_args, load_preprocessor(cfg.model_args))
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                run(request)
            finally:
                os._exit(1)
        print(json.dumps(watch(child, request)), flush=True)


serve()
