"""What PyTorch makes of feed-forward networks, autoencoders and LSTMs, as vectors that tests compare with.

    pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0
    python from_pytorch.py     # writes pytorch/*.safetensors beside itself

Float32 on the CPU, random weights and inputs from a fixed seed. Of each network NAME,
NAME.safetensors is its state_dict and NAME.vectors.safetensors holds

inputs    [rows, features], or [windows, steps, features] of an LSTM
outputs   what the network makes of them
stream, streamed   of an LSTM: [steps, features] fed one by one with the state carried, and its answers
"""

import torch
from torch import nn

from pytorch_common import begin, randomise_norms, save


class FeedForward(nn.Module):
    def __init__(self, inputs, hidden, outputs, activation, output=nn.Identity(), norms=False):
        super().__init__()
        widths = [inputs, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for b in hidden) if norms else None
        self.head = nn.Linear(widths[-1], outputs)
        self.activation, self.output = activation, output

    def forward(self, x):
        for n, layer in enumerate(self.layers):
            x = layer(x)
            x = self.activation(self.norms[n](x) if self.norms else x)
        return self.output(self.head(x))


class Autoencoder(nn.Module):
    def __init__(self, inputs, encoder, activation):
        super().__init__()
        widths = [inputs, *encoder]
        linear = lambda widths: nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.encoder, self.decoder = linear(widths), linear(widths[::-1])
        self.activation = activation

    def forward(self, x):
        layers = [*self.encoder, *self.decoder]
        for layer in layers[:-1]:
            x = self.activation(layer(x))
        return layers[-1](x)


class Lstm(nn.Module):
    """One nn.LSTM of equal layers, or one for each width."""

    def __init__(self, inputs, hidden, outputs, single):
        super().__init__()
        if single:
            self.lstm = nn.LSTM(inputs, hidden[0], len(hidden), batch_first=True)
        else:
            widths = [inputs, *hidden]
            pairs = zip(widths, widths[1:])
            self.lstm = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in pairs)
        self.head = nn.Linear(hidden[-1], outputs)

    def forward(self, x, states=None):
        layers = self.lstm if isinstance(self.lstm, nn.ModuleList) else [self.lstm]
        states = states or [None] * len(layers)
        carried = []
        for layer, state in zip(layers, states):
            x, state = layer(x, state)
            carried.append(state)
        return self.head(x[:, -1]), carried


def rows(name, model, count, features):
    randomise_norms(model)
    model.eval()
    inputs = torch.randn(count, features)
    save(name, model, inputs=inputs, outputs=model(inputs))


def windows(name, model, count, steps, features, stream_steps):
    model.eval()
    inputs, stream = torch.randn(count, steps, features), torch.randn(stream_steps, features)
    answers, states = [], None
    for row in stream:
        answer, states = model(row.view(1, 1, -1), states)
        answers.append(answer[0])
    outputs = model(inputs)[0]
    save(name, model, inputs=inputs, outputs=outputs, stream=stream, streamed=torch.stack(answers))


@torch.no_grad()
def main():
    begin(6)
    rows("feed_forward", FeedForward(50, [128, 64, 32], 1, torch.relu), 9, 50)
    norms = FeedForward(13, [37, 20], 3, nn.functional.silu, torch.sigmoid, norms=True)
    rows("feed_forward_norms", norms, 9, 13)
    rows("linear", FeedForward(7, [], 2, torch.relu, torch.tanh), 5, 7)
    activations = dict(
        leaky_relu=nn.functional.leaky_relu, elu=nn.functional.elu, gelu=nn.functional.gelu,
        sigmoid=torch.sigmoid, tanh=torch.tanh,
    )
    for name, activation in activations.items():
        rows(f"feed_forward_{name}", FeedForward(6, [19], 2, activation), 5, 6)
    rows("autoencoder", Autoencoder(24, [32, 16, 8], torch.relu), 9, 24)
    windows("lstm", Lstm(12, [64, 32], 2, single=False), 5, 50, 12, 70)
    windows("lstm_single", Lstm(10, [20, 20, 20], 1, single=True), 3, 11, 10, 70)


if __name__ == "__main__":
    main()
