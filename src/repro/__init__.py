"""Perceptual losses for real-time style transfer and super-resolution (Johnson et al. 2016), reproduced."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .inference import stylize, upscale
    from .loss_network import LossNetwork
    from .losses import PerceptualLoss, gram_matrix
    from .optimize_image import invert_features, reconstruct_style, transfer_style
    from .picture_files import load_image, save_image
    from .transform_nets import StyleTransferNet, SuperResolutionNet

# What a reader types, and the module that holds it; loaded when first used, so that `import repro` is light.
_HOME = {
    "stylize": "inference",
    "upscale": "inference",
    "load_image": "picture_files",
    "save_image": "picture_files",
    "LossNetwork": "loss_network",
    "PerceptualLoss": "losses",
    "gram_matrix": "losses",
    "transfer_style": "optimize_image",
    "invert_features": "optimize_image",
    "reconstruct_style": "optimize_image",
    "StyleTransferNet": "transform_nets",
    "SuperResolutionNet": "transform_nets",
}
__all__ = [  # noqa: RUF022 (in the order of _HOME)
    "stylize", "upscale", "load_image", "save_image", "LossNetwork", "PerceptualLoss", "gram_matrix",
    "transfer_style", "invert_features", "reconstruct_style", "StyleTransferNet", "SuperResolutionNet",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'repro' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
