"""Figures 8 and 9: PSNR and SSIM at x4 and x8, and which protocol gives the paper's bicubic rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from .. import datasets
from ..degradations import low_resolution
from ..devices import device
from ..figures import Table, show_groups
from ..images import crop_middle, match_histograms, resize
from ..inference import trained_on_features, upscale
from ..losses import feature_reconstruction_loss
from ..metrics import evaluate_sr, find_alexnet, lpips
from ..picture_files import load_image
from ..pretrained import digest, shipped
from ..sample_photos import PHOTOS, photo
from ..training.data import data_hash, list_photos
from ..transform_nets import SuperResolutionNet, load_network
from .scorecard import paper_numbers
from .support import common
from .support.common import Result, load_loss_network, rounded, settings
from .support.sr_protocols import PROTOCOLS, bicubic_score, crop_to_multiple, is_gray_file, to_8_bit

FACTORS = (4, 8)
SETS = ("set5", "set14", "bsd100")
FEATURE_LAYERS = {"feature": "relu2_2", "feature_relu3_3": "relu3_3"}  # trained on by the paper, and deeper
DISTANCES = {**FEATURE_LAYERS, "lpips": "LPIPS"}
SCORES = ("psnr", "ssim", *DISTANCES)
UNMATCHED = ", unmatched"  # after the name of a network whose histograms were left as they came
TOLERANCE = 0.05  # dB: a protocol within it on every set explains the paper's rows
INPUTS = {"plain": 0.0, "blurred": 1.0}  # sigma before downsampling: test sets' custom, and section 4.2
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"sets": ["photos"], "side": 96, "pictures": 2, "protocols": list(PROTOCOLS)[:4]},
    "book": {"sets": ["set5"], "side": None, "pictures": None, "protocols": list(PROTOCOLS)},
    "paper": {"sets": list(SETS), "side": None, "pictures": None, "protocols": list(PROTOCOLS)},
}


def run(
    scale: str = "book",
    loss_network: str = "auto",
    data: str | Path | None = None,
    networks: Sequence[str] | None = None,
) -> Result:
    """Score bicubic upsampling and trained networks on test sets.

    Args:
        data: a folder of pictures, or of the folders set5, set14 and bsd100; default the sets that
            ``repro data get`` has got. At smoke scale without it, photos that come with scikit-image.
        networks: names of super-resolution networks of the package, files or runs; default all that come
            with it.

    Returns:
        ``data["images"]``, a row for each picture, factor, input and method: ``psnr`` (dB), ``ssim`` and, for
        plain inputs, the feature reconstruction losses ``feature``, at relu2_2, and ``feature_relu3_3``, and
        ``lpips`` where AlexNet's weights are on this machine. Networks with a feature loss have their
        histograms matched, as in the paper, and a second row without that. ``data["means"]``, over each set,
        with the paper's numbers beside complete sets. ``data["protocols"]``, bicubic rows under each
        protocol, of the sets and of the pictures that the paper scores singly. ``data["off"]``, for each
        factor and protocol the largest difference from the paper over the rows. ``data["explained"]``, for
        each factor the protocols within 0.05 dB of the paper on every row; None where there is no row to
        compare. Inputs are "plain" (antialiased bicubic) and "blurred" (after a Gaussian of sigma 1, section
        4.2); the paper's rows stand beside the plain ones. Pictures: crops of the first picture.

    Raises:
        ValueError: unknown scale, loss network or network, or one that is not for super-resolution, or two
            networks, or two pictures of a set, with the same name.
        FileNotFoundError: no picture in ``data``, or no such folder.
        repro.errors.AssetError: a test set or the loss network's weights are not on this machine.
    """
    chosen = settings(SETTINGS, scale)
    methods = load_networks(networks)
    vgg = load_loss_network(loss_network, list(FEATURE_LAYERS.values()))
    sets = load_sets(chosen, data)
    chosen["sets"] = [of.name for of in sets]
    images: list[dict[str, Any]] = []
    protocols: list[dict[str, Any]] = []
    pictures: dict[int, dict[str, Tensor]] = {}
    for test_set in sets:
        for factor in FACTORS:
            fitting = {name: network for name, network in methods.items() if network.factor == factor}
            originals = test_set.pictures.items()
            for name, original in tqdm(originals, f"{test_set.name} x{factor}", leave=False, disable=None):
                rows, crops = _score(original, factor, fitting, vgg)
                images += [{"set": test_set.name, "picture": name, **row} for row in rows]
                pictures.setdefault(factor, crops)
            for protocol in chosen["protocols"]:
                protocols += _protocol_rows(test_set, factor, protocol)
    off = {f"x{factor}": _off(protocols, factor) for factor in FACTORS}
    result = {
        "settings": chosen,
        "images": images,
        "means": _means(images, [of.name for of in sets if of.is_complete]),
        "protocols": protocols,
        "off": off,
        "explained": {
            factor: [row["protocol"] for row in rows if row["psnr"] <= TOLERANCE] if rows else None
            for factor, rows in off.items()
        },
    }
    flat = {f"x{factor}/{name}": crop for factor, crops in pictures.items() for name, crop in crops.items()}
    made_with = {
        "loss_network": common.describe(vgg),
        "data": {of.name: of.described for of in sets},
        "networks": {name: digest(network.state_dict()) for name, network in methods.items()},
        **common.describe_lpips(),
    }
    return Result(result, flat, made_with)


def load_networks(names: Sequence[str] | None) -> dict[str, SuperResolutionNet]:
    """Return super-resolution networks by the names of their recipes; see :func:`run`."""
    found = {}
    for source in names if names is not None else shipped("super-resolution"):
        network = load_network(source)
        if not isinstance(network, SuperResolutionNet):
            raise ValueError(f"{source} is no network for super-resolution")
        name = (network.recipe or {}).get("name") or Path(source).stem
        if name in found or name == "bicubic":
            raise ValueError(f"{source}: there is another method called {name!r}; give one of them")
        found[name] = network.to(device())
    return found


@dataclass
class PictureSet:
    """Pictures to score on.

    Attributes:
        name: of the folder.
        pictures: (1, 3, H, W) in [0, 1] each, by the file's name without its suffix.
        described: how many there are, and a hash over them.
        grey: names of those from greyscale files.
        is_complete: whether it is a set of the paper, whole and uncut.
    """

    name: str
    pictures: dict[str, Tensor]
    described: dict[str, Any]
    gray: Iterable[str] = ()
    is_complete: bool = False


def load_sets(chosen: Mapping[str, Any], data: str | Path | None) -> list[PictureSet]:
    """Return the test sets of a scale's settings, or those in a folder; see :func:`run`."""
    count, side = chosen["pictures"], chosen["side"]
    if data is None and chosen["sets"] == ["photos"]:
        photos = {name: _middle(photo(name), side) for name in list(PHOTOS)[:count]}
        return [PictureSet("photos", photos, common.describe_pictures(photos))]
    if data is None:
        folders = {name: datasets.path(name) for name in chosen["sets"]}
    else:
        data = Path(data).resolve()
        wanted = SETS if chosen["sets"] == ["photos"] else chosen["sets"]
        folders = {name: data / name for name in wanted if (data / name).is_dir()} or {data.name: data}
    sets = []
    for name, folder in folders.items():
        paths = list_photos(folder)[:count]
        pictures = {path.stem: _middle(load_image(path), side) for path in paths}
        if len(pictures) < len(paths):
            raise ValueError(f"{folder}: two pictures have the same name but for folder and suffix")
        described = {"pictures": len(paths), "sha256": data_hash(paths)}
        gray = {path.stem for path in paths if is_gray_file(path)}
        whole = name in SETS and side is None and len(paths) == datasets.DATASETS[name].pictures
        sets.append(PictureSet(name, pictures, described, gray, whole))
    return sets


def _middle(image: Tensor, side: int | None) -> Tensor:
    return image if side is None else crop_middle(image, side, side)


def _score(
    picture: Tensor, factor: int, methods: dict[str, SuperResolutionNet], vgg: Any
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Return a row for each input and method, and crops of the results for the plain input."""
    original = crop_to_multiple(picture, factor).to(device())
    known = vgg(original)
    rows, crops = [], {}
    for name, sigma in INPUTS.items():
        low = to_8_bit(low_resolution(original, factor, sigma))
        results = {"bicubic": resize(low, tuple(original.shape[-2:]))}
        for key, network in methods.items():
            results[key] = unmatched = upscale(low, network=network, match_histogram=False)
            if trained_on_features(network):  # the paper's post-processing, and without it
                results |= {key: match_histograms(unmatched, low), key + UNMATCHED: unmatched}
        for method, result in results.items():
            scores = evaluate_sr(result, original, factor)
            if name == "plain":
                scores |= _distances(to_8_bit(result), original, vgg, known)
            scores = {key: rounded(value) for key, value in scores.items()}
            rows.append({"factor": factor, "input": name, "method": method, **scores})
            if name == "plain" and not method.endswith(UNMATCHED):
                crops[method] = _middle(result, 128)
    return rows, crops | {"original": _middle(original, 128)}


def _distances(result: Tensor, original: Tensor, vgg: Any, known: dict[str, Tensor]) -> dict[str, float]:
    own = vgg(result)
    distances = {
        key: feature_reconstruction_loss(own[layer], known[layer]).item()
        for key, layer in FEATURE_LAYERS.items()
        if layer in own
    }
    return distances | ({"lpips": lpips(result, original).item()} if find_alexnet() else {})


def _means(images: list[dict[str, Any]], complete: Sequence[str]) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in images:
        groups.setdefault((row["factor"], row["set"], row["input"], row["method"]), []).append(row)
    means = []
    for (factor, name, given, method), rows in groups.items():
        mean = {key: _mean(rows, key) for key in SCORES if key in rows[0]}
        paper = _paper(factor, name, method) if given == "plain" and name in complete else None
        keys = {"factor": factor, "set": name, "input": given, "method": method}
        means.append({**keys, "pictures": len(rows), **mean, "paper": paper})
    return means


def _mean(rows: Iterable[Mapping[str, float]], key: str) -> float:
    return rounded(statistics.fmean(row[key] for row in rows))


def _paper(factor: int, name: str, method: str) -> dict[str, float] | None:
    """The paper's row for a method: that of its feature loss for "x4" and "x4_relu2_2", or of pixels."""
    kinds = {"": "feature", "_relu2_2": "feature", "_pixel": "pixel", "_pixel_paper": "pixel"}
    row = {f"x{factor}{end}": kind for end, kind in kinds.items()}.get(method, method)
    return paper_numbers()["super_resolution"][f"x{factor}"].get(name, {}).get(row)


def _protocol_rows(test_set: PictureSet, factor: int, protocol: str) -> list[dict[str, Any]]:
    """Return the mean over a set under a protocol, and the rows of pictures that the paper scores singly."""
    scores = {
        name: bicubic_score(original, factor, PROTOCOLS[protocol], name in test_set.gray)
        for name, original in test_set.pictures.items()
    }
    single = paper_numbers()["super_resolution"][f"x{factor}"]["picture"]
    rows = []
    for of in (test_set.name, *(name for name in scores if name in single)):
        pictures = [scores[of]] if of in single else scores.values()
        mean = {key: _mean(pictures, key) for key in ("psnr", "ssim")}
        paper = (single.get(of) or _paper(factor, of, "bicubic")) if test_set.is_complete else None
        rows.append({"factor": factor, "of": of, "protocol": protocol, **mean, "paper": paper})
    return rows


def _off(protocols: list[dict[str, Any]], factor: int) -> list[dict[str, Any]]:
    """Return each protocol's largest differences from the paper, the nearest in PSNR first."""
    off: dict[str, dict[str, float]] = {}
    for row in protocols:
        if row["factor"] == factor and row["paper"]:
            largest = off.setdefault(row["protocol"], {"psnr": 0.0, "ssim": 0.0})
            for key, before in largest.items():
                largest[key] = rounded(max(before, abs(row[key] - row["paper"][key])))
    rows = [{"protocol": name, **values} for name, values in off.items()]
    return sorted(rows, key=lambda row: row["psnr"])


def table(result: Result) -> Table:
    """Return the means over each set for plain inputs, beside the paper's, and the distances."""
    shown = [row for row in result.data["means"] if row["input"] == "plain"]
    distances = {key: label for key, label in DISTANCES.items() if key in shown[0]}
    formats = {"psnr": ".2f", "ssim": ".4f", "lpips": ".3f"}
    rows = []
    for row in shown:
        line = [f"x{row['factor']} {row['set']}", row["method"]]
        for key in ("psnr", "ssim"):
            line += [format(of[key], formats[key]) if of else None for of in (row, row["paper"])]
        rows.append([*line, *(format(row[key], formats.get(key, ",.0f")) for key in distances)])
    titles = ["", "method", "PSNR", "paper", "SSIM", "paper", *distances.values()]
    return Table(titles, rows, f"ll{'r' * (len(titles) - 2)}", result.origin)


def table_of_orders(result: Result) -> Table:
    """Return for each set and factor the methods by PSNR, what features cost of it, and who is nearest."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for row in result.data["means"]:
        if row["input"] == "plain":
            groups.setdefault(f"x{row['factor']} {row['set']}", {})[row["method"]] = row
    rows = []
    for name, of in groups.items():
        factor, _, _ = name.partition(" ")
        by_psnr = sorted((method for method in of if "," not in method), key=lambda x: -of[x]["psnr"])
        pair = [of.get(f"{factor}_{loss}") for loss in ("relu2_2", "pixel")]
        papers = [row and row["paper"] for row in pair]
        lost = [f"{a['psnr'] - b['psnr']:.1f}" if a and b else None for a, b in (pair, papers)]
        nearest = [min(of, key=lambda x: of[x][key]) for key in DISTANCES if key in of["bicubic"]]
        rows.append([name, " > ".join(by_psnr), *lost, *nearest])
    distances = [f"nearest by {label}" for key, label in DISTANCES.items() if key in result.data["means"][0]]
    titles = ["", "PSNR", "from pixels to features, dB", "paper, dB", *distances]
    return Table(titles, rows, f"llrr{'l' * len(distances)}")


def plot(result: Result) -> Figure:
    """Draw crops of the first picture: a row for each factor, with the PSNR of the whole picture."""
    images = result.data["images"]
    psnr = {
        f"x{row['factor']}/{row['method']}": f"{row['psnr']:.2f} dB"
        for row in images
        if row["picture"] == images[0]["picture"] and row["input"] == "plain"
    }
    groups: dict[str, dict[str, Tensor]] = {}
    for name, picture in result.pictures.items():
        factor, _, method = name.partition("/")
        groups.setdefault(factor, {})[f"{factor} {method}\n{psnr.get(name, '')}"] = picture
    columns = max(map(len, groups.values()))
    return show_groups(list(groups.values()), columns, width=2.2 * columns)
