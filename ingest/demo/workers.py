"""The demo's training processes: starting them, handing out runs, listening, and ending them.

A worker is ``python -m ingest.demo.train`` rather than a ``multiprocessing`` child: it works from any caller, with or
without a ``__main__`` guard, and inherits no threads or locks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType

from ingest.demo.recipe import Run
from warehouse.errors import RunFailed

_PACKAGES = Path(__file__).parents[2]


class TrainingFailed(RunFailed):
    """A training process of the demo ended before its run was finished."""


class Worker:
    """One training process, which trains one run at a time."""

    def __init__(
        self, number: int, work_folder: Path, checkpoints: Path, answers: SimpleQueue[tuple[Worker, str]]
    ) -> None:
        """Start the process; each of its answers is put into ``answers``, and an empty one when it has ended."""
        self.log = work_folder / f"worker{number}.log"
        # -P: a file in the caller's folder must not hide a module of the standard library.
        command = [sys.executable, "-P", "-m", "ingest.demo.train", str(work_folder), str(checkpoints)]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=_environment(), encoding="utf-8"
            )
        self._answers = answers
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process: at once after an error or Ctrl-C, else when it has seen that there is nothing more to do."""
        if kind is not None:
            self._process.kill()
        self._close()

    def train(self, run: Run) -> None:
        """Hand the worker its next run."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the process has ended, and the listener says so
            self._process.stdin.write(json.dumps(asdict(run)) + "\n")
            self._process.stdin.flush()

    def last_words(self) -> str:
        """The last line the process wrote to its log: as a rule the error that ended it."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put((self, line.strip()))
        self._answers.put((self, ""))

    def _close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._listener.join()
        self._process.stdout.close()


def train_in_processes(
    runs: Sequence[Run], work_folder: Path, checkpoints: Path, processes: int, trained: Callable[[int], None]
) -> None:
    """Train ``runs`` in up to ``processes`` processes, and call ``trained`` with each number of steps done.

    Whatever ends this function, an exception from ``trained`` or Ctrl-C included, no process outlives it.
    Raises TrainingFailed when a process ends early.
    """
    waiting = deque(runs)
    answers: SimpleQueue[tuple[Worker, str]] = SimpleQueue()
    with ExitStack() as stack:
        for number in range(min(processes, len(runs))):
            stack.enter_context(Worker(number, work_folder, checkpoints, answers)).train(waiting.popleft())
        unfinished = len(runs)
        while unfinished:
            worker, answer = answers.get()
            if not answer:
                raise TrainingFailed(
                    f"Training the demo stopped: {worker.last_words()} (see {worker.log}). Run it again."
                )
            if answer != "finished":
                trained(int(answer))
                continue
            unfinished -= 1
            if waiting:
                worker.train(waiting.popleft())


def available_processes() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _environment() -> dict[str, str]:
    """The caller's environment, with these packages importable and one thread to a process.

    The malloc settings keep glibc from returning the logits' memory after each step, which cost a sixth of the time.
    """
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    memory = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_TOP_PAD_": str(2**28)}
    return {**os.environ, **threads, **memory, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
