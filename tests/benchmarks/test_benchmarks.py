"""Every benchmark, on inputs that take seconds: it runs to its end and says what it measured. Speed is not judged."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.blimp import find_archive

#: What a benchmark compares with, beyond what is installed for the tests.
PEERS = {"scoring": "minicons", "joining": "duckdb"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_to_its_end(name: str) -> None:
    peer = PEERS.get(name)
    if peer is not None and importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed; `make bench` installs it")
    if name == "resume" and os.environ.get("DATABASE_URL"):
        pytest.skip("the server that DATABASE_URL names is not ours to kill")
    if name == "blimp" and find_archive() is None:
        pytest.skip("WAREHOUSE_TEST_DATA names no folder with blimp/BLiMP.zip")
    claims = list(importlib.import_module(f"benchmarks.{name}").claims(small=True))
    assert claims
    assert len({(claim.name, claim.device) for claim in claims}) == len(claims)
    for claim in claims:
        assert math.isfinite(claim.ratio), claim
        assert claim.ours, claim
        assert claim.other, claim
        assert claim.device in ("cpu", "cuda")
