"""ONNX: one file with weights and labels, checked with onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from fersweep.errors import UserError
from fersweep.files import atomic_path
from fersweep.inference.export import about, graph
from fersweep.inference.export.graph import INPUT, OUTPUTS, Difference
from fersweep.inference.trained import Trained


def write(trained: Trained, path: Path) -> Difference:
    """Write ``path``, once onnxruntime has answered as PyTorch does.

    The graph has one input, ``images``, uint8 ``(batch, C, H, W)``, and two outputs, ``probabilities`` and ``logits``,
    float32 ``(batch, K)``. Its metadata are `about.metadata`.

    Raises:
        UserError: the network has a part that ONNX does not know, or the answers differ; ``path`` is as it was.
        OSError: ``path`` cannot be written.
    """
    try:
        program = _program(trained)
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"{path} was not written: torch has no ONNX for a part of this network, perhaps its activation "
            f"({trained.cfg.activation.module._target_}); export it as .pt2."
        ) from error
    with atomic_path(path) as temporary:
        program.save(temporary)
        return graph.check(_Session(temporary), trained, path)


def _program(trained: Trained) -> torch.onnx.ONNXProgram:
    example = torch.zeros(2, trained.channels, trained.image_size, trained.image_size, dtype=torch.uint8)
    program = torch.onnx.export(
        graph.Graph(trained).train(False),
        (example,),
        dynamo=True,
        input_names=[INPUT],
        output_names=OUTPUTS,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    model = program.model
    model.metadata_props.update(about.metadata(trained))
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():  # where in the source, on this machine, each comes from
        node.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    return program


class _Session:
    """A file in onnxruntime, on the CPU."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, logits = self.session.run(list(OUTPUTS), {INPUT: images.numpy()})
        return torch.from_numpy(probabilities), torch.from_numpy(logits)
