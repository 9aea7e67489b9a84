"""The plain way to train both tasks, as public examples have it: what `repro` is measured against.

Float32, PyTorch's own layers and memory layout, the loss network run to the last style layer for result and
photo alike. Written for this comparison; nothing imports it but the benchmarks.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv(channels, filters, size, stride=1):
    return nn.Sequential(nn.ReflectionPad2d(size // 2), nn.Conv2d(channels, filters, size, stride))


def conv_norm(channels, filters, size, stride=1):
    return nn.Sequential(
        conv(channels, filters, size, stride), nn.InstanceNorm2d(filters, affine=True), nn.ReLU()
    )


class Residual(nn.Module):
    def __init__(self, filters, norm=True):
        super().__init__()
        layers = [conv(filters, filters, 3), nn.ReLU(), conv(filters, filters, 3)]
        if norm:
            layers.insert(1, nn.InstanceNorm2d(filters, affine=True))
            layers.append(nn.InstanceNorm2d(filters, affine=True))
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def style_net():
    return nn.Sequential(
        conv_norm(3, 32, 9),
        conv_norm(32, 64, 3, 2),
        conv_norm(64, 128, 3, 2),
        *(Residual(128) for _ in range(5)),
        nn.Upsample(scale_factor=2),
        conv_norm(128, 64, 3),
        nn.Upsample(scale_factor=2),
        conv_norm(64, 32, 3),
        conv(32, 3, 9),
    )


def sr_net():
    return nn.Sequential(
        conv(3, 64, 9),
        nn.ReLU(),
        *(Residual(64, norm=False) for _ in range(4)),
        nn.Upsample(scale_factor=2),
        conv(64, 64, 3),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        conv(64, 64, 3),
        nn.ReLU(),
        conv(64, 3, 9),
    )


class VGG(nn.Module):
    """The first blocks of VGG-16 with random weights, which take as long as the real ones."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks, channels = nn.ModuleList(), 3
        for block, (count, filters) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512))[:blocks]):
            layers = [nn.MaxPool2d(2)] if block else []
            for _ in range(count):
                layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
                channels = filters
            self.blocks.append(nn.Sequential(*layers))
        self.requires_grad_(False)

    def forward(self, x):
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return features


def gram(y):
    n, c, h, w = y.shape
    y = y.view(n, c, h * w)
    return y.bmm(y.transpose(1, 2)) / (c * h * w)


def style_step(size, batch):
    """Return a function that makes one step of training a style network."""
    net, vgg = style_net(), VGG(4)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    photo = torch.rand(batch, 3, size, size)
    targets = [gram(y) for y in vgg(torch.rand(1, 3, size, size))]

    def step():
        optimizer.zero_grad()
        features_y, features_x = vgg(net(photo)), vgg(photo)
        loss = F.mse_loss(features_y[2], features_x[2])
        for y, target in zip(features_y, targets, strict=True):
            loss = loss + 5 * F.mse_loss(gram(y), target.expand(batch, -1, -1))
        loss.backward()
        optimizer.step()

    return step


def sr_step(size, batch):
    """Return a function that makes one step of training x4 super-resolution on relu2_2."""
    net, vgg = sr_net(), VGG(2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    photo, small = torch.rand(batch, 3, size, size), torch.rand(batch, 3, size // 4, size // 4)

    def step():
        optimizer.zero_grad()
        result = F.interpolate(small, scale_factor=4, mode="bicubic") + net(small)
        loss = F.mse_loss(vgg(result)[1], vgg(photo)[1])
        loss.backward()
        optimizer.step()

    return step
