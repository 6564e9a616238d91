"""ONNX: one file with weights and labels, checked with onnxruntime."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fersweep.errors import UserError, extra
from fersweep.files import atomic_path
from fersweep.inference.export import about, graph
from fersweep.inference.export.graph import INPUT, OUTPUTS, Difference
from fersweep.inference.trained import Trained

with extra("fersweep export"):
    import onnx  # noqa: F401 (torch.onnx needs it, and onnxscript)
    import onnxruntime
    import onnxscript  # noqa: F401


def write(trained: Trained, path: Path) -> Difference:
    """Write a graph from ``images``, uint8 ``(B, C, H, W)``, to `OUTPUTS`, ``(B, K)`` each; see `files.write`."""
    try:
        program = _program(trained)
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"{path} was not written: torch cannot convert a part of this network to ONNX, perhaps its activation "
            f"({trained.cfg.activation.module._target_}); export it as .pt2."
        ) from error
    with atomic_path(path) as temporary:
        program.save(temporary)
        return graph.check(_session(temporary), trained, path)


def _program(trained: Trained) -> torch.onnx.ONNXProgram:
    program = torch.onnx.export(
        graph.Graph(trained).train(False),
        (graph.example(trained),),
        dynamo=True,
        input_names=[INPUT],
        output_names=OUTPUTS,
        dynamic_shapes=graph.SHAPES,
        verbose=False,
    )
    assert program is not None
    model = program.model
    model.metadata_props.update(about.metadata(trained))
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():  # they name source files of this machine
        node.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    return program


def _session(path: Path) -> graph.Answer:
    """Load a file into onnxruntime, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def answer(images: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, logits = session.run(list(OUTPUTS), {INPUT: images.numpy()})
        return torch.from_numpy(probabilities), torch.from_numpy(logits)

    return answer
