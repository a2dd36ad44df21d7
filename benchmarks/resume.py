"""Resume: the wall time that ten kills cost an ingestion of sixty checkpoints, of the ingester and the server in turn.

Whole processes on a real server: what a kill costs is starting the command again, or the server's recovery, and the
step that was under way.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from benchmarks.claim import Claim
from benchmarks.models import SMALL, Shape, random_ids, random_model, word_tokenizer, words
from benchmarks.scratch import scratch_folder
from ingest.architecture import quiet_transformers
from warehouse.cluster import READER
from warehouse.database import Database
from warehouse.embedded import EmbeddedServer
from warehouse.migration import upgrade

KILLS = 10
SEEDS = 3
#: A kill may cost a start of the command, and one step done again with the readings of two others; twice that is too
#: much.
BOUND = 2.0
_COMMAND = "from warehouse.cli import main; main()"
_SHAPE = Shape("resume", hidden=64, layers=4, heads=4, length=4_000, width=4_096, context=512)


def claims(*, small: bool = False) -> Iterator[Claim]:
    """One claim: seconds lost a kill, over those of starting the command and doing a step."""
    if os.environ.get("DATABASE_URL"):
        return  # a server of somebody else's is not killed
    steps, n_tokens, shape = (6, 600, SMALL) if small else (20, 8_000, _SHAPE)
    with scratch_folder() as folder:
        study = _write_study(folder, shape, steps, n_tokens)
        undisturbed = _Run(folder / "undisturbed", study)
        alone = undisturbed.finish()
        start = undisturbed.finish()
        undisturbed.server.stop()
        killed = _Run(folder / "killed", study)
        disturbed = killed.finish(kills=2 if small else KILLS, within=alone - start)
        killed.server.stop()
    kills = len(killed.moments)
    lost = (disturbed - alone) / kills
    unavoidable = start + (alone - start) / steps
    yield Claim.at_most(
        f"wall time lost by a kill, {kills} kills in a run of {SEEDS * steps} checkpoints",
        lost / unavoidable,
        BOUND,
        ours=f"{lost:.2f} s",
        other=f"{unavoidable:.2f} s to start the command and do one step",
        note=f"kill -9 of the ingester, a backend and the postmaster in turn, at random moments: {disturbed:.1f} s "
        f"in place of {alone:.1f} s; starting the command alone takes {start:.1f} s",
    )


@dataclass
class _Run:
    """A server, its database, and the ingestion of a study into it. moments: evaluations done at each kill."""

    home: Path
    study: Path
    moments: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = EmbeddedServer(self.home, say=lambda _: None)
        self.server.start()
        self.database = Database(self.server.url(), self.server.url(READER), embedded=True, server=self.server)
        upgrade(self.database)

    def finish(self, kills: int = 0, within: float = 0.0) -> float:
        """Seconds until the study is ingested; within: the seconds that an undisturbed run works."""
        draw = random.Random(kills)
        started = time.perf_counter()
        ingester = self._start()
        for number in range(kills):
            self._work_on(ingester, draw.uniform(0, within / kills / 2))
            if ingester.poll() is not None:
                break
            self.moments.append(self._n_evaluations())
            ingester = self._kill(ingester, number)
        if ingester.wait() != 0:
            raise RuntimeError(f"the ingestion ended with {ingester.returncode}")
        return time.perf_counter() - started

    def _work_on(self, ingester: subprocess.Popen[bytes], seconds: float) -> None:
        """Wait until the ingestion has done something new, then some seconds more."""
        before = self._n_evaluations()
        while ingester.poll() is None and self._n_evaluations() == before:
            time.sleep(0.05)
        time.sleep(seconds)

    def _kill(self, ingester: subprocess.Popen[bytes], number: int) -> subprocess.Popen[bytes]:
        """Kill the ingester, a backend or the postmaster; returns the ingester that goes on."""
        if number % 2 == 0:
            ingester.kill()
            ingester.wait()
            return self._start()
        if number % 4 == 1:
            with suppress(psycopg.OperationalError), self.database.connect() as connection:
                os.kill(connection.info.backend_pid, signal.SIGKILL)
        else:
            pid = self.server.status().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        return ingester

    def _n_evaluations(self) -> int:
        self.database.revive()
        with self.database.connect() as connection:
            row = connection.execute("select count(*) from warehouse.evaluation where status = 'complete'").fetchone()
        return int(row[0]) if row else 0

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _COMMAND, "ingest", str(self.study), "--device", "cpu"]
        environment = {**os.environ, "WAREHOUSE_HOME": str(self.home), "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _write_study(folder: Path, shape: Shape, steps: int, n_tokens: int) -> Path:
    """A study of random checkpoints on random words, in files."""
    tokenizer = word_tokenizer(shape)
    for seed in range(SEEDS):
        for step in range(steps):
            checkpoint = folder / "models" / "made-up" / f"seed{seed}" / f"step{step}"
            with quiet_transformers():
                random_model(shape, 1000 * seed + step).save_pretrained(checkpoint)
            tokenizer.save_pretrained(checkpoint)
    text = folder / "words.txt"
    text.write_text(words(random_ids(shape, n_tokens)[1:]), "utf-8")
    study = folder / "resume.toml"
    study.write_text(
        f'root = "{folder / "models"}"\nlayers = ["document"]\n[corpus]\npath = "{text}"\nname = "words"\n'
        f"[protocol]\nwindow = {shape.context}\n"
    )
    return study
