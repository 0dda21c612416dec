"""ONNX files as PyTorch's exporters write them, and what ONNX Runtime makes of them.

    pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1
    python from_onnx.py     # writes onnx/* beside itself

Random weights and inputs from a fixed seed. NAME.onnx is the model, `traced` as the older exporter writes
it (TorchScript) and `exported` as the newer one does (torch.export); NAME.vectors.safetensors holds `inputs`,
[windows, features] or [windows, steps, features], and `outputs`, what ONNX Runtime answers. What exporters add for
people, stack traces for example, is cut off.
"""

import io
import logging
import pathlib
import warnings

import numpy
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from torch import nn

from pytorch_common import begin, randomise_norms

HERE = pathlib.Path(__file__).resolve().parent / "onnx"
WINDOWS, STEPS, FEATURES = 4, 7, 6


class Lstm(nn.Module):
    """Stacked layers of different widths, or a single nn.LSTM of several; the head reads the last step."""

    def __init__(self, widths, layers=1, reads="last step", outputs=1, output=nn.Sigmoid()):
        super().__init__()
        self.lstm = nn.ModuleList(
            nn.LSTM(a, b, layers, batch_first=True) for a, b in zip([FEATURES, *widths], widths))
        self.head = nn.Linear(widths[-1], outputs)
        self.reads, self.output = reads, output

    def forward(self, x):
        for layer in self.lstm:
            x, (hidden, _) = layer(x)
        if self.reads == "hidden":
            return self.output(self.head(hidden[-1]))
        if self.reads == "all steps":
            return self.output(self.head(x))[:, -1]
        return self.output(self.head(x[:, -1]))


class Flat(nn.Module):
    """An answer without an axis of its own, as binary cross-entropy wants it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).squeeze(-1)


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(FEATURES, 5, 3), nn.Linear(5, 1)

    def forward(self, x):
        return torch.sigmoid(self.head(torch.relu(self.conv(x.transpose(1, 2))).mean(2)))


def dense(*widths, activation=nn.ReLU, norms=False, output=nn.Sigmoid):
    layers = []
    for a, b in zip([FEATURES, *widths], widths):
        layers += [nn.Linear(a, b)] + ([nn.BatchNorm1d(b)] if norms else []) + [activation(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear([FEATURES, *widths][-1], 1), *([output()] if output else []))


def exported(model, x, dynamo, dynamic, opset):
    names = dict(input_names=["features"], output_names=["p_up"], opset_version=opset)
    to = io.BytesIO()
    if not dynamo:
        axes = dict(dynamic_axes={"features": {0: "batch"}}) if dynamic else {}
        torch.onnx.export(model, (x,), to, dynamo=False, **names, **axes)
        return onnx.load_from_string(to.getvalue())
    shapes = dict(dynamic_shapes=({0: torch.export.Dim("batch")},)) if dynamic else {}
    program = torch.onnx.export(model, (x,), dynamo=True, verbose=False, **names, **shapes)
    return program.model_proto


def save(name, model, inputs=None):
    """Without what is for people only; with ONNX Runtime's answers where there are inputs."""
    graph = model.graph
    for each in [model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer]:
        each.ClearField("doc_string")
        each.ClearField("metadata_props")
    graph.ClearField("value_info")
    HERE.mkdir(exist_ok=True)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    if inputs is None:
        return
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_value or len(inputs)
    parts = [inputs[k:k + batch] for k in range(0, len(inputs), batch)]
    outputs = numpy.concatenate([session.run(None, {graph.input[0].name: part})[0] for part in parts])
    save_file({"inputs": inputs, "outputs": outputs.reshape(len(inputs), -1)},
              HERE / f"{name}.vectors.safetensors")


def both(name, model, windowed, dynamic=True, opset=20, ways=("traced", "exported")):
    for parameter in model.parameters():
        parameter.data.uniform_(-0.7, 0.7)
    randomise_norms(model)
    model.eval()
    inputs = torch.randn(*([WINDOWS, STEPS] if windowed else [WINDOWS]), FEATURES)
    for way in ways:
        shown = inputs if dynamic else inputs[:1]
        save(f"{name}_{way}", exported(model, shown, way == "exported", dynamic, opset), inputs.numpy())


def floats(name, *dims):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def model_of(nodes, initializers=(), features=FEATURES, domains=()):
    graph = helper.make_graph(
        nodes, "by hand", [floats("features", "batch", features)], [floats("p_up", "batch", 1)],
        [numpy_helper.from_array(numpy.asarray(value), name) for name, value in initializers])
    imports = [helper.make_opsetid("", 20), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def loop():
    """As many rounds as the largest feature says: how long a run takes is in its input."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["x"], ["y"])],
        "round",
        [helper.make_tensor_value_info("round", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []), floats("x", "batch", 1)],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), floats("y", "batch", 1)])
    return model_of(
        [helper.make_node("ReduceMax", ["features"], ["largest"], keepdims=0),
         helper.make_node("Cast", ["largest"], ["rounds"], to=TensorProto.INT64),
         helper.make_node("ReduceSum", ["features", "axis"], ["sum"]),
         helper.make_node("Loop", ["rounds", "", "sum"], ["turned"], body=body),
         helper.make_node("Sigmoid", ["turned"], ["p_up"])],
        [("axis", numpy.array([1]))])


def main():
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    begin(63)
    # Networks of ours.
    both("dense_norms", dense(8, 5, norms=True), False)
    both("dense_tanh", Flat(dense(8, 8, activation=nn.Tanh)), False)
    both("dense_silu", dense(8, activation=nn.SiLU), False, dynamic=False)
    both("dense_gelu", dense(8, activation=nn.GELU, output=None), False)
    both("dense_elu", dense(5, 4, activation=nn.ELU), False, opset=17, ways=["traced"])
    both("linear", dense(), False)
    both("lstm", Lstm([8, 5]), True)
    both("lstm_one_row", Lstm([8, 5]), True, dynamic=False)
    both("lstm_single", Lstm([6], layers=2), True)
    both("lstm_hidden", Lstm([5], reads="hidden"), True)
    both("lstm_all_steps", Flat(Lstm([1, 3], reads="all steps")), True)
    both("lstm_two", Lstm([4], outputs=2, output=nn.Tanh()), True, opset=17, ways=["traced"])
    # Others. Before version 20 Gelu is written with Erf.
    both("erf", dense(4, activation=nn.GELU), False, opset=18, ways=["traced"])
    both("conv", Convolved(), True, ways=["traced"])
    both("conv_one_row", Convolved(), True, dynamic=False, ways=["traced"])
    both("conv_logit", nn.Sequential(nn.Conv1d(STEPS, 1, FEATURES), nn.Flatten()), True, ways=["traced"])
    both("dense_two", nn.Sequential(nn.Linear(FEATURES, 2), nn.Softmax(1)), False, ways=["traced"])
    save("loop", loop())
    log = [helper.make_node("ReduceSum", ["features", "axis"], ["sum"]), helper.make_node("Log", ["sum"], ["p_up"])]
    save("log", model_of(log, [("axis", numpy.array([1]))]))
    custom = helper.make_node("Frobnicate", ["features"], ["p_up"], "frob", domain="org.example")
    save("custom", model_of([custom], domains=["org.example"]))


if __name__ == "__main__":
    main()
