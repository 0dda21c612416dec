"""What a few steps of training in PyTorch make of networks, as vectors that tests compare with.

    pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0
    python from_pytorch_training.py     # writes pytorch/trained_*.safetensors beside itself

Float32 on the CPU, random weights and inputs from a fixed seed. Of each network NAME,
trained_NAME.safetensors is its state_dict before training and trained_NAME.vectors.safetensors holds

features, up, magnitude   rows of one stream and what followed them; the last 8 are not learned from
losses      of each step, over all windows of the other rows at once
outputs     what the trained network answers to the windows that end with the last 8 rows

The loss is 0.7 of the cross-entropy of the first answer, a logit, and 0.3 of the Huber loss of the second,
delta 0.5; a row that went up counts 1.5, one that went down 0.5. Gradients are clipped to a norm of 0.8,
weights decay by 0.1, biases, norms and positions do not. Of an autoencoder the loss is the mean squared
difference.
"""

import torch
from torch import nn
from torch.nn import functional as F

from from_pytorch import Autoencoder, FeedForward, Lstm
from from_pytorch_sequence import Cnn, Transformer
from pytorch_common import begin, save

ROWS, HELD_OUT, STEPS = 40, 8, 5


def without_biases(model):
    """A batch norm takes a bias before it off again: its gradient is rounding, of which Adam makes steps."""
    for layer in getattr(model, "layers", None) or model.convs:
        layer.register_parameter("bias", None)
    return model


def loss_of(model, windows, up, magnitude):
    if isinstance(model, Autoencoder):
        return (model(windows) - windows).pow(2).mean()
    answers = model(windows)
    answers = answers[0] if isinstance(answers, tuple) else answers
    cross_entropy = F.binary_cross_entropy_with_logits(answers[:, 0], up, reduction="none")
    huber = F.huber_loss(answers[:, 1], magnitude, reduction="none", delta=0.5)
    counts = 1.5 * up + 0.5 * (1 - up)
    return (counts * (0.7 * cross_entropy + 0.3 * huber)).sum() / counts.sum()


def train(name, model, features, window, optimiser=torch.optim.AdamW):
    rows = torch.randn(ROWS, features)
    up, magnitude = (torch.rand(ROWS) < 0.5).float(), torch.randn(ROWS)
    windows = rows if window == 1 else rows.unfold(0, window, 1).transpose(1, 2)
    first, learned = window - 1, ROWS - HELD_OUT
    begun = {k: v.detach().clone() for k, v in model.state_dict().items()}
    decays = lambda name, tensor: tensor.dim() > 1 and name != "position"
    groups = [
        {"params": [p for n, p in model.named_parameters() if decays(n, p)], "weight_decay": 0.1},
        {"params": [p for n, p in model.named_parameters() if not decays(n, p)], "weight_decay": 0.0},
    ]
    steps, losses = optimiser(groups, lr=0.01), []
    model.train()
    for _ in range(STEPS):
        steps.zero_grad()
        loss = loss_of(model, windows[: learned - first], up[first:learned], magnitude[first:learned])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.8)
        steps.step()
        losses.append(loss.detach())
    model.eval()
    outputs = model(windows[-HELD_OUT:])
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    vectors = dict(
        features=rows, up=up, magnitude=magnitude, losses=torch.stack(losses), outputs=outputs)
    model.load_state_dict(begun)
    save(f"trained_{name}", model, **vectors)


def main():
    begin(7)
    dense = FeedForward(6, [16, 8], 2, torch.relu, norms=True)
    train("feed_forward", without_biases(dense), 6, 1)
    train("lstm", Lstm(6, [9, 5], 2, single=False), 6, 7)
    cnn = Cnn(6, [8, 7], 2, 9, dilations=[1, 2], pooling="mean", activation=F.silu, norms=True)
    train("cnn", without_biases(cnn), 6, 9, torch.optim.Adam)
    before = Transformer(6, 2, 6, 12, 3, 2, 20, "gelu", position=True, norm=True)
    train("transformer", before, 6, 6)
    after = Transformer(6, 2, 6, 12, 2, 1, 20, norm_first=False, causal=True, bias=True)
    train("transformer_causal", after, 6, 6)
    train("autoencoder", Autoencoder(6, [5, 3], torch.tanh), 6, 1)


if __name__ == "__main__":
    main()
