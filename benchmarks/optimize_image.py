"""What the optimiser costs beside the network passes it needs: `python benchmarks/optimize_image.py`.

In one run: the time of the whole baseline, and how much of it are the forward passes of the loss network and
the backward passes. Their ratio is what a bare loop of the same passes could save. Uses VGG-16 where its
weights are on this machine, else random weights, which take as long.
"""

import json
import time

import torch
from common import parser, random_vgg, write

from repro.loss_network import LossNetwork
from repro.optimize_image import transfer_style
from repro.patterns import draw
from repro.sample_photos import photo
from repro.vgg_weights import find_loss_weights


class Timed:
    """Calls a function and adds up the time that it takes."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments, **options):
        started = time.perf_counter()
        result = self.function(*arguments, **options)
        self.seconds += time.perf_counter() - started
        return result


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--iterations", type=int, default=150)
    arguments = options.parse_args()
    real = find_loss_weights("vgg16") is not None
    network = LossNetwork("vgg16", tensors=None if real else random_vgg())
    network.forward = forward = Timed(network.forward)
    torch.autograd.grad = backward = Timed(torch.autograd.grad)
    started = time.perf_counter()
    result = transfer_style(
        photo("astronaut", arguments.size),
        draw("brush_strokes", arguments.size),
        network,
        iterations=arguments.iterations,
        start="content",
    )
    total = time.perf_counter() - started
    values = result.history["total"]
    row = {
        "size": arguments.size,
        "iterations": len(values) - 1,
        "evaluations": result.evaluations,
        "seconds": round(total, 2),
        "seconds_passes": round(forward.seconds + backward.seconds, 2),
        "ratio": round(total / (forward.seconds + backward.seconds), 3),
        "objective_fell": round(values[0] / values[-1], 1),
        "loss_network": network.source,
        "layers": list(network.layers),
    }
    print(json.dumps(row))
    write(arguments.output, row, "cpu")


if __name__ == "__main__":
    main()
