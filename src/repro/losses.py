"""The losses of Johnson et al. 2016, sections 3.2 and 3.3, and the object that sums them.

The functions read like the paper's equations. :class:`PerceptualLoss` adds weights, names and targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

StyleReduction = Literal["sum", "mean", "relative"]
PixelError = Literal["squared", "absolute"]
TVReduction = Literal["sum", "half_sum"]


def gram_matrix(features: Tensor) -> Tensor:
    r"""Return the Gram matrices of feature maps, :math:`G = \psi\psi^\top / CHW` (Eq. 3).

    :math:`\psi` is the feature map reshaped to (C, HW). Entry (c, d) says how strongly channels c and d fire
    together, wherever that is in the image. The sums over positions are made in float32 at least, as half
    precision loses too much.

    Args:
        features: (N, C, H, W).

    Returns:
        (N, C, C), symmetric and positive semi-definite.

    Raises:
        ValueError: ``features`` has another number of dimensions.

    Example:
        >>> gram_matrix(torch.ones(1, 2, 8, 8))
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000]]])
    """
    if features.ndim != 4:
        raise ValueError(f"features: expected shape (N, C, H, W), got {tuple(features.shape)}")
    n, c, h, w = features.shape
    with torch.autocast(features.device.type, enabled=False):
        return _SelfProduct.apply(_at_least_float32(features.reshape(n, c, h * w))) / (c * h * w)


class _SelfProduct(torch.autograd.Function):
    """psi psi^T with one product on the way back, where autograd makes one for each factor.

    That is about twice as fast. The gradient has the memory layout of psi, (C, HW) or (HW, C), so nothing
    has to be transposed for the convolution below.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(psi: Tensor) -> Tensor:
        return psi @ psi.transpose(1, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (psi,) = ctx.saved_tensors
        both = gradient + gradient.transpose(1, 2)
        channels_last = psi.stride(1) == 1
        return (psi.transpose(1, 2) @ both).transpose(1, 2) if channels_last else both @ psi


def feature_reconstruction_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Return :math:`\|\phi(\hat y) - \phi(y)\|_2^2 / CHW` (Eq. 2), averaged over the batch.

    Args:
        features: (N, C, H, W).
        target: the same shape, or with N = 1.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> feature_reconstruction_loss(torch.zeros(1, 64, 8, 8), torch.full((1, 64, 8, 8), 3.0))
        tensor(9.)
    """
    return _difference(features, target).square().mean()


def pixel_loss(image: Tensor, target: Tensor, error: PixelError = "squared") -> Tensor:
    r"""Return :math:`\|\hat y - y\|_2^2 / CHW` on pixels (section 3.3), averaged over the batch.

    Args:
        image: (N, 3, H, W).
        target: the same shape.
        error: "squared" is the paper's. "absolute" is :math:`\|\hat y - y\|_1 / CHW`, with which networks
            for super-resolution train better (Zhao et al. 2017).

    Raises:
        ValueError: the shapes differ, or ``error`` is unknown.

    Example:
        >>> pixel_loss(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5))
        tensor(0.2500)
    """
    if error == "squared":
        return _difference(image, target).square().mean()
    if error == "absolute":
        return _difference(image, target).abs().mean()
    raise ValueError(f"error: expected 'squared' or 'absolute', got {error!r}")


def style_reconstruction_loss(gram: Tensor, target: Tensor, reduction: StyleReduction = "mean") -> Tensor:
    r"""Return the squared distance of Gram matrices (Eq. 4), averaged over the batch.

    The paper's Eq. 4 is :math:`\|G(\hat y) - G(y)\|_F^2`, a sum over C x C entries. The default is their
    mean, as in the released code, because the published weights (5 a layer) belong to it. With the sum, a
    layer's weight would also have to make up for its number of channels.

    Args:
        gram: (N, C, C).
        target: (N, C, C) or (1, C, C).
        reduction: "mean", or "sum" for the paper's squared Frobenius norm. "relative" divides that norm by
            the target's own, so a weight says how strongly its layer pulls, whatever the layer's scale:
            Gram matrices of zeros are at 1 in every layer.

    Raises:
        ValueError: the shapes differ, or ``reduction`` is unknown.

    Example:
        >>> gram, target = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
        >>> [style_reconstruction_loss(gram, target, how).item() for how in ("mean", "sum", "relative")]
        [1.0, 16.0, 1.0]
    """
    error = _difference(gram, target).square()
    if reduction == "sum":
        return error.sum(dim=(1, 2)).mean()
    if reduction == "mean":
        return error.mean()
    if reduction == "relative":
        norm = target.to(error.dtype).square().sum(dim=(1, 2))
        return (error.sum(dim=(1, 2)) / norm.clamp(min=torch.finfo(error.dtype).tiny)).mean()
    raise ValueError(f"reduction: expected 'sum', 'mean' or 'relative', got {reduction!r}")


def total_variation(image: Tensor, reduction: TVReduction = "sum") -> Tensor:
    r"""Return the total variation, :math:`\sum (y_{i+1,j} - y_{ij})^2 + (y_{i,j+1} - y_{ij})^2`.

    The paper names the regularizer (section 3.3) without a formula. Squared forward differences are what the
    released code uses.

    Args:
        image: (N, C, H, W).
        reduction: "sum" adds over channels and positions and averages over the batch. "half_sum" is half
            of the sum over everything, the batch too: its gradient is the released code's.

    Raises:
        ValueError: ``image`` has another number of dimensions, or ``reduction`` is unknown.

    Example:
        >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))  # a vertical edge, two pixels long
        tensor(2.)
    """
    if image.ndim != 4:
        raise ValueError(f"image: expected shape (N, C, H, W), got {tuple(image.shape)}")
    image = _at_least_float32(image)  # the sum overflows half precision
    down = image[..., 1:, :] - image[..., :-1, :]
    right = image[..., :, 1:] - image[..., :, :-1]
    total = down.square().sum() + right.square().sum()
    if reduction == "sum":
        return total / image.shape[0]
    if reduction == "half_sum":
        return total / 2
    raise ValueError(f"reduction: expected 'sum' or 'half_sum', got {reduction!r}")


def _difference(value: Tensor, target: Tensor) -> Tensor:
    if value.shape[1:] != target.shape[1:] or target.shape[0] not in (1, value.shape[0]):
        raise ValueError(f"value and target differ in shape: {tuple(value.shape)} and {tuple(target.shape)}")
    return _at_least_float32(value) - _at_least_float32(target)


def _at_least_float32(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))


class PerceptualLoss:
    """The weighted objective of Eq. 5, term by named term.

    The terms it returns are already multiplied by their weights; their sum is the objective. One object
    serves the optimisation baseline and the training of networks, so their objectives can be compared.

    Args:
        loss_network: a callable (image, layers) -> {layer: features}, such as
            :class:`repro.LossNetwork`.
        content_layers: weight of the feature reconstruction loss at each layer.
        style_layers: weight of the style reconstruction loss at each layer.
        pixel_weight: weight of the per-pixel loss against the content image, on the 0..255 scale of the loss
            network.
        tv_weight: weight of the total variation, which is taken on the 0..255 scale of the loss network
            where the published weights (1e-6 to 1e-4) belong; the released code has half of the gradient.
        style_reduction: see :func:`style_reconstruction_loss`.
        tv_reduction: see :func:`total_variation`.
        pixel_error: see :func:`pixel_loss`.
    """

    def __init__(
        self,
        loss_network: Callable[[Tensor, list[str]], Mapping[str, Tensor]],
        content_layers: Mapping[str, float] | None = None,
        style_layers: Mapping[str, float] | None = None,
        pixel_weight: float = 0.0,
        tv_weight: float = 0.0,
        style_reduction: StyleReduction = "mean",
        tv_reduction: TVReduction = "sum",
        pixel_error: PixelError = "squared",
    ) -> None:
        self.loss_network = loss_network
        self.content_layers = dict(content_layers or {})
        self.style_layers = dict(style_layers or {})
        self.pixel_weight, self.tv_weight = float(pixel_weight), float(tv_weight)
        self.style_reduction = style_reduction
        self.tv_reduction = tv_reduction
        self.pixel_error = pixel_error
        if not (self.content_layers or self.style_layers or self.pixel_weight or self.tv_weight):
            raise ValueError(
                "the loss has no term: give content_layers, style_layers, pixel_weight or tv_weight"
            )
        self.content_targets: dict[str, Tensor] = {}
        self.style_targets: dict[str, Tensor] = {}
        self.pixel_target: Tensor | None = None

    @torch.no_grad()
    def set_targets(self, content: Tensor | None = None, style: Tensor | None = None) -> None:
        """Compute and keep the targets: features (and pixels) of ``content``, Gram matrices of ``style``.

        Either may be left out to keep the target it had. Each pass through the loss network stops at the
        deepest layer that it needs.

        Args:
            content: (N, 3, H, W) in [0, 1].
            style: (1, 3, H', W') in [0, 1], of any size, as the shape of Gram matrices does not depend on it.
        """
        if content is not None:
            layers = list(self.content_layers)
            self.content_targets = dict(self.loss_network(content, layers)) if layers else {}
            self.pixel_target = content.clone() if self.pixel_weight else None
        if style is not None:
            layers = list(self.style_layers)
            features = self.loss_network(style, layers) if layers else {}
            self.style_targets = {layer: gram_matrix(features[layer]) for layer in layers}

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms at ``image``, (N, 3, H, W) in [0, 1], as scalars by name.

        Names are ``content/<layer>``, ``style/<layer>``, ``pixel`` and ``tv``.

        Raises:
            RuntimeError: a target that is needed was not set.
        """
        for kind, layers, targets in (
            ("content", self.content_layers, self.content_targets),
            ("style", self.style_layers, self.style_targets),
        ):
            if layers and not targets:
                raise RuntimeError(f"no {kind} target: call set_targets({kind}=...) first")
        if self.pixel_weight and self.pixel_target is None:
            raise RuntimeError("no content target: call set_targets(content=...) first")
        layers = list(dict.fromkeys([*self.content_layers, *self.style_layers]))
        features = self.loss_network(image, layers) if layers else {}
        terms = {}
        for layer, weight in self.content_layers.items():
            error = feature_reconstruction_loss(features[layer], self.content_targets[layer])
            terms[f"content/{layer}"] = weight * error
        for layer, weight in self.style_layers.items():
            error = style_reconstruction_loss(
                gram_matrix(features[layer]), self.style_targets[layer], self.style_reduction
            )
            terms[f"style/{layer}"] = weight * error
        if self.pixel_weight:
            error = pixel_loss(255 * image, 255 * self.pixel_target, self.pixel_error)
            terms["pixel"] = self.pixel_weight * error
        if self.tv_weight:
            terms["tv"] = self.tv_weight * total_variation(image * 255, self.tv_reduction)
        return terms
