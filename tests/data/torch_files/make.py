"""Write the torch.save files of this folder (needs torch); the tests only read them.

python make.py
"""

from collections import OrderedDict

import numpy as np
import torch

torch.manual_seed(0)
base = torch.randn(6, 8)
whole = torch.randn(64)
layer = torch.nn.Linear(4, 3)
state = layer.state_dict()  # carries _metadata
state["transposed"] = base.t()
state["rows"] = base[2:5]
state["columns"] = base[:, 1:8:2]
state["same"] = base
state["first_half"] = whole[:32].view(4, 8)
state["second_half"] = whole[32:].view(4, 8)
state["expanded"] = torch.randn(1, 5).expand(3, 5)
state["half"] = torch.randn(3, 4).half()
state["brain"] = torch.randn(3, 4).bfloat16()
state["parameter"] = torch.nn.Parameter(torch.randn(2, 2))
state["scalar"] = torch.tensor(2.5)
state["loss.steps"] = torch.tensor(7)
state["empty"] = torch.empty(0, 3)
state["double"] = torch.randn(2, 2, dtype=torch.float64)
state["flags"] = torch.tensor([True, False])

np.savez("expected.npz", **{name: t.detach().float().numpy() for name, t in state.items()})
trained = {
    "state_dict": state,
    "epoch": 3,
    "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "lr": 1e-4}],
    "hyper": OrderedDict(a=(1, 2.0, None, True, "x", b"y"), size=torch.Size([1, 2])),
    "dtype": torch.float32,
}
torch.save(trained, "zip.ckpt")
torch.save(trained, "legacy.ckpt", _use_new_zipfile_serialization=False)
torch.save(state, "bare.bin")
torch.save(layer, "module.pt")
torch.serialization.set_crc32_options(False)
torch.save(trained, "without_crc.ckpt")
