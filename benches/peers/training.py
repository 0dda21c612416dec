"""PyTorch on the training steps of kernels/benches/training.rs: one thread, batch 32, AdamW.

The networks, the loss, the clipping, the dropout, the rows and what is timed are those of the Rust bench,
which `make bench-training` runs just before: an epoch of 20 steps is timed by itself, the cutting of windows
out of the table and the loss's way back to a Python number included; the first is not counted. Data are
random; what a step takes does not depend on them. AdamW is PyTorch's fused one, the fastest it has.

    PYTHON benches/peers/training.py [--epochs N]
"""

import argparse
import os
import sys
import time

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as missing:
    print(f"skipped: {missing} (pip install -r benches/peers/predictors.txt)")
    sys.exit(0)

INPUTS, OUTPUTS, BATCH, STEPS_AN_EPOCH, WINDOW = 40, 2, 32, 20, 50


class FeedForward(nn.Module):
    """Dense layers with batch norm and dropout over a window's last step."""

    def __init__(self, hidden, dropout):
        super().__init__()
        layers, inputs = [], INPUTS
        for units in hidden:
            dense = nn.Linear(inputs, units, bias=False)
            layers += [dense, nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(dropout)]
            inputs = units
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, OUTPUTS))

    def forward(self, x):
        return self.layers(x[:, -1])


class Lstm(nn.Module):
    """Stacked layers; the head reads the last step."""

    def __init__(self, hidden):
        super().__init__()
        widths = [INPUTS, *hidden]
        pairs = zip(widths, hidden)
        self.layers = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in pairs)
        self.head = nn.Linear(widths[-1], OUTPUTS)

    def forward(self, x):
        for layer in self.layers:
            x, _ = layer(x)
        return self.head(x[:, -1])


class Cnn(nn.Module):
    """Causal convolutions with batch norm; the head reads the last step."""

    def __init__(self, channels, kernel):
        super().__init__()
        layers, inputs = [], INPUTS
        for outputs in channels:
            conv = nn.Conv1d(inputs, outputs, kernel, bias=False)
            layers += [nn.ConstantPad1d((kernel - 1, 0), 0.0), conv, nn.BatchNorm1d(outputs), nn.ReLU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, OUTPUTS)

    def forward(self, x):
        return self.head(self.layers(x.transpose(1, 2))[:, :, -1])


class Transformer(nn.Module):
    """An encoder with a table of positions; the head reads the last step."""

    def __init__(self, width, layers, heads, feed_forward):
        super().__init__()
        self.input = nn.Linear(INPUTS, width)
        self.position = nn.Parameter(torch.randn(WINDOW, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, feed_forward, dropout=0.0, batch_first=True, norm_first=True)
        norm = nn.LayerNorm(width)
        self.encoder = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)
        self.head = nn.Linear(width, OUTPUTS)

    def forward(self, x):
        return self.head(self.encoder(self.input(x) + self.position)[:, -1])


NETWORKS = [
    ("feed-forward 40-128-64-32-2", lambda: FeedForward([128, 64, 32], 0.2), 1),
    ("LSTM 40-64-32-2, 50 steps", lambda: Lstm([64, 32]), WINDOW),
    ("CNN 40-32-32-32-2, kernel 3, 50 steps", lambda: Cnn([32, 32, 32], 3), WINDOW),
    ("transformer d 64, 2 layers, 4 heads, 50 steps", lambda: Transformer(64, 2, 4, 256), WINDOW),
]


def loss_of(answers, up, magnitude):
    """Of each row 0.7 of its cross-entropy and 0.3 of its Huber loss."""
    cross_entropy = F.binary_cross_entropy_with_logits(answers[:, 0], up)
    return 0.7 * cross_entropy + 0.3 * F.huber_loss(answers[:, 1], magnitude)


def measure(model, window, epochs):
    """Least and median milliseconds of a step."""
    rows = STEPS_AN_EPOCH * BATCH
    table = torch.randn(rows + WINDOW, INPUTS)
    up, magnitude = (torch.rand(rows) < 0.5).float(), torch.randn(rows)
    before = torch.arange(window)
    decays = lambda name, tensor: tensor.dim() > 1 and name != "position"
    groups = [
        {"params": [p for n, p in model.named_parameters() if decays(n, p) == flag], "weight_decay": decay}
        for flag, decay in ((True, 1e-4), (False, 0.0))
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    model.train()
    times = []
    for epoch in range(epochs):
        start = time.perf_counter()
        order, total = torch.randperm(rows), 0.0
        for first in range(0, rows, BATCH):
            chosen = order[first : first + BATCH]
            x = table[chosen[:, None] + before]
            optimiser.zero_grad()
            loss = loss_of(model(x), up[chosen], magnitude[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            total += loss.item()
        if epoch > 0:
            times.append((time.perf_counter() - start) * 1e3 / STEPS_AN_EPOCH)
    times.sort()
    return times[0], times[len(times) // 2]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--epochs", type=int, default=20)
    options = arguments.parse_args()
    if not 2 <= options.epochs <= 10_000:
        sys.exit(f"--epochs {options.epochs}: expected 2 to 10000")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    print(f"\nPyTorch {torch.__version__}, one thread, milliseconds a step\n")
    print("| network | least | median | rows/s |\n|---|--:|--:|--:|")
    for name, network, window in NETWORKS:
        least, median = measure(network(), window, options.epochs)
        print(f"| {name} | {least:.2f} | {median:.2f} | {BATCH / median * 1e3:.0f} |", flush=True)


if __name__ == "__main__":
    main()
