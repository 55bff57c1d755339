"""The training data of a node is one copy, however many processes train from it."""

from __future__ import annotations

import numpy as np
import torch

from sweeps.engine.trainable import resident


def test_the_tensor_is_the_shared_array_itself_and_nothing_warns() -> None:
    """Ray hands every process of a node the same read-only memory; a tensor made of it must not copy it."""
    shared = np.arange(2 * 1 * 4 * 4, dtype=np.uint8).reshape(2, 1, 4, 4)
    shared.flags.writeable = False
    tensor = resident(shared, "grey", torch.device("cpu"))
    assert tensor.data_ptr() == shared.ctypes.data
    assert torch.equal(tensor, torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4))
    assert resident(shared, "grey", torch.device("cpu")) is tensor


def test_another_sweep_in_the_same_process_gets_its_own_data() -> None:
    first, second = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)
    assert resident(first, "zeros", torch.device("cpu")).sum() == 0
    assert resident(second, "ones", torch.device("cpu")).sum() == 6
