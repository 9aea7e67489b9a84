"""Data sets: what they are for, whom to credit, and how they come onto this machine.

Each is downloaded once into ``datasets/NAME`` of the cache folder and checked against the SHA-256 of every
file, all of which are in ``datasets.sha256`` beside this module. A download that breaks off goes on where it
stopped, in the same run or in a later one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from .atomic_files import atomic_path, sha256
from .downloads import cache_dir, download, unpack
from .errors import AssetError
from .picture_files import SUFFIXES

_MARKER = "SOURCE.json"  # written last: its presence says that the data set is complete


@dataclass(frozen=True)
class DataSet:
    """Pictures that others have published.

    Attributes:
        title: what it is called.
        url: the address under which its files lie, ending in a slash.
        files: SHA-256 by path, relative to ``url`` and to the data set's folder alike; a zip archive is
            unpacked there and then deleted.
        size: bytes to download.
        pictures: how many there are in the end.
        license: the terms.
        credit: the publication to cite.
        purpose: what it serves for in this project.
    """

    title: str
    url: str
    files: Mapping[str, str]
    size: int
    pictures: int
    license: str
    credit: str
    purpose: str


def _manifest(prefix: str) -> dict[str, str]:
    """SHA-256 by path of the manifest's files under a prefix, which is left out of the paths."""
    lines = (resources.files("repro") / "datasets.sha256").read_text(encoding="ascii").splitlines()
    entries = (line.split("  ", 1) for line in lines)
    return {path.removeprefix(prefix): digest for digest, path in entries if path.startswith(prefix)}


# COCO serves its pictures over plain HTTP and publishes no hashes. These are the ones torchvision checks
# (pytorch/vision at 1ec2509e, torchvision/prototype/datasets/_builtin/coco.py), as are the counts; the sizes
# are those that the server states.
_COCO = "http://images.cocodataset.org/zips/"
_COCO_LICENSE = (
    "each picture under its own Flickr license, mostly Creative Commons; cocodataset.org/#termsofuse"
)
_COCO_CREDIT = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"
# The hashes below were computed from the files in these repositories at these commits.
_BSDS = (
    "https://raw.githubusercontent.com/BIDS/BSDS500/"
    "a04b7c6c3a9f0ace74bf205c72a43d32e1c72722/BSDS500/data/images/"
)
_BSDS_LICENSE = "non-commercial research and education (terms of the Berkeley Segmentation Data Set)"
_SETS = (
    "https://raw.githubusercontent.com/majedelhelou/denoising_datasets/"
    "58234876fef6f1b56306705c78dfd40cdb837b86/"
)

DATASETS = {
    "coco2014": DataSet(
        "COCO 2014, training part",
        _COCO,
        _manifest("coco2014/"),
        13_510_573_713,
        82_783,
        _COCO_LICENSE,
        _COCO_CREDIT,
        "training, as in the paper: style transfer on all of it, super-resolution on 10,000 of its pictures",
    ),
    "coco2017": DataSet(
        "COCO 2017, training part",
        _COCO,
        _manifest("coco2017/"),
        19_336_861_798,
        118_287,
        _COCO_LICENSE,
        _COCO_CREDIT,
        "training, on more pictures than the paper had",
    ),
    "bsds500": DataSet(
        "Berkeley Segmentation Data Set 500, photographs",
        _BSDS,
        _manifest("bsds500/"),
        36_991_351,
        500,
        _BSDS_LICENSE,
        "Arbelaez et al., Contour Detection and Hierarchical Image Segmentation, TPAMI 2011",
        "training on a small scale, on train/ and test/ only: val/ is bsd100, "
        "and train/302003.jpg is the same photograph as woman of set5",
    ),
    "set5": DataSet(
        "Set5",
        _SETS + "CSet5/",
        _manifest("set5/"),
        851_881,
        5,
        "none stated; used in research",
        "Bevilacqua et al., Low-Complexity Single-Image Super-Resolution, BMVC 2012",
        "test of super-resolution, as in the paper",
    ),
    "set14": DataSet(
        "Set14",
        _SETS + "CSet14/",
        _manifest("set14/"),
        4_983_382,
        14,
        "none stated; used in research (lenna.png is a crop of a magazine page)",
        "Zeyde et al., On Single Image Scale-Up Using Sparse-Representations, Curves and Surfaces 2010",
        "test of super-resolution, as in the paper",
    ),
    "bsd100": DataSet(
        "BSD100: the validation pictures of BSDS500, as JPEG like the originals",
        _BSDS + "val/",
        _manifest("bsds500/val/"),
        7_696_027,
        100,
        _BSDS_LICENSE,
        "Martin et al., A Database of Human Segmented Natural Images, ICCV 2001",
        "test of super-resolution, as in the paper",
    ),
}


def lookup(name: str) -> DataSet:
    """Return the entry of :data:`DATASETS`; an unknown name is a ValueError that lists the known ones."""
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def path(name: str) -> Path:
    """Return the folder of a data set that is on this machine.

    Raises:
        ValueError: unknown name.
        AssetError: it is not here, or not completely; the message says how to get it.
    """
    lookup(name)
    folder = cache_dir() / "datasets" / name
    if not (folder / _MARKER).is_file():
        raise AssetError(f"the data set {name!r} is not on this machine; get it with: repro data get {name}")
    return folder


def get(name: str, progress: bool = False) -> Path:
    """Download a data set unless it is here already, and return its folder.

    Args:
        name: one of :data:`DATASETS`.
        progress: show a bar on a terminal.

    Raises:
        ValueError: unknown name.
        AssetError: no network, no such file, a file that is not the expected one, no space, a folder that
            cannot be written to, another process that is getting it. What has been downloaded is kept, and
            the next call goes on from there.
    """
    data_set = lookup(name)
    folder = cache_dir() / "datasets" / name
    if (folder / _MARKER).is_file():
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{name}.lock"), timeout=0):
            _get(data_set, folder, name, progress)
    except Timeout:
        raise AssetError(f"{name}: another process is downloading it to {folder}; wait for it") from None
    except OSError as error:
        raise AssetError(
            f"{name}: cannot write to {folder} ({error.strerror or error}); "
            "make room, or set REPRO_CACHE to another folder"
        ) from None
    return folder


def _get(data_set: DataSet, folder: Path, name: str, progress: bool) -> None:
    archives = [folder / file for file in data_set.files if file.endswith(".zip")]
    _check_space(folder, data_set.size * (2 if archives else 1))
    _download_all(data_set, folder, name, progress)
    for archive in archives:
        unpack(archive, folder, SUFFIXES, progress)
    with atomic_path(folder / _MARKER) as temporary:
        facts = {key: getattr(data_set, key) for key in ("title", "url", "license", "credit", "purpose")}
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for archive in archives:
        archive.unlink()


def _check_space(folder: Path, size: int) -> None:
    present = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    if size - present > free:
        raise AssetError(
            f"{folder}: {(size - present) / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; "
            "make room, or set REPRO_CACHE to another folder"
        )


def _download_all(data_set: DataSet, folder: Path, name: str, progress: bool) -> None:
    with (
        requests.Session() as session,
        tqdm(total=data_set.size, unit="B", unit_scale=True, disable=None if progress else True) as bar,
    ):
        # A compressed body would have other byte positions than the file.
        session.headers["Accept-Encoding"] = "identity"
        for index, (file, digest) in enumerate(data_set.files.items(), start=1):
            bar.set_description(f"{name} {index}/{len(data_set.files)}")
            target = folder / file
            if target.is_file() and sha256(target) == digest:
                bar.update(target.stat().st_size)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                download(session, data_set.url + file, target, digest, bar)
