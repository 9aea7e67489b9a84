"""A network in ONNX Runtime gives what it gives in PyTorch, at every size, and its file says what it is."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from repro import StyleTransferNet, SuperResolutionNet, cli, export
from repro.errors import ExportError
from repro.export import export_onnx
from repro.pretrained import describe
from repro.transform_nets import load_network
from small_networks import style_recipe, write

SMALL = {"width": 0.1, "num_blocks": 1}
NETWORKS = {
    "instance-resize-reflect": lambda: StyleTransferNet(
        norm="instance", upsample="resize", padding="reflect", **SMALL
    ),
    "batch-transposed-reflect-start": lambda: StyleTransferNet(**SMALL),
    "batch-pixelshuffle-zero-tanh255": lambda: StyleTransferNet(
        upsample="pixelshuffle", padding="zero", output="tanh255", **SMALL
    ),
    "x4": lambda: SuperResolutionNet(4, output="linear", **SMALL),
    "x8-residual": lambda: SuperResolutionNet(
        8, norm="none", upsample="pixelshuffle", padding="reflect", output="residual", **SMALL
    ),
}
SIZES = [(2, 3, 33, 47), (1, 3, 64, 18), (3, 3, 5, 2), (1, 3, 1, 1)]


def onnx_runtime(path):
    """The function that a file computes, from (N, 3, H, W) to (N, 3, factor H, factor W)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["result"], {"image": image.numpy()})[0])


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize("kind", NETWORKS)
def test_result_is_that_of_the_network_at_every_size(kind, tmp_path):
    path = tmp_path / "a.onnx"
    network = NETWORKS[kind]().train()
    network(torch.rand(2, 3, 32, 32))  # gives batch normalisation statistics of its own
    before = {key: value.clone() for key, value in network.state_dict().items()}
    export_onnx(network, path)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    onnx.checker.check_model(path, full_check=True)
    run = onnx_runtime(path)
    network.eval()
    for size in SIZES:
        image = torch.rand(size)
        with torch.no_grad():
            expected = network(image).clamp(0, 1)
        torch.testing.assert_close(run(image), expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def x4(tmp_path_factory):
    """A network whose values leave [0, 1], and its file."""
    torch.manual_seed(0)
    network = SuperResolutionNet(4, norm="none", output="residual", **SMALL).eval()
    torch.nn.init.constant_(network.layers.output.conv.bias, 100.0)
    path = tmp_path_factory.mktemp("exported") / "x4.onnx"
    export_onnx(network, path)
    return network, path


def test_result_is_clipped(x4, astronaut):
    network, path = x4
    result = onnx_runtime(path)(astronaut)
    with torch.no_grad():
        assert network(astronaut).max() > 1.1
    assert result.max() == 1
    assert result.min() >= 0


def test_a_file_says_what_it_is_and_nothing_of_this_machine(x4):
    network, path = x4
    model = onnx.load(path)
    shapes = [
        (value.name, [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim])
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [
        ("image", ["batch", 3, "height", "width"]),
        ("result", ["batch", 3, "4*height", "4*width"]),
    ]
    assert "SuperResolutionNet of the package repro" in model.doc_string
    assert metadata(path)["project"] == "repro"
    name, options, recipe = describe(metadata(path), path)  # as a safetensors file is read
    assert (name, recipe) == ("SuperResolutionNet", None)
    assert SuperResolutionNet(**options).state_dict().keys() == network.state_dict().keys()
    content = path.read_bytes()
    for trace in (str(Path(export.__file__).parents[2]).encode(), b"site-packages", b".py"):
        assert trace not in content


def test_a_file_that_does_not_do_what_the_network_does_is_not_written(x4, tmp_path, monkeypatch):
    network, path = x4
    monkeypatch.setattr(export, "_convert", lambda network: onnx.load(path))
    with pytest.raises(ExportError, match=r"off by inf on an image of 13 x 3 px"):
        export_onnx(SuperResolutionNet(8, **SMALL), tmp_path / "a.onnx")
    with pytest.raises(ExportError, match=r"off by 0\.\d+ on an image"):
        export_onnx(SuperResolutionNet(4, **SMALL), tmp_path / "a.onnx")
    assert not list(tmp_path.glob("*.onnx"))
    export_onnx(network.double(), tmp_path / "a.onnx")  # of any precision
    assert (tmp_path / "a.onnx").is_file()
    network.float()


def test_an_exporter_that_cannot_do_it_says_so(x4, tmp_path, monkeypatch):
    network, path = x4
    broken = onnx.load(path)
    broken.graph.node[0].op_type = "Nonsense"
    monkeypatch.setattr(export, "_convert", lambda network: broken)
    with pytest.raises(ExportError, match="no valid ONNX"):
        export_onnx(network, tmp_path / "a.onnx")
    monkeypatch.undo()

    def refuse(*arguments, **options):
        raise RuntimeError("a page of where")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ExportError, match=r"PyTorch \S+ cannot export this network \(RuntimeError\)"):
        export_onnx(network, tmp_path / "a.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_the_file_names_no_folder_of_the_machine(tmp_path):
    recipe = style_recipe("rug")
    picture = str(tmp_path / "somebody" / "drawing.jpg")
    recipe = replace(recipe, style=replace(recipe.style, picture=picture))
    export_onnx(load_network(write(recipe, tmp_path / "rug.safetensors")), tmp_path / "rug.onnx")
    assert b"somebody" not in (tmp_path / "rug.onnx").read_bytes()
    assert json.loads(metadata(tmp_path / "rug.onnx")["recipe"])["style"]["picture"] == "drawing.jpg"


def test_another_kind_of_network_is_refused(tmp_path):
    with pytest.raises(TypeError, match="got Conv2d"):
        export_onnx(torch.nn.Conv2d(3, 3, 3), tmp_path / "a.onnx")


def test_the_command_in_a_process_of_its_own(tmp_path):
    recipe = style_recipe("rug", norm="batch", padding="zero")
    source, output = write(recipe, tmp_path / "rug.safetensors"), tmp_path / "new" / "rug.onnx"
    command = [sys.executable, "-W", "error", "-m", "repro", "export", str(source), "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert result.stderr == f"Wrote {output}.\n"
    assert json.loads(metadata(output)["recipe"]) == json.loads(json.dumps(recipe.to_dict()))
    image = torch.rand(1, 3, 14, 9)
    with torch.no_grad():
        expected = StyleTransferNet.from_pretrained(source)(image).clamp(0, 1)
    np.testing.assert_allclose(onnx_runtime(output)(image), expected, atol=1e-5, rtol=0)


def test_errors_of_the_command_are_one_line(tmp_path, monkeypatch, capsys):
    source, existing = write(style_recipe(), tmp_path / "a.safetensors"), tmp_path / "mine.onnx"
    existing.write_bytes(b"mine")
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else name)
    cases = [
        ((source, "-o", existing), "mine.onnx exists; give another name or --overwrite"),
        ((source, "-o", tmp_path / "b.pt"), "unknown suffix '.pt'; use one of .onnx"),
        (("nothing", "-o", tmp_path / "b.onnx"), "nothing: no file, no run, and no network of the package"),
        (
            (source, "-o", existing, "--overwrite"),
            "needs onnxscript; get it with: pip install onnxscript",
        ),
    ]
    for arguments, words in cases:
        monkeypatch.setattr(sys, "argv", ["repro", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output, errors = capsys.readouterr()
        (line,) = errors.splitlines()
        assert (ended.value.code, output) == (2, "")
        assert line.startswith("repro: ")
        assert words in line
    assert existing.read_bytes() == b"mine"
