"""Where a value was computed: the same description each time, and the path that tiles take."""

from __future__ import annotations

import pytest
import torch

from ingest.environment import NoDevice, choose_device, describe_environment


def test_the_description_is_the_same_each_time_and_says_which_kernels_ran() -> None:
    first = describe_environment("cpu", "sdpa", "compiled")
    assert first == describe_environment("cpu", "sdpa", "compiled")
    assert first["kernels"] == "compiled"
    assert describe_environment("cpu", "sdpa")["kernels"] == "eager"
    assert (first["torch"], first["threads"]) == (torch.__version__, torch.get_num_threads())


@pytest.mark.parametrize("name", ["nonsense", "meta"])
def test_a_device_that_cannot_be_had_is_refused(name: str) -> None:
    with pytest.raises(NoDevice, match="use cpu, cuda or auto"):
        choose_device(name)
