"""Networks by name: those that come with the package, folders, and repositories on the Hugging Face Hub.

A network's file is safetensors, never pickle, and says by itself what network it is: its metadata hold the
recipe that it was trained with, or the options that it was made with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download

from .weight_files import AssetError, load_weights, read_weights, save_weights

FILE = "model.safetensors"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CARD = """---
{{ card_data }}
---

# {{ network }}

An image transformation network of the package `repro`, a reproduction of
[Johnson, Alahi and Fei-Fei, *Perceptual Losses for Real-Time Style Transfer and
Super-Resolution*]({{ paper_url }}), ECCV 2016. The package is not the `repro` of PyPI, but:

```bash
pip install {{ repo_url }}/archive/main.zip
```

Then this loads it{% if not repo_id %} (`owner/name` is this page's address without the host){% endif %}:

```python
from repro import {{ network }}

network = {{ network }}.from_pretrained("{{ repo_id or 'owner/name' }}")
```
{% if recipe %}
It was trained with this recipe:

```json
{{ recipe }}
```
{% endif %}"""


def card(name: str) -> dict[str, Any]:
    """Return the card of something in the package's ``weights`` folder.

    Raises:
        ValueError: there is none of that name.
    """
    file = resources.files("repro") / "weights" / f"{name}.json"
    if not file.is_file():
        raise ValueError(f"no network of the name {name!r} comes with the package")
    return json.loads(file.read_text(encoding="utf-8"))


def shipped(task: str | None = None) -> list[str]:
    """Return the names of the trained networks that come with the package.

    Args:
        task: only those for "style" or "super-resolution".
    """
    folder = resources.files("repro") / "weights"
    cards = {Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".json")}
    tasks = {name: card(name).get("task") for name in cards}  # a loss network has none
    return sorted(name for name in cards if tasks[name] and task in (None, tasks[name]))


def find_file(source: str | Path) -> Path | None:
    """Return the file of a network that is on this machine, or None.

    Args:
        source: the name of one that comes with the package, a safetensors file, or a folder with one: a
            run's, whose best weights are taken, or one of ``save_pretrained``.
    """
    if str(source) in shipped():
        return Path(str(resources.files("repro") / "weights" / f"{source}.safetensors"))
    path = Path(source)
    candidates = (path / "best.safetensors", path / FILE) if path.is_dir() else (path,)
    return next((file for file in candidates if file.is_file()), None)


def missing(source: str | Path) -> str:
    """Return what to tell a person for whose ``source`` :func:`find_file` found nothing."""
    if (Path(source) / "run.json").is_file():
        return f"{source}: the run has no weights yet; it keeps the first at its first evaluation"
    names = ", ".join(shipped()) or "none yet"
    return f"{source}: no file, no run, and no network of the package ({names})"


def without_paths(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe as it may be given away: of the style picture and ``start_from`` the last part only."""
    shown = {**recipe, "start_from": Path(recipe.get("start_from") or "").name}
    if "style" in recipe:
        shown["style"] = {**recipe["style"], "picture": Path(recipe["style"]["picture"]).name}
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


class HubMixin(
    ModelHubMixin,
    model_card_template=_CARD,
    library_name="repro",
    repo_url="https://github.com/perceptual-losses/repro",
    paper_url="https://arxiv.org/abs/1603.08155",
    pipeline_tag="image-to-image",
    tags=["perceptual-loss"],
):
    """``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` of the image transformation networks."""

    recipe: dict[str, Any] | None = None  # as in the file that it was loaded from

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
            repro.assets.AssetError: it cannot be downloaded, is damaged, or does not fit.
        """
        path = find_file(source)
        if path is None and not Path(source).exists() and _HUB_ID.fullmatch(str(source)):
            try:
                path = Path(
                    hf_hub_download(
                        str(source),
                        FILE,
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
                    f"{source}: not on this machine, and {FILE} could not be had from the Hub ({reason})"
                ) from None
        if path is None:
            raise ValueError(missing(source))
        return cls.from_file(path)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Return the network in a safetensors file; see :meth:`from_pretrained`."""
        tensors, metadata = read_weights(path)
        name, options, recipe = describe(metadata, path)
        if name != cls.__name__:
            raise ValueError(f"{path}: holds a {name}, not a {cls.__name__}")
        try:
            network = cls(**options)
        except (TypeError, ValueError) as error:
            raise AssetError(f"{path}: its options are not those of a {name} ({error})") from None
        load_weights(network, tensors, path)
        network.recipe = recipe
        return network.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        if self.recipe is not None:
            metadata = {"recipe": json.dumps(without_paths(self.recipe))}
        else:
            metadata = {"config": json.dumps({"network": type(self).__name__, **self._hub_mixin_config})}
        save_weights(self.state_dict(), save_directory / FILE, metadata)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the network to a repository on the Hub, and return the address of the commit.

        Args:
            repo_id: ``owner/name``; the repository is made if there is none.
            options: as of ``huggingface_hub.ModelHubMixin.push_to_hub``. What is in ``model_card_kwargs``
                goes to :meth:`generate_model_card`, such as ``{"license": "cc-by-4.0"}``.
        """
        options["model_card_kwargs"] = {"repo_id": repo_id, **(options.get("model_card_kwargs") or {})}
        return super().push_to_hub(repo_id, **options)

    def generate_model_card(self, license: str | None = None, **fields: Any) -> ModelCard:
        """Return the page that describes the network in its repository; called by ``save_pretrained``.

        Args:
            license: one of the Hub's identifiers, such as ``"mit"``. The weights are yours to license: by
                default the page names none.
            fields: what else the page shows.
        """
        recipe = json.dumps(without_paths(self.recipe), indent=1) if self.recipe else ""
        page = super().generate_model_card(network=type(self).__name__, recipe=recipe, **fields)
        page.data.license = license
        return page
