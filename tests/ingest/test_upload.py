"""Tensors on their way to the device: as stored, and on a CPU not moved at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ingest.checkpoints import CheckpointReader
from ingest.upload import upload, use_on_current_stream
from ingest.weights import read_weights
from tests import models


@pytest.fixture
def half(tmp_path: Path) -> Path:
    return models.save_model(models.make_model().to(torch.float16), tmp_path)


def test_on_a_cpu_weights_are_left_where_they_are(half: Path) -> None:
    weights = read_weights(half)
    assert upload(weights, torch.device("cpu")) is weights
    use_on_current_stream(weights.tensors)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_half_precision_arrives_as_such_and_fills_a_module_of_float32(half: Path) -> None:
    weights = read_weights(half)
    sent = upload(weights, torch.device("cuda"))
    assert sent.sha256 == weights.sha256
    for name, tensor in sent.tensors.items():
        assert (tensor.device.type, tensor.dtype) == ("cuda", torch.float16)
        assert torch.equal(tensor.cpu(), weights.tensors[name])
    reader = CheckpointReader("cuda")
    built = {name: tensor.clone() for name, tensor in reader.load(sent).model.state_dict().items()}
    filled = reader.load(upload(weights, torch.device("cuda"))).model.state_dict()
    assert all(torch.equal(built[name], filled[name]) and built[name].dtype == torch.float32 for name in built)
