"""ONNX Runtime and PyTorch on the networks of kernels/benches/predictors.rs: one thread.

The networks, the calls and the table are those of the Rust bench, which `make bench-predictors` runs just
before. Weights are random; what an answer takes does not depend on them. Inputs and outputs of ONNX
Runtime are bound once (IoBinding), so that a call copies nothing; PyTorch runs without gradients, and an LSTM
step both as nn.LSTM and as the cell written out and traced, which is faster at batch 1. Outputs of the
two are compared before anything is timed. Cold: a buffer of 8 MiB is written before each call.

    PYTHON benches/peers/predictors.py [--calls N] [--cold-calls N]
"""

import argparse
import io
import os
import sys
import time
import warnings

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

try:
    import numpy as np
    import onnx
    import onnxruntime
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from torch import nn
except ImportError as missing:
    print(f"skipped: {missing} (pip install -r benches/peers/predictors.txt)")
    sys.exit(0)

ROWS = 64
# Windows answered in one call, for the rows that say so.
BATCH = 16
COLD_BYTES = 8 << 20
# name, features, layers x units, steps of a window
LSTMS = [("LSTM_A", 100, 2, 100, 50), ("LSTM_B", 250, 3, 200, 100)]
MLP = [50, 128, 64, 32, 1]
# features, steps, width, layers, heads, feed-forward
TRANSFORMER = (50, 50, 64, 2, 4, 256)


class Lstm(nn.Module):
    """A stack of LSTM layers and one output."""

    def __init__(self, inputs, layers, hidden):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x, h, c):
        y, (h, c) = self.lstm(x, (h, c))
        return self.head(y[:, -1]), h, c


class Cells(nn.Module):
    """The same weights with the cell written out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, h, c):
        lstm, hs, cs = self.model.lstm, [], []
        y = x[:, 0]
        for layer in range(lstm.num_layers):
            w, u = getattr(lstm, f"weight_ih_l{layer}"), getattr(lstm, f"weight_hh_l{layer}")
            b = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
            gates = torch.addmm(b, y, w.t()) + h[layer] @ u.t()
            i, f, g, o = gates.chunk(4, 1)
            cell = torch.sigmoid(f) * c[layer] + torch.sigmoid(i) * torch.tanh(g)
            y = torch.sigmoid(o) * torch.tanh(cell)
            hs.append(y)
            cs.append(cell)
        return self.model.head(y), torch.stack(hs), torch.stack(cs)


class Transformer(nn.Module):
    """An encoder over the window; the last position is the answer."""

    def __init__(self, features, steps, width, layers, heads, feed_forward):
        super().__init__()
        self.input = nn.Linear(features, width)
        self.position = nn.Parameter(torch.randn(steps, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, feed_forward, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.encoder(self.input(x) + self.position)[:, -1])


def mlp():
    layers = []
    for a, b in zip(MLP, MLP[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lstm_onnx(model, inputs, layers, hidden, steps, batch):
    """The stack as ONNX's own LSTM operator, which keeps gates in another order (i, o, f, c)."""
    nodes, tensors = [], []

    def constant(name, value):
        array = np.ascontiguousarray(value.detach().numpy())
        tensors.append(numpy_helper.from_array(array, name))
        return name

    def reordered(t):
        i, f, g, o = t.chunk(4, 0)
        return torch.cat([i, o, f, g], 0)

    y = "x"
    for k in range(layers):
        lstm = model.lstm
        w = constant(f"w{k}", reordered(getattr(lstm, f"weight_ih_l{k}"))[None])
        u = constant(f"u{k}", reordered(getattr(lstm, f"weight_hh_l{k}"))[None])
        b = torch.cat([reordered(getattr(lstm, f"bias_{part}_l{k}")) for part in ("ih", "hh")])
        b = constant(f"b{k}", b[None])
        nodes.append(
            helper.make_node(
                "LSTM", [y, w, u, b, "", f"h{k}", f"c{k}"], [f"y{k}", f"hn{k}", f"cn{k}"],
                hidden_size=hidden,
            )
        )
        axis = numpy_helper.from_array(np.array([1], dtype=np.int64), f"axis{k}")
        tensors.append(axis)
        nodes.append(helper.make_node("Squeeze", [f"y{k}", f"axis{k}"], [f"z{k}"]))
        y = f"z{k}"
    last = f"hn{layers - 1}"
    tensors.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "axis"))
    nodes.append(helper.make_node("Squeeze", [last, "axis"], ["top"]))
    head = [constant("head_w", model.head.weight), constant("head_b", model.head.bias)]
    nodes.append(helper.make_node("Gemm", ["top", *head], ["out"], transB=1))
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    states = [f"{s}{k}" for k in range(layers) for s in "hc"]
    ends = [f"{s}n{k}" for k in range(layers) for s in "hc"]
    graph = helper.make_graph(
        nodes,
        "lstm",
        [value("x", [steps, batch, inputs])] + [value(n, [1, batch, hidden]) for n in states],
        [value("out", [batch, 1])] + [value(n, [1, batch, hidden]) for n in ends],
        tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto.SerializeToString(), list(zip(states, ends))


def session(proto):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])


class Bound:
    """A session whose inputs and outputs are bound once. A step's state goes back and forth between two buffers."""

    def __init__(self, proto, x, states=()):
        self.session = session(proto)
        self.x = onnxruntime.OrtValue.ortvalue_from_numpy(x)
        shape = {i.name: i.shape for i in self.session.get_inputs()}
        empty = lambda s: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(s, np.float32))
        self.out = empty(self.session.get_outputs()[0].shape)
        sides = [[empty(shape[name]) for name, _ in states] for _ in range(2)]
        names = [o.name for o in self.session.get_outputs()]
        self.bindings = []
        for before, after in ((0, 1), (1, 0)):
            binding = self.session.io_binding()
            binding.bind_ortvalue_input(self.session.get_inputs()[0].name, self.x)
            binding.bind_ortvalue_output(names[0], self.out)
            for k, (start, end) in enumerate(states):
                binding.bind_ortvalue_input(start, sides[before][k])
                binding.bind_ortvalue_output(end, sides[after][k])
            self.bindings.append(binding)
        self.turn = 0

    def __call__(self, x):
        self.x.update_inplace(x)
        self.session.run_with_iobinding(self.bindings[self.turn])
        self.turn ^= 1
        return self.out.numpy()


def measure(name, backend, call, inputs, calls, cold_calls):
    """A row of the table; only the call itself is timed."""
    clock = time.perf_counter_ns
    for k in range(calls // 10):
        call(inputs[k % len(inputs)])
    warm = np.empty(calls, np.int64)
    for k in range(calls):
        x = inputs[k % len(inputs)]
        start = clock()
        call(x)
        warm[k] = clock() - start
    buffer = np.zeros(COLD_BYTES, np.uint8)
    cold = np.empty(cold_calls, np.int64)
    for k in range(cold_calls):
        buffer += 1
        x = inputs[k % len(inputs)]
        start = clock()
        call(x)
        cold[k] = clock() - start
    cells = [f"{np.quantile(t, q) / 1e3:.2f}" for t in (warm, cold) for q in (0.5, 0.99, 0.999)]
    print(f"| {name} | {backend} | {' | '.join(cells)} | {calls} | {cold_calls} |", flush=True)


def agree(name, ours, theirs):
    worst = float(np.max(np.abs(np.asarray(ours) - np.asarray(theirs))))
    if worst > 1e-5:
        sys.exit(f"{name}: the two differ by {worst}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--calls", type=int, default=100_000)
    arguments.add_argument("--cold-calls", type=int, default=2_000)
    options = arguments.parse_args()
    # Tracing and the old exporter say that they are deprecated; they are also the faster ones at batch 1.
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    table = lambda *s: rng.uniform(-1, 1, s).astype(np.float32)

    print(f"\nPyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, microseconds\n")
    print("| network | peer | warm p50 | p99 | p99.9 | cold p50 | p99 | p99.9 | calls | cold calls |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    with torch.inference_mode():
        for name, features, layers, hidden, steps in LSTMS:
            model = Lstm(features, layers, hidden).eval()
            kinds = [("step", 1, 1, 1), ("window", steps, 1, 100)]
            if name == "LSTM_A":
                kinds.append((f"window × {BATCH}", steps, BATCH, 100))
            for kind, length, batch, share in kinds:
                zeros = tuple(torch.zeros(layers, batch, hidden) for _ in "hc")
                x = [table(length, batch, features) for _ in range(ROWS)]
                as_torch = [torch.from_numpy(a).transpose(0, 1).contiguous() for a in x]
                proto, states = lstm_onnx(model, features, layers, hidden, length, batch)
                runtime = Bound(proto, x[0], states)
                agree(name, runtime(x[0]), model(as_torch[0], *zeros)[0].numpy())
                calls = (options.calls // share, max(options.cold_calls // share, 100))
                title = f"{name} {kind}"
                if kind != "step":
                    # A fresh window: the state of the call before is no matter, only its time.
                    measure(title, "ONNX Runtime", runtime, x, *calls)
                    whole = lambda a, model=model, zeros=zeros: model(a, *zeros)
                    measure(title, "PyTorch", whole, as_torch, *calls)
                    continue
                measure(title, "ONNX Runtime", runtime, x, *calls)
                state = list(zeros)

                def step(a, run, state=state):
                    _, state[0], state[1] = run(a, *state)

                measure(title, "PyTorch nn.LSTM", lambda a: step(a, model), as_torch, *calls)
                cells = torch.jit.freeze(torch.jit.trace(Cells(model).eval(), (as_torch[0], *zeros)))
                agree(name, cells(as_torch[0], *zeros)[0], model(as_torch[0], *zeros)[0])
                measure(title, "PyTorch, traced cells", lambda a: step(a, cells), as_torch, *calls)

        transformer, window = Transformer(*TRANSFORMER), (TRANSFORMER[1], TRANSFORMER[0])
        for name, model, shape in (
            ("MLP 50-128-64-32-1", mlp(), (1, MLP[0])),
            ("transformer window", transformer, (1, *window)),
            (f"transformer window × {BATCH}", transformer, (BATCH, *window)),
        ):
            model = model.eval()
            x = [table(*shape) for _ in range(ROWS)]
            as_torch = [torch.from_numpy(a) for a in x]
            share = 1 if len(shape) == 2 else 100
            calls = (options.calls // share, max(options.cold_calls // share, 100))
            traced = torch.jit.freeze(torch.jit.trace(model, as_torch[0], check_trace=False))
            runtime = Bound(exported(model, as_torch[0]), x[0])
            agree(name, runtime(x[0]), model(as_torch[0]).numpy())
            measure(name, "ONNX Runtime", runtime, x, *calls)
            measure(name, "PyTorch", model, as_torch, *calls)
            measure(name, "PyTorch, traced", traced, as_torch, *calls)


def exported(model, example):
    file = io.BytesIO()
    # The fused layer has no counterpart in ONNX.
    torch.backends.mha.set_fastpath_enabled(False)
    torch.onnx.export(model, (example,), file, dynamo=False, opset_version=17)
    torch.backends.mha.set_fastpath_enabled(True)
    return file.getvalue()


if __name__ == "__main__":
    main()
