"""The losses of Johnson et al. 2016, sections 3.2 and 3.3, and the module that sums them.

The functions read like the paper's equations. :class:`PerceptualLoss` adds weights, names and targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .presets import PRESETS, PixelError, StyleReduction, TVReduction


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


def _to_255(image: Tensor) -> Tensor:
    return 255 * _at_least_float32(image)


_NO_TARGET = "no {0} target: give it in the call, loss(image, {0}=...), or keep it with set_targets({0}=...)"


class PerceptualLoss(nn.Module):
    """The weighted objective of Eq. 5, term by named term.

    The terms come multiplied by their weights, so their sum is the objective. The optimization baseline and
    the training of networks share this module, so their objectives can be compared.

    Targets are constants: no gradient flows into them. Give a target in the call if it changes from batch to
    batch. Keep it with :meth:`set_targets` if it stays. Kept targets follow ``.to(device)`` and are part of a
    copy or a pickle. They are not in the ``state_dict``, which is that of the loss network, and they are no
    buffers, because DistributedDataParallel would replace them by those of process 0.

    Args:
        loss_network: a callable (image, layers) -> {layer: features}, such as :class:`repro.LossNetwork`.
        content_layers: weight of the feature reconstruction loss at each layer.
        style_layers: weight of the style reconstruction loss at each layer.
        pixel_weight: weight of the per-pixel loss, on the 0..255 scale of the loss network.
        tv_weight: weight of the total variation, on the same scale, where the published weights (1e-6 to
            1e-4) belong.
        style_reduction: see :func:`style_reconstruction_loss`.
        tv_reduction: see :func:`total_variation`.
        pixel_error: see :func:`pixel_loss`.

    Raises:
        ValueError: there is no term.

    Example:
        >>> from repro import LossNetwork
        >>> loss = PerceptualLoss(LossNetwork("pocket"), content_layers={"relu2_2": 1.0})
        >>> output = torch.rand(2, 3, 32, 32, requires_grad=True)
        >>> terms = loss(output, content=torch.rand(2, 3, 32, 32))
        >>> list(terms)
        ['content/relu2_2']
        >>> sum(terms.values()).backward()
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
        super().__init__()
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
        self.content_image: Tensor | None = None
        self.content_targets: dict[str, Tensor] = {}
        self.style_targets: dict[str, Tensor] = {}

    @classmethod
    def from_preset(
        cls,
        preset: str,
        task: str,
        loss_network: Callable[[Tensor, list[str]], Mapping[str, Tensor]],
    ) -> PerceptualLoss:
        """Return the loss of a preset, with its layers, weights and reductions.

        Args:
            preset: "paper", "reference" or "modern"; see :mod:`repro.presets`.
            task: "style" or "super-resolution".
            loss_network: with the layers of the preset.

        Raises:
            ValueError: ``preset`` or ``task`` is unknown.

        Example:
            >>> from repro import LossNetwork
            >>> loss = PerceptualLoss.from_preset("modern", "style", LossNetwork("pocket"))
            >>> loss.content_layers, loss.tv_weight
            ({'relu3_3': 1.0}, 1e-06)
        """
        if preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
        tasks = {"style": PRESETS[preset].style, "super-resolution": PRESETS[preset].super_resolution}
        if task not in tasks:
            raise ValueError(f"task: expected one of {', '.join(tasks)}, got {task!r}")
        return cls(loss_network, **tasks[task].loss.arguments())

    def set_targets(self, content: Tensor | None = None, style: Tensor | None = None) -> None:
        """Keep targets for the calls to come. One that is left out stays as it is.

        Args:
            content: (N, 3, H, W) in [0, 1], of the shape of the images to come.
            style: (1, 3, H', W') in [0, 1], of any size, as the shape of Gram matrices does not depend on it.

        Example:
            >>> from repro import LossNetwork
            >>> loss = PerceptualLoss(LossNetwork("pocket"), style_layers={"relu1_2": 5.0})
            >>> loss.set_targets(style=torch.rand(1, 3, 48, 64))
            >>> list(loss(torch.rand(2, 3, 32, 32)))
            ['style/relu1_2']
        """
        if content is not None:
            self.content_image = content.detach().clone()
            self.content_targets = self._features(self.content_image)
        if style is not None:
            self.style_targets = self._grams(style)

    def forward(
        self, image: Tensor, content: Tensor | None = None, style: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the weighted terms at ``image`` as scalars by name.

        Names are ``content/<layer>``, ``style/<layer>``, ``pixel`` and ``tv``. A target for which the loss
        has no term is not looked at.

        Args:
            image: (N, 3, H, W) in [0, 1].
            content: target of the content and pixel terms, of the shape of ``image``; default the kept one.
            style: target of the style terms, (1, 3, H', W') or (N, 3, H', W'); default the kept one.

        Raises:
            RuntimeError: a target is needed, was not given and is not kept.
            ValueError: the content target, given or kept, differs from ``image`` in shape.
        """
        content_image, content_targets = self._content(image, content)
        style_targets = self._style(style)
        layers = list(dict.fromkeys([*self.content_layers, *self.style_layers]))
        features = self.loss_network(image, layers) if layers else {}
        terms = {}
        for layer, weight in self.content_layers.items():
            error = feature_reconstruction_loss(features[layer], content_targets[layer])
            terms[f"content/{layer}"] = weight * error
        for layer, weight in self.style_layers.items():
            gram = gram_matrix(features[layer])
            error = style_reconstruction_loss(gram, style_targets[layer], self.style_reduction)
            terms[f"style/{layer}"] = weight * error
        if self.pixel_weight:
            error = pixel_loss(_to_255(image), _to_255(content_image), self.pixel_error)
            terms["pixel"] = self.pixel_weight * error
        if self.tv_weight:
            terms["tv"] = self.tv_weight * total_variation(_to_255(image), self.tv_reduction)
        return terms

    def _content(self, image: Tensor, content: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the content image and its features, given or kept, where a term needs them."""
        if not (self.content_layers or self.pixel_weight):
            return image, {}
        if content is not None:
            if content.shape != image.shape:
                raise ValueError(
                    f"content: expected the shape of image, {tuple(image.shape)}, got {tuple(content.shape)}"
                )
            content = content.detach()
            return content, self._features(content)
        if self.content_image is None:
            raise RuntimeError(_NO_TARGET.format("content"))
        if self.content_image.shape != image.shape:
            raise ValueError(
                f"image has shape {tuple(image.shape)}, but the kept content target has "
                f"{tuple(self.content_image.shape)}: give the image's own in the call, "
                "loss(image, content=...), or keep another with set_targets(content=...)"
            )
        return self.content_image, self.content_targets

    def _style(self, style: Tensor | None) -> dict[str, Tensor]:
        """Return the Gram matrices of the style image, given or kept, where a term needs them."""
        if style is not None:
            return self._grams(style)
        if self.style_layers and not self.style_targets:
            raise RuntimeError(_NO_TARGET.format("style"))
        return self.style_targets

    @torch.no_grad()
    def _features(self, content: Tensor) -> dict[str, Tensor]:
        layers = list(self.content_layers)
        return dict(self.loss_network(content, layers)) if layers else {}

    @torch.no_grad()
    def _grams(self, style: Tensor) -> dict[str, Tensor]:
        layers = list(self.style_layers)
        features = self.loss_network(style.detach(), layers) if layers else {}
        return {layer: gram_matrix(features[layer]) for layer in layers}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PerceptualLoss:
        """Do to the kept targets what ``.to()``, ``.cuda()``, ``.double()`` and the like do to the module."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.content_image is not None:
            self.content_image = fn(self.content_image)
        self.content_targets = {layer: fn(target) for layer, target in self.content_targets.items()}
        self.style_targets = {layer: fn(target) for layer, target in self.style_targets.items()}
        return self

    def extra_repr(self) -> str:
        lines = []
        if self.content_layers:
            lines.append(f"content_layers={self.content_layers}")
        if self.style_layers:
            lines.append(f"style_layers={self.style_layers}, style_reduction={self.style_reduction!r}")
        if self.pixel_weight:
            lines.append(f"pixel_weight={self.pixel_weight}, pixel_error={self.pixel_error!r}")
        if self.tv_weight:
            lines.append(f"tv_weight={self.tv_weight}, tv_reduction={self.tv_reduction!r}")
        if self.content_image is not None:
            lines.append(f"kept content: {tuple(self.content_image.shape)}")
        if self.style_targets:
            lines.append(f"kept style: {', '.join(self.style_targets)}")
        return "\n".join(lines)
