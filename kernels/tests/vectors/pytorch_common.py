"""What the scripts that make PyTorch's vectors share: the seed, random weights, the files."""

import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent / "pytorch"


def begin(seed):
    """One thread, float32, a fixed seed: the same files every time."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(seed)


def randomise_norms(model):
    """Gives batch norms what they would have after training, not their initial zeros and ones."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 3.0)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)


def save(name, model, **vectors):
    """Writes NAME.safetensors, the state_dict, and NAME.vectors.safetensors, inputs and outputs."""
    HERE.mkdir(exist_ok=True)
    plain = lambda tensors: {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    save_file(plain(model.state_dict()), HERE / f"{name}.safetensors")
    save_file(plain(vectors), HERE / f"{name}.vectors.safetensors")
