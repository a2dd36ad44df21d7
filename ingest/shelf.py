"""Readouts by key: in memory up to a bound, the least recently used on disk, and if wanted kept for later runs.

Moves readouts about; which are wanted, and when, is unknown here.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

import torch

from ingest.kept import kept_file
from ingest.shelved import DamagedReadout, OpenFile, Shelved, read_shelved, write_shelved
from warehouse.errors import RunFailed
from warehouse.home import ensure_home

log = logging.getLogger(__name__)

#: Files begun and never finished, because their process was killed, go after so many seconds.
_ABANDONED = 24 * 3600


class ShelfFull(RunFailed):
    """The disk has too little room for readouts."""


class Shelf:
    """Readouts of checkpoints; use as a context manager.

    memory: bytes of readouts held in memory; what exceeds them goes to a file that has no name, so that it vanishes
    however the process ends. keep: a folder in which each is looked for, as `{key}.safetensors`, and with `keeping`
    also written for good. device: where readouts are wanted. reserve: bytes that stay free on the disks it writes to.
    notice: told of kept files that cannot be used.
    """

    def __init__(
        self,
        memory: int,
        keep: Path | None = None,
        *,
        keeping: bool = True,
        device: str = "cpu",
        spill: Path | None = None,
        reserve: int = 0,
        notice: Callable[[str], None] = log.warning,
    ) -> None:
        self._bound, self._keep, self._keeping, self._device = memory, keep, keeping, torch.device(device)
        self._spill_to, self._notice, self._reserve = spill or _roomy_folder(), notice, reserve
        self._memory: OrderedDict[str, Shelved] = OrderedDict()
        self._stored: dict[str, OpenFile] = {}
        self._damaged: set[str] = set()

    def __enter__(self) -> Shelf:
        if self._keep is not None and self._keeping:
            ensure_home(self._keep)
            _sweep(self._keep)
        _allow_many_files()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.clear()
        self._stored.clear()

    @property
    def n_bytes(self) -> int:
        """Bytes of readouts in memory."""
        return sum(held.n_bytes for held in self._memory.values())

    def __contains__(self, key: str) -> bool:
        """Whether it is here, or was kept by an earlier run and is intact."""
        return key in self._memory or key in self._stored or self._find(key)

    def put(self, key: str, held: Shelved) -> None:
        """Take a readout in, whose tensors are all in memory. Raises ShelfFull where the disk has no room for it."""
        self.drop(key)
        self._damaged.discard(key)
        if self._keep is not None and self._keeping:
            self._stored[key] = self._write_kept(self._keep, key, held)
        self._memory[key] = held
        while self.n_bytes > self._bound:
            oldest, evicted = self._memory.popitem(last=False)
            if oldest not in self._stored:
                self._stored[oldest] = self._write_nameless(evicted)

    def get(self, key: str) -> Shelved:
        """A readout, as it was put; the hidden states of one on disk are read from there. Raises KeyError."""
        if key not in self:
            raise KeyError(key)
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        return read_shelved(self._stored[key], self._device, sealed=False)

    def drop(self, key: str) -> None:
        """Let go of a readout, if it is here; whoever holds it may still use it, and a kept file stays."""
        self._memory.pop(key, None)
        self._stored.pop(key, None)

    def _find(self, key: str) -> bool:
        if self._keep is None or key in self._damaged:
            return False
        path = kept_file(self._keep, key)
        try:
            file = _open(path)
            read_shelved(file, torch.device("cpu"), sealed=True)
        except FileNotFoundError:
            return False
        except (OSError, DamagedReadout) as error:
            self._damaged.add(key)
            self._notice(f"The kept readout {path} is not used: {error} The checkpoint is read again.")
            return False
        self._stored[key] = file
        return True

    def _require_room(self, folder: Path, held: Shelved) -> None:
        if shutil.disk_usage(folder).free < held.n_bytes + self._reserve:
            reason = f"of which {self._reserve / 1e9:.1f} GB must stay free"
            raise _full(folder, held, reason, kept=folder == self._keep)

    def _write_kept(self, folder: Path, key: str, held: Shelved) -> OpenFile:
        self._require_room(folder, held)
        path = kept_file(folder, key)
        descriptor, name = tempfile.mkstemp(suffix=".part", dir=folder)
        try:
            _write(descriptor, folder, held, sealed=True)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return _open(path)

    def _write_nameless(self, held: Shelved) -> OpenFile:
        self._require_room(self._spill_to, held)
        try:
            descriptor, name = tempfile.mkstemp(prefix="warehouse-readout-", dir=self._spill_to)
            os.unlink(name)
            file = OpenFile(os.dup(descriptor))
        except OSError as error:
            raise _full(self._spill_to, held, str(error.strerror), kept=False) from error
        _write(descriptor, self._spill_to, held, sealed=False)
        return file


def default_memory(device: str) -> int:
    """Bytes for readouts where nobody said: a quarter of the memory of the machine, or of the GPU."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1]) // 4
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(installed, int(allowed) if allowed.isdecimal() else installed) // 4


def _open(path: Path) -> OpenFile:
    return OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _write(descriptor: int, folder: Path, held: Shelved, *, sealed: bool) -> None:
    try:
        with _file(descriptor) as file:
            write_shelved(file, held, sealed=sealed)
    except OSError as error:
        raise _full(folder, held, str(error.strerror), kept=sealed) from error


def _full(folder: Path, held: Shelved, reason: str, *, kept: bool) -> ShelfFull:
    otherwise = (
        "or leave out --keep-readouts."
        if kept
        else "set TMPDIR to a folder on another, or allow more memory for readouts."
    )
    return ShelfFull(
        f"A readout of {held.n_bytes / 1e9:.2g} GB cannot be written to {folder} ({reason}): free some of that disk, "
        f"{otherwise}"
    )


def _allow_many_files() -> None:
    """Raise the limit of open files as far as allowed: each readout on disk holds one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _file(descriptor: int) -> IO[bytes]:
    return open(descriptor, "wb")


def _roomy_folder() -> Path:
    """Where to spill: TMPDIR, else /var/tmp, since /tmp is memory on many systems."""
    roomy = Path("/var/tmp")
    if "TMPDIR" not in os.environ and roomy.is_dir() and os.access(roomy, os.W_OK):
        return roomy
    return Path(tempfile.gettempdir())


def _sweep(folder: Path) -> None:
    for part in folder.glob("*.part"):
        if part.stat().st_mtime < time.time() - _ABANDONED:
            part.unlink(missing_ok=True)
