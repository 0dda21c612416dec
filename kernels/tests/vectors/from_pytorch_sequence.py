"""What PyTorch makes of convolutional networks and transformers, as vectors that tests compare with.

    pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0
    python from_pytorch_sequence.py     # writes pytorch/*.safetensors beside itself

Float32 on the CPU, random weights and inputs from a fixed seed. Of each network NAME,
NAME.safetensors is its state_dict and NAME.vectors.safetensors holds

inputs, outputs    [windows, steps, features] and what the network makes of each window
stream, streamed   [long, features] and the answer at each of its steps: a convolution with the whole
    past, pooled over the newest `steps` columns; an encoder whose mask lets each position see itself and
    the `steps` - 1 before it

layers.vectors.safetensors holds single layers, their weights under the layer's name.
"""

import math

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from pytorch_common import HERE, begin, randomise_norms, save

LONG = 3


class Cnn(nn.Module):
    def __init__(self, inputs, channels, outputs, steps, kernel=3, dilations=None, pooling="last",
                 activation=F.relu, norms=False, output=nn.Identity()):
        super().__init__()
        widths = [inputs, *channels]
        self.dilations = dilations or [1] * len(channels)
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, kernel, dilation=d)
            for a, b, d in zip(widths, widths[1:], self.dilations))
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for b in channels) if norms else None
        self.head = nn.Linear(widths[-1], outputs)
        self.steps, self.kernel, self.pooling = steps, kernel, pooling
        self.activation, self.output = activation, output

    def columns(self, x):
        x = x.transpose(1, 2)
        for n, conv in enumerate(self.convs):
            x = conv(F.pad(x, ((self.kernel - 1) * self.dilations[n], 0)))
            x = self.activation(self.norms[n](x) if self.norms else x)
        return x

    def answer(self, columns):
        pooled = {
            "last": lambda: columns[:, :, -1],
            "mean": lambda: columns.mean(2),
            "max": lambda: columns.amax(2),
        }[self.pooling]()
        return self.output(self.head(pooled))

    def forward(self, x):
        return self.answer(self.columns(x))

    def streamed(self, x):
        columns = self.columns(x[None])
        ends = range(1, x.shape[0] + 1)
        return torch.cat([self.answer(columns[:, :, max(0, e - self.steps):e]) for e in ends])


def alibi(heads):
    """Slopes as the paper gives them for any number of heads."""
    whole = 2 ** math.floor(math.log2(heads))
    sequence = lambda n: [2 ** (-8 * (i + 1) / n) for i in range(n)]
    return torch.tensor((sequence(whole) + sequence(2 * whole)[::2])[:heads])


class Transformer(nn.Module):
    def __init__(self, inputs, outputs, steps, d_model, heads, layers, feed_forward, activation="relu",
                 norm_first=True, causal=False, bias=False, position=False, norm=False,
                 output=nn.Identity()):
        super().__init__()
        self.input = nn.Linear(inputs, d_model)
        self.position = nn.Parameter(torch.randn(steps, d_model)) if position else None
        block = nn.TransformerEncoderLayer(
            d_model, heads, feed_forward, 0.0, activation, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(
            block, layers, nn.LayerNorm(d_model) if norm else None, enable_nested_tensor=False)
        self.head = nn.Linear(d_model, outputs)
        self.steps, self.heads, self.causal, self.bias, self.output = steps, heads, causal, bias, output

    def mask(self, batch, steps):
        distance = torch.arange(steps)[:, None] - torch.arange(steps)[None, :]
        mask = torch.zeros(self.heads, steps, steps)
        if self.bias:
            mask = mask - alibi(self.heads)[:, None, None] * distance.abs()
        if self.causal:
            mask = mask.masked_fill((distance < 0) | (distance >= self.steps), -math.inf)
        return mask.repeat(batch, 1, 1)

    def positions(self, x):
        x = self.input(x)
        x = x if self.position is None else x + self.position
        return self.output(self.head(self.encoder(x, self.mask(x.shape[0], x.shape[1]))))

    def forward(self, x):
        return self.positions(x)[:, -1]

    def streamed(self, x):
        return self.positions(x[None])[0]


def randomise(model):
    """PyTorch begins with norms of one and zero and biases of zero."""
    randomise_norms(model)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.normal_(1.0 if name.endswith("weight") else 0.0, 0.5)
        elif name.endswith("bias"):
            parameter.data.normal_(0.0, 0.3)


def sequence(name, model, inputs, steps, streams):
    randomise(model)
    model.eval()
    windows = torch.randn(3, steps, inputs)
    vectors = dict(inputs=windows, outputs=model(windows))
    if streams:
        stream = torch.randn(LONG * steps, inputs)
        vectors |= dict(stream=stream, streamed=model.streamed(stream))
    save(name, model, **vectors)


def layers():
    vectors = {}

    def keep(name, layer, inputs, outputs):
        vectors.update({f"{name}.{k}": v for k, v in layer.state_dict().items()})
        vectors.update({f"{name}.inputs": inputs, f"{name}.outputs": outputs})

    norm = nn.LayerNorm(24)
    randomise(norm), nn.init.normal_(norm.weight)
    x = 5 * torch.randn(7, 24) + 2
    keep("layer_norm", norm, x, norm(x))
    conv = nn.Conv1d(5, 18, 3, dilation=2)
    x = torch.randn(11, 5)
    keep("conv", conv, x, conv(F.pad(x.T, (4, 0))).T)
    attention = nn.MultiheadAttention(24, 3, batch_first=True)
    randomise(attention)
    # Large enough that the softmax is far from even.
    x = 3 * torch.randn(19, 24)
    keep("attention", attention, x, attention(x, x, x, need_weights=False)[0])
    vectors = {name: tensor.contiguous() for name, tensor in vectors.items()}
    save_file(vectors, HERE / "layers.vectors.safetensors")


def main():
    begin(62)
    # For inference PyTorch 2.15 has a second way through an encoder, which takes a mask of numbers for one
    # of yes and no and so loses linear biases; training goes this way.
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        layers()
        cnn = lambda name, steps=20, **more: sequence(
            name, Cnn(7, [20, 16], 2, steps, **more), 7, steps, True)
        cnn("cnn_last")
        cnn("cnn_mean", dilations=[1, 4], norms=True, activation=F.silu, pooling="mean")
        cnn("cnn_max", kernel=2, dilations=[3, 2], activation=torch.tanh, pooling="max",
            output=nn.Sigmoid())
        encoder = lambda name, d=32, heads=4, inputs=7, steps=20, **more: sequence(
            name, Transformer(inputs, 2, steps, d, heads, 2, 40, **more), inputs, steps,
            more.get("causal", False))
        encoder("transformer_window", position=True, norm=True)
        encoder("transformer_post", norm_first=False, activation="gelu", output=nn.Tanh())
        encoder("transformer_wide_heads", d=40, heads=2, bias=True)
        encoder("transformer_causal", causal=True, norm=True)
        encoder("transformer_alibi", d=36, heads=3, causal=True, bias=True, norm_first=False)


if __name__ == "__main__":
    main()
