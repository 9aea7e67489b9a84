"""Trained networks as files: written and read safely, found by name, folder or on the Hugging Face Hub.

A file is safetensors, never pickle. Its metadata hold a digest of the tensors, which is checked when the file
is read, and say what network it is: the recipe that it was trained with, or the options that it was made
with. The card beside it (JSON) says how it was made and how good it is.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from importlib import metadata as installed
from importlib import resources
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .atomic_files import atomic_path
from .errors import AssetError

LARGEST = 1e4  # no weight of a network that works comes near it
HUB_FILE = "model.safetensors"
DISTRIBUTION = "perceptual-losses-repro"  # what pip calls this package
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PAGE = """---
library_name: repro
pipeline_tag: image-to-image
tags:
- perceptual-loss
{license}---

# {network}

An image transformation network of the package `repro`, a reproduction of
[Johnson, Alahi and Fei-Fei, *Perceptual Losses for Real-Time Style Transfer and
Super-Resolution*](https://arxiv.org/abs/1603.08155), ECCV 2016. The package is not the
`repro` of PyPI, but{source}

Then this loads it:

```python
from repro import {network}

network = {network}.from_pretrained("{repo_id}")
```
{recipe}"""


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names, types, shapes and values of tensors, whatever file holds them."""
    total = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_weights(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, whole or not at all, with their :func:`digest` in the metadata.

    Raises:
        OSError: they could not be written, as on a full disk.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={**metadata, "digest": digest(tensors)})
        except SafetensorError as error:
            raise OSError(f"{path}: could not be written ({error})") from None


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file, whoever wrote it.

    Raises:
        AssetError: it is damaged or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise AssetError(f"{path}: damaged or not a safetensors file ({error})") from None


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file that :func:`save_weights` wrote.

    Raises:
        AssetError: it is damaged, no safetensors file, or its tensors are not those of its digest.
    """
    tensors, metadata = read_safetensors(path)
    if metadata.get("digest") != digest(tensors):
        raise AssetError(f"{path}: holds no network of this project, or was changed")
    return tensors, metadata


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy tensors into a network whose state has the same names and shapes.

    Raises:
        AssetError: a name, a shape or a value does not fit; the message names it and ``source``.
    """
    expected = network.state_dict()
    for what, keys in (("no", expected.keys() - tensors.keys()), ("an unknown", tensors.keys() - expected)):
        if keys:
            raise AssetError(f"{source}: has {what} {min(keys)}, so it is not of this network")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            shapes = f"{tuple(tensor.shape)}, expected {tuple(expected[key].shape)}"
            raise AssetError(f"{source}: {key} has shape {shapes}")
        if tensor.is_floating_point() != expected[key].is_floating_point():
            raise AssetError(f"{source}: {key} is {tensor.dtype}, expected {expected[key].dtype}")
        if not bool(tensor.isfinite().all()):
            raise AssetError(f"{source}: {key} holds values that are not finite")
        # Running statistics are of feature maps, which may be large.
        if tensor.numel() and "running_" not in key and tensor.is_floating_point():
            largest = tensor.abs().max().item()
            if largest > LARGEST:
                raise AssetError(f"{source}: {key} holds {largest:.4g}, more than any trained weight")
        if key.endswith("running_var") and bool((tensor < 0).any()):
            raise AssetError(f"{source}: {key} holds a negative variance")
    network.load_state_dict(dict(tensors))


WEIGHTS = Path(str(resources.files("repro") / "weights"))  # the networks that come with the package


def card(name: str) -> dict[str, Any]:
    """Return the card of a network that comes with the package.

    Raises:
        ValueError: there is none of that name.
    """
    file = WEIGHTS / f"{name}.json"
    if Path(name).name != name or not file.is_file():
        raise ValueError(f"no network of the name {name!r} comes with the package")
    return json.loads(file.read_text(encoding="utf-8"))


def shipped(task: str | None = None) -> list[str]:
    """Return the names of the trained networks that come with the package.

    Args:
        task: only those for "style" or "super-resolution".
    """
    tasks = {file.stem: card(file.stem).get("task") for file in WEIGHTS.glob("*.json")}
    return sorted(name for name in tasks if tasks[name] and task in (None, tasks[name]))


def is_shipped(source: str | Path) -> bool:
    """Whether this is the name of a trained network that comes with the package; a loss network is none."""
    name = str(source)
    return Path(name).name == name != "pocket" and (WEIGHTS / f"{name}.safetensors").is_file()


def find_file(source: str | Path) -> Path | None:
    """Return the file of a network that is on this machine, or None.

    Args:
        source: the name of one that comes with the package, a safetensors file, or a folder with one: a
            run's, whose best weights are taken, or one of ``save_pretrained``.
    """
    if is_shipped(source):
        return WEIGHTS / f"{source}.safetensors"
    path = Path(source)
    candidates = (path / "best.safetensors", path / HUB_FILE) if path.is_dir() else (path,)
    return next((file for file in candidates if file.is_file()), None)


def not_found(source: str | Path, task: str | None = None) -> ValueError:
    """Return the error for a source that :func:`find_file` did not find; it lists the names for ``task``."""
    if (Path(source) / "run.json").is_file():
        return ValueError(f"{source}: the run has no weights yet; it keeps the first at its first evaluation")
    names = ", ".join(shipped(task))
    return ValueError(f"{source}: no file, no run, and no network of the package ({names})")


def without_paths(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe as it may be given away: of style pictures and ``start_from`` the last part only."""
    shown = json.loads(json.dumps(recipe))
    shown["start_from"] = Path(recipe.get("start_from") or "").name
    for table in (shown, *shown.get("stages", ())):
        if "picture" in table.get("style", {}):
            table["style"]["picture"] = Path(table["style"]["picture"]).name
    return shown


def describe(metadata: Mapping[str, str], path: Path) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """Return the name of a network's class, its options, and its recipe if it has one.

    Raises:
        AssetError: the metadata say nothing of it.
    """
    try:
        if "recipe" in metadata:
            recipe = json.loads(metadata["recipe"])
            options = dict(recipe["network"])
            if recipe["task"] == "style":
                return "StyleTransferNet", options, recipe
            return "SuperResolutionNet", {"scale": recipe["super_resolution"]["factor"], **options}, recipe
        config = json.loads(metadata["config"])
        return config.pop("network"), config, None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise AssetError(f"{path}: its metadata do not say which network of this project it is") from None


class HubMixin(nn.Module):
    """``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` of the image transformation networks.

    Attributes:
        options: the keyword arguments that the network was made with.
        recipe: of its training, as in the file that it was loaded from.
    """

    options: dict[str, Any]
    recipe: dict[str, Any] | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """Return a trained network in evaluation mode, float32, on the CPU.

        Args:
            source: the name of a network that comes with the package, a safetensors file, a folder of
                ``save_pretrained`` or of a run, or ``owner/name`` of a repository on the Hugging Face Hub.
            revision, token, cache_dir, local_files_only, force_download: of a repository on the Hub; as in
                ``huggingface_hub.hf_hub_download``.

        Raises:
            ValueError: it is none of these, or holds the other kind of network.
            repro.errors.AssetError: it cannot be downloaded, is damaged, or does not fit.
        """
        path = find_file(source)
        if path is None and not Path(source).exists() and _HUB_ID.fullmatch(str(source)):
            from huggingface_hub import hf_hub_download

            try:
                path = Path(
                    hf_hub_download(
                        str(source),
                        HUB_FILE,
                        revision=revision,
                        token=token,
                        cache_dir=cache_dir,
                        local_files_only=local_files_only,
                        force_download=force_download,
                    )
                )
            except Exception as error:  # no network, no such repository, no such file: all end the same way
                reason = str(error).strip().split("\n")[0] or type(error).__name__
                raise AssetError(
                    f"{source}: not on this machine, and {HUB_FILE} could not be had from the Hub ({reason})"
                ) from None
        if path is None:
            raise not_found(source)
        return cls.from_file(path)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Return the network in a safetensors file, of this class or of a class derived from it.

        Raises:
            ValueError: it holds another kind of network.
            repro.errors.AssetError: it is damaged, or its options or weights do not fit.
        """
        tensors, metadata = read_weights(path)
        name, options, recipe = describe(metadata, path)
        kinds = {kind.__name__: kind for kind in (cls, *cls.__subclasses__())}
        if name not in kinds:
            raise ValueError(f"{path}: holds a {name}, not a {cls.__name__}")
        try:
            network = kinds[name](**options)
        except (TypeError, ValueError) as error:
            raise AssetError(f"{path}: its options are not those of a {name} ({error})") from None
        load_weights(network, tensors, path)
        network.recipe = recipe
        return network.eval()

    def save_pretrained(
        self, folder: str | Path, *, repo_id: str = "owner/name", license: str | None = None
    ) -> None:
        """Write the weights, the options (config.json) and a page that describes the network.

        Args:
            folder: where to; it is made if there is none.
            repo_id: of the repository on the Hub that the page names.
            license: one of the Hub's identifiers, such as "mit". The weights are yours to license: by
                default the page names none.
        """
        folder, name = Path(folder), type(self).__name__
        folder.mkdir(parents=True, exist_ok=True)
        config = json.dumps({"network": name, **self.options}, indent=1)
        recipe = json.dumps(without_paths(self.recipe), indent=1) if self.recipe else ""
        metadata = {"recipe": recipe} if recipe else {"config": config}
        save_weights(self.state_dict(), folder / HUB_FILE, metadata)
        address = _address()
        page = _PAGE.format(
            network=name,
            repo_id=repo_id,
            license=f"license: {license}\n" if license else "",
            source=f":\n\n```bash\npip install {address}/archive/main.zip\n```"
            if address
            else " what `pip install .` installs in a clone of its repository.",
            recipe=f"\nIt was trained with this recipe:\n\n```json\n{recipe}\n```\n" if recipe else "",
        )
        for file, text in (("config.json", config), ("README.md", page)):
            with atomic_path(folder / file) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        message: str = "Weights and their page",
    ) -> str:
        """Upload the network to a repository on the Hugging Face Hub; return the address of the commit.

        Args:
            repo_id: ``owner/name``; the repository is made if there is none.
            license: as of :meth:`save_pretrained`.
            private, token: as of ``huggingface_hub.HfApi.create_repo``.
            message: of the commit.
        """
        from huggingface_hub import HfApi

        hub = HfApi(token=token)
        repo_id = hub.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, repo_id=repo_id, license=license)
            return str(hub.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message))


def _address() -> str:
    """Return where the project lives, as the installed package says (``make address``), or ""."""
    try:
        urls = installed.metadata(DISTRIBUTION).get_all("Project-URL") or []
    except installed.PackageNotFoundError:
        return ""
    return dict(line.split(", ", 1) for line in urls).get("Source", "")
