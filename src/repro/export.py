"""Trained networks as ONNX files, for programs without PyTorch: browsers, phones, other languages.

One file is one network with its weights. It takes an ``image`` and gives a ``result``, both float32,
(N, 3, H, W), RGB, in [0, 1]; batch, height and width are free, as for the network itself. The result is
clipped, so that it can be shown as it is. What :func:`repro.upscale` does after the network, matching the
histogram, is not in the file, nor are tiles: memory grows with the image.

The packages that this needs come with the extra: ``pip install "perceptual-losses-repro[export]"``.
"""

from __future__ import annotations

import copy
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import __version__
from .atomic_files import atomic_path
from .errors import ExportError
from .pretrained import without_paths
from .transform_nets import StyleTransferNet, SuperResolutionNet

OPSET = 18  # the oldest with the antialiased resizing of output "residual", so the most widely read
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
TRACED_SIZE = (2, 3, 24, 32)  # sides of 0 and 1 would be taken for constants
CHECKED_SIZE = (1, 3, 13, 3)  # no multiples of 4, and a side of fewer px than the layers mirror
TOLERANCE = 0.01  # a wrong graph is off by far more, rounding by far less


def export_onnx(network: StyleTransferNet | SuperResolutionNet, path: str | Path) -> None:
    """Write a network as one ONNX file; what it takes and gives is said at the top of this module.

    The file is run once, at another size than it was made with, and compared with the network, before it
    gets its name. Its metadata have the network's recipe, or without one the options that it was made with,
    as those of a safetensors file do; ``project`` and ``version`` name this package.

    Args:
        network: on any device, of any precision, in any mode; left as it is. Its evaluation mode is exported.
        path: the file to write; an older one is replaced.

    Raises:
        TypeError: ``network`` is another kind of network.
        ExportError: a package is missing, this version of PyTorch cannot export the network, or the file
            does not do what the network does.
        OSError: the file cannot be written.
    """
    if not isinstance(network, StyleTransferNet | SuperResolutionNet):
        raise TypeError(f"expected a StyleTransferNet or SuperResolutionNet, got {type(network).__name__}")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ExportError(f"export needs {', '.join(missing)}; get it with: pip install {' '.join(missing)}")
    clipped = _Clipped(copy.deepcopy(network).to("cpu", torch.float32)).eval()
    try:
        model = _convert(clipped)
    except Exception as error:  # the exporter's own, of many kinds, with pages of where
        raise ExportError(
            f"PyTorch {torch.__version__} cannot export this network ({type(error).__name__}); "
            "a newer version may do better"
        ) from error
    _describe(model, network)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        _check(temporary, clipped)


class _Clipped(nn.Module):
    """What a file computes."""

    def __init__(self, network: StyleTransferNet | SuperResolutionNet):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).clamp(0, 1)


def _convert(network: _Clipped) -> Any:
    program = torch.onnx.export(
        network,
        (torch.zeros(TRACED_SIZE),),
        input_names=["image"],
        output_names=["result"],
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes={"image": {0: "batch", 2: "height", 3: "width"}},
        verbose=False,
    )
    assert program is not None  # as dynamo=True asks for
    return program.model_proto


def _describe(model: Any, network: StyleTransferNet | SuperResolutionNet) -> None:
    """Say in the model what it is, and nothing of the machine that it was made on."""
    import onnx

    graph = model.graph
    # The exporter notes the lines of source that each node comes from, with their paths.
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
    del graph.value_info[:], graph.metadata_props[:]  # any reader infers these shapes by itself
    # The exporter writes down what it derived, such as Min(height, 4*(((height - 1)//4)) + 4).
    times = "" if network.factor == 1 else f"{network.factor}*"
    for i, side in ((2, "height"), (3, "width")):
        graph.output[0].type.tensor_type.shape.dim[i].dim_param = times + side

    name = type(network).__name__
    graph.name = name
    model.doc_string = (
        f"{name} of the package repro, a reproduction of Johnson et al. 2016, Perceptual Losses for Real-Time"
        " Style Transfer and Super-Resolution. image and result: float32, (N, 3, H, W), RGB, in [0, 1]."
    )
    metadata = {"project": "repro", "version": __version__}
    if network.recipe is not None:
        metadata["recipe"] = json.dumps(without_paths(network.recipe))
    else:
        metadata["config"] = json.dumps({"network": name, **network.options})
    onnx.helper.set_model_props(model, metadata)


def _check(path: Path, network: _Clipped) -> None:
    """Compare a file with its network, as the exporter is another one with every version of PyTorch."""
    import onnxruntime

    image = torch.rand(CHECKED_SIZE, generator=torch.Generator().manual_seed(0))
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(
            f"the exported network is no valid ONNX ({type(error).__name__}); "
            f"another version of PyTorch than {torch.__version__} may do better"
        ) from error
    result = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    with torch.no_grad():
        expected = network(image)
    off = (result - expected).abs().max().item() if result.shape == expected.shape else float("inf")
    if not off <= TOLERANCE:  # so that NaN is refused as well
        height, width = CHECKED_SIZE[-2:]
        raise ExportError(
            f"the exported network is off by {off:.2g} on an image of {height} x {width} px; "
            f"another version of PyTorch than {torch.__version__} may do better"
        )
