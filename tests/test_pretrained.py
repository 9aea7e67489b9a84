"""Networks are saved, published and loaded by name, folder and identifier; what does not fit is named."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import save_file

from repro import StyleTransferNet, SuperResolutionNet
from repro.errors import AssetError
from repro.pretrained import digest, find_file, read_weights, save_weights, shipped
from repro.transform_nets import load_network
from small_networks import sr_recipe, style_recipe, write

NETWORKS = {
    "style": lambda: StyleTransferNet(norm="instance", padding="reflect", width=0.1, num_blocks=1),
    "x8": lambda: SuperResolutionNet(8, norm="none", output="residual", width=0.1, num_blocks=1),
}


def assert_same(first, second):
    assert type(first) is type(second)
    assert first.output == second.output
    assert first.factor == second.factor
    assert first.state_dict().keys() == second.state_dict().keys()
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_was_saved_is_loaded_with_its_options(kind, tmp_path, astronaut):
    network = NETWORKS[kind]()
    network.save_pretrained(tmp_path / "saved")
    names = {file.name for file in (tmp_path / "saved").iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}
    loaded = type(network).from_pretrained(tmp_path / "saved")
    assert_same(loaded, network)
    assert not loaded.training
    assert loaded.recipe is None
    assert_same(load_network(tmp_path / "saved" / "model.safetensors"), network)
    page = (tmp_path / "saved" / "README.md").read_text()
    assert f'{type(network).__name__}.from_pretrained("owner/name")' in page
    assert "license" not in page  # whoever trained it says
    with torch.no_grad():
        photo = astronaut[..., :24, :24]
        assert torch.equal(loaded(photo), network.eval()(photo))


def test_a_package_that_is_not_installed_has_no_address(monkeypatch, tmp_path):
    monkeypatch.setattr("repro.pretrained.DISTRIBUTION", "no-package-of-this-name")
    StyleTransferNet(width=0.1).save_pretrained(tmp_path)
    assert "in a clone of its repository" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("url", ["https://github.com/owner/name", ""], ids=["address", "no address"])
def test_the_page_says_how_to_get_the_package(url, monkeypatch, tmp_path):
    described = Message()
    described["Project-URL"] = "Paper, https://arxiv.org/abs/1603.08155"
    if url:
        described["Project-URL"] = f"Source, {url}"
    monkeypatch.setattr(
        "repro.pretrained.installed.metadata", {"perceptual-losses-repro": described}.__getitem__
    )
    StyleTransferNet(width=0.1).save_pretrained(tmp_path)
    page = (tmp_path / "README.md").read_text()
    links = re.findall(r"https?://[^\s)`]+", page)
    if url:
        assert f"but:\n\n```bash\npip install {url}/archive/main.zip\n```\n\nThen this loads it" in page
        assert links.count(f"{url}/archive/main.zip") == 1
    else:
        assert "but what `pip install .` installs in a clone of its repository.\n\nThen this loads it" in page
    assert {link for link in links if not (url and link.startswith(url))} == {
        "https://arxiv.org/abs/1603.08155"
    }


def test_a_trained_network_keeps_its_recipe(tmp_path):
    recipe = style_recipe("rug")
    first = StyleTransferNet.from_pretrained(write(recipe, tmp_path / "rug.safetensors"))
    assert first.recipe == json.loads(json.dumps(recipe.to_dict()))
    first.save_pretrained(tmp_path / "saved")
    second = StyleTransferNet.from_pretrained(str(tmp_path / "saved"))
    assert second.recipe == first.recipe
    assert_same(first, second)
    assert '"picture": "kelim"' in (tmp_path / "saved" / "README.md").read_text()


def test_what_is_given_away_names_no_folder_of_the_machine(tmp_path):
    recipe = style_recipe("rug")
    style = replace(recipe.style, picture=str(tmp_path / "somebody" / "drawing.jpg"))
    recipe = replace(recipe, style=style, start_from=str(tmp_path / "somebody" / "first"))
    network = StyleTransferNet.from_pretrained(write(recipe, tmp_path / "rug.safetensors"))
    network.save_pretrained(tmp_path / "saved")
    for file in (tmp_path / "saved").iterdir():
        assert b"somebody" not in file.read_bytes(), file.name
    kept = StyleTransferNet.from_pretrained(tmp_path / "saved").recipe
    assert (kept["style"]["picture"], kept["start_from"]) == ("drawing.jpg", "first")


def test_half_precision_is_loaded_as_float32(tmp_path):
    tensors, metadata = read_weights(write(style_recipe(), tmp_path / "full.safetensors"))
    halves = {key: value.half() for key, value in tensors.items()}
    save_weights(halves, tmp_path / "half.safetensors", {"recipe": metadata["recipe"]})
    network = StyleTransferNet.from_pretrained(tmp_path / "half.safetensors")
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


def test_a_network_of_the_other_kind_is_refused(tmp_path):
    path = write(sr_recipe(), tmp_path / "x4.safetensors")
    with pytest.raises(ValueError, match="holds a SuperResolutionNet, not a StyleTransferNet"):
        StyleTransferNet.from_pretrained(path)


def _without(tensors, key):
    return {name: value for name, value in tensors.items() if name != key}


def _with(tensors, key, value):
    return {**tensors, key: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: _without(t, "layers.conv.conv.bias"), "has no layers.conv.conv.bias"),
        (lambda t: _with(t, "more", torch.zeros(1)), "has an unknown more"),
        (
            lambda t: _with(t, "layers.output.conv.bias", torch.zeros(4)),
            r"layers.output.conv.bias has shape \(4,\), expected \(3,\)",
        ),
        (
            lambda t: _with(t, "layers.output.conv.bias", torch.tensor([0.0, float("nan"), 0.0])),
            "layers.output.conv.bias holds values that are not finite",
        ),
        (
            lambda t: _with(t, "layers.output.conv.bias", torch.tensor([0.0, -20000.0, 0.0])),
            "layers.output.conv.bias holds 2e\\+04, more than any trained weight",
        ),
        (
            lambda t: _with(t, "layers.output.conv.bias", torch.zeros(3, dtype=torch.int64)),
            "layers.output.conv.bias is torch.int64, expected torch.float32",
        ),
        (
            lambda t: _with(t, "layers.conv.norm.running_var", -torch.ones(3)),
            "layers.conv.norm.running_var holds a negative variance",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message, tmp_path):
    path = write(style_recipe(norm="batch"), tmp_path / "a.safetensors")
    tensors, metadata = read_weights(path)
    save_weights(change(tensors), path, {"recipe": metadata["recipe"]})
    with pytest.raises(AssetError, match=message) as caught:
        StyleTransferNet.from_pretrained(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "do not say which network"),
        ({"recipe": "{"}, "do not say which network"),
        ({"recipe": "[]"}, "do not say which network"),
        ({"config": '{"width": 1}'}, "do not say which network"),
        ({"config": '{"network": "StyleTransferNet", "depth": 3}'}, "options are not those of a Style"),
        ({"config": '{"network": "StyleTransferNet", "norm": "layer"}'}, "unknown norm 'layer'"),
        ({"config": '{"network": "Other"}'}, "Other"),
    ],
)
def test_metadata_that_describe_no_network_are_named(metadata, message, tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(StyleTransferNet(width=0.1, num_blocks=1).state_dict(), path, metadata)
    for load in (StyleTransferNet.from_pretrained, load_network):
        with pytest.raises((AssetError, ValueError), match=message):
            load(path)


def test_pickle_is_never_read(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    torch.save({"layers": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no file, no run, and no network"):
        StyleTransferNet.from_pretrained(folder)
    torch.save({"layers": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(AssetError, match="not a safetensors file"):
        StyleTransferNet.from_pretrained(folder)


def test_files_of_other_programs_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(AssetError, match="holds no network of this project"):
        StyleTransferNet.from_pretrained(path)


def test_a_folder_of_a_run_gives_its_best_weights(tmp_path):
    for name in ("model", "best"):
        write(style_recipe(), tmp_path / f"{name}.safetensors")
        assert find_file(tmp_path) == tmp_path / f"{name}.safetensors"
    assert find_file(tmp_path / "nothing") is None
    assert find_file("pocket") is None  # a loss network
    assert set(shipped("style")) | set(shipped("super-resolution")) == set(shipped())


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a download needs: one file of one repository."""

    content = b""

    def do_HEAD(self):
        if self.path != "/someone/network/resolve/main/model.safetensors":
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        return True

    def do_GET(self):
        if self.do_HEAD():
            self.wfile.write(self.content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path):
    """Run Python code in a process that takes a server on this machine for the Hub."""
    _Hub.content = write(sr_recipe(), tmp_path / "x4.safetensors").read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    settings |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}

    def run(code):
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=1800, env=os.environ | settings
        )

    yield run
    server.shutdown()
    server.server_close()


def test_a_network_is_downloaded_from_the_hub_once(hub):
    code = "from repro import SuperResolutionNet as Net\n"
    code += "net = Net.from_pretrained('someone/network'{})\nprint(net.factor, net.recipe['name'])"
    result = hub(code.format(""))
    assert result.stdout == "4 x4\n", result.stderr
    result = hub(code.format(", local_files_only=True"))
    assert result.stdout == "4 x4\n", result.stderr


def test_what_the_hub_does_not_have_is_one_line(hub):
    code = "from repro import SuperResolutionNet as Net\nfrom repro.errors import AssetError\n"
    code += "try:\n    Net.from_pretrained('someone/nothing')\nexcept AssetError as error:\n    print(error)"
    result = hub(code)
    (line,) = result.stdout.splitlines()
    assert line.startswith("someone/nothing: not on this machine, and model.safetensors could not be had")


def test_what_is_pushed_is_what_is_saved(monkeypatch):
    """The transfer is huggingface_hub's own; what it is given is looked at here."""
    pushed = {}

    def upload(self, *, repo_id, folder_path, **options):
        files = {file.name: file.read_bytes() for file in sorted(Path(folder_path).iterdir())}
        pushed[repo_id] = files

    class Created:
        repo_id = "someone/network"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, **options: Created)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    NETWORKS["x8"]().push_to_hub("someone/network", license="cc0-1.0")
    assert list(pushed["someone/network"]) == ["README.md", "config.json", "model.safetensors"]
    assert json.loads(pushed["someone/network"]["config.json"])["scale"] == 8
    page = ModelCard(pushed["someone/network"]["README.md"].decode())
    assert (page.data.license, page.data.library_name) == ("cc0-1.0", "repro")
    assert 'SuperResolutionNet.from_pretrained("someone/network")' in page.text


def test_a_run_without_weights_says_so(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    for load in (load_network, StyleTransferNet.from_pretrained):
        with pytest.raises(ValueError, match="the run has no weights yet"):
            load(tmp_path)


def test_digest_depends_on_names_types_shapes_and_values():
    base = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    others = [
        {"a": base["a"]},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].view(2, 3), "b": base["b"]},
        {"a": base["a"], "b": base["b"].double()},
        {"a": base["a"].flip(0), "b": base["b"]},
    ]
    assert len({digest(other) for other in [base, *others]}) == 6
    assert digest(dict(reversed(base.items()))) == digest(base)
