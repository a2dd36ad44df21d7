"""The command line in processes of its own, to be killed: forked from one that has torch loaded, which saves seconds.

A process is as separate as any: its own connections, its own signals, its own exit status.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

#: Seconds after which a process that should have ended is held to hang.
LIMIT = 120.0


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ingest.pipeline", "transformers.models.gpt_neox", "nltk", __name__])
    return context


class Command:
    """`warehouse` with arguments, running in a process of its own."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str | None], rest: float = 0.0
    ) -> None:
        """folder: takes what it prints. environment: variables to set, or to unset with None. rest: see `_rest`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._output, self._errors = folder / "stdout", folder / "stderr"
        self._process = _context().Process(
            target=_run, args=(list(arguments), self._output, self._errors, dict(environment), rest), daemon=True
        )
        self._process.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    @property
    def output(self) -> str:
        """What it printed on stdout so far."""
        return self._output.read_text() if self._output.exists() else ""

    @property
    def errors(self) -> str:
        """What it printed on stderr so far."""
        return self._errors.read_text() if self._errors.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self) -> int:
        """Its exit status, when it has ended; minus the signal's number if one killed it."""
        self._process.join(LIMIT)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"did not end within {LIMIT:.0f} s: {self.output} {self.errors}")
        return self._process.exitcode

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds. Fails if the process ends first."""
        while not condition():
            assert self.running, f"ended too early with {self.wait()}: {self.output} {self.errors}"
            time.sleep(0.01)

    def succeed(self) -> str:
        """What it printed, when it has ended well."""
        status = self.wait()
        assert status == 0, f"ended with {status}: {self.output} {self.errors}"
        return self.output

    def end(self) -> None:
        """Make sure that it is gone."""
        self._process.kill()
        self._process.join()


def _run(arguments: list[str], output: Path, errors: Path, environment: Mapping[str, str | None], rest: float) -> None:
    """The whole life of the process."""
    for path, descriptor in ((output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    # So that a signal to this process alone finds it as a shell's child would be.
    os.setsid()
    _rest(rest)

    from warehouse.cli import main

    main(arguments)


def _rest(seconds: float) -> None:
    """Rest after every checkpoint that is read, so that a signal finds an ingestion at work on the fastest machine."""
    from ingest.progress import TerminalMeter

    count = TerminalMeter.checkpoint

    def rested(meter: TerminalMeter, name: str) -> None:
        count(meter, name)
        time.sleep(seconds)

    TerminalMeter.checkpoint = rested  # type: ignore[method-assign]
