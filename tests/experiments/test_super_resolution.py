"""Scores of super-resolution: protocols against published rows and against each other."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from repro.degradations import low_resolution
from repro.experiments import super_resolution
from repro.experiments.scorecard import paper_numbers
from repro.experiments.support.sr_protocols import (
    PROTOCOLS,
    Protocol,
    bicubic_score,
    crop_to_multiple,
    is_grey_file,
    to_8_bit,
)
from repro.images import center_crop, match_histograms, resize, to_array
from repro.inference import upscale
from repro.loss_network import LossNetwork
from repro.losses import feature_reconstruction_loss
from repro.metrics import evaluate_sr, lpips, psnr, ssim
from repro.picture_files import load_image, save_image
from small_networks import sr_recipe, write


@pytest.fixture
def folder(tmp_path, astronaut):
    """Two pictures, one with sides that are no multiples of 8."""
    save_image(astronaut[..., :96, :96], tmp_path / "testset" / "a.png")
    save_image(astronaut[..., :101, :90], tmp_path / "testset" / "b.png")
    return tmp_path / "testset"


@pytest.mark.parametrize("factor", [4, 8])
def test_the_default_protocol_is_that_of_the_metrics(astronaut, factor):
    low = (255 * low_resolution(astronaut, factor, 0)).round() / 255
    expected = evaluate_sr(resize(low, (128, 128)), astronaut, factor)
    assert bicubic_score(astronaut, factor, Protocol()) == pytest.approx(expected)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_scores_a_picture_of_odd_size(astronaut, name):
    score = bicubic_score(astronaut[..., :101, :90], 4, PROTOCOLS[name])
    assert 10 < score["psnr"] < 40
    assert 0.2 < score["ssim"] < 1


def test_what_a_protocol_changes_is_seen(astronaut):
    scores = {name: bicubic_score(astronaut, 4, protocol) for name, protocol in PROTOCOLS.items()}
    plain = scores["antialiased bicubic"]
    # Full range is a factor of 255 / 219 on luma, which is 1.32 dB.
    assert scores["full-range Y"]["psnr"] == pytest.approx(plain["psnr"] - 1.32, abs=0.05)
    assert scores["uniform SSIM window"]["psnr"] == pytest.approx(plain["psnr"])
    assert scores["uniform SSIM window"]["ssim"] != pytest.approx(plain["ssim"], abs=1e-3)
    assert scores["bilinear upsampling"]["psnr"] < plain["psnr"]
    assert scores["point-sampled"]["psnr"] < plain["psnr"]
    assert scores["RGB"]["psnr"] < plain["psnr"]


def _shown(low, factor):
    """Bicubic upsampling of what a file of 8 bits would hold."""
    return resize(to_8_bit(low), tuple(factor * side for side in low.shape[-2:]))


def test_each_choice_of_a_protocol_is_what_it_is_called(astronaut):
    def scores(result, original=astronaut, border=4):
        return {"psnr": psnr(result, original, border).item(), "ssim": ssim(result, original, border).item()}

    plain = _shown(low_resolution(astronaut, 4, 0), 4)
    odd, whole = astronaut[..., :103, :91], astronaut[..., :100, :88]
    expected = {
        "no border cut off": scores(plain, border=0),
        "blur 1": scores(_shown(low_resolution(astronaut, 4, 1.0), 4)),
        "area": scores(_shown(F.avg_pool2d(astronaut, 4), 4)),
        "every n-th pixel": scores(_shown(astronaut[..., 2::4, 2::4], 4)),
        "histogram matched": scores(match_histograms(plain, to_8_bit(low_resolution(astronaut, 4, 0)))),
        "squares of 288 px": bicubic_score(center_crop(astronaut, 288), 4, Protocol()),
    }
    for name, score in expected.items():
        assert bicubic_score(astronaut, 4, PROTOCOLS[name]) == pytest.approx(score, rel=1e-5), name
    uncropped = scores(_shown(resize(odd, (25, 22)), 4), whole)
    assert bicubic_score(odd, 4, PROTOCOLS["whole picture"]) == pytest.approx(uncropped, rel=1e-5)


def test_a_greyscale_file_as_it_is(astronaut, tmp_path):
    grey = astronaut.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    as_it_is, rgb = Protocol(grey_as_is=True), Protocol(channel="rgb")
    assert bicubic_score(grey, 4, as_it_is, grey=True) == bicubic_score(grey, 4, rgb)
    assert bicubic_score(grey, 4, as_it_is) == bicubic_score(grey, 4, Protocol())
    assert bicubic_score(grey, 4, Protocol(), grey=True) == bicubic_score(grey, 4, Protocol())
    Image.fromarray(to_array(grey)).save(tmp_path / "rgb.png")
    Image.fromarray(to_array(grey)).convert("L").save(tmp_path / "grey.png")
    assert is_grey_file(tmp_path / "grey.png")
    assert not is_grey_file(tmp_path / "rgb.png")


def test_scikit_image_agrees_with_the_metrics(astronaut):
    from repro.experiments.support.sr_protocols import _score_with_skimage

    result = resize(resize(astronaut, (32, 32)), (128, 128))
    ours = evaluate_sr(result, astronaut, 4)
    theirs = _score_with_skimage(result, astronaut, 4, Protocol())
    assert theirs["psnr"] == pytest.approx(ours["psnr"])
    assert theirs["ssim"] == pytest.approx(ours["ssim"], abs=1e-9)


def test_rows_of_a_folder_and_of_networks(folder, tmp_path):
    networks = [str(write(sr_recipe("x4"), tmp_path / "x4.safetensors"))]
    networks += [str(write(sr_recipe("x8_pixel", 8, False), tmp_path / "x8_pixel.safetensors"))]
    result = super_resolution.run("smoke", "pocket", data=folder, networks=networks)
    data = result.data
    keys = {(row["factor"], row["input"], row["method"]) for row in data["images"]}
    assert keys == {
        (factor, given, method)
        for given in ("plain", "blurred")
        for factor, method in (
            (4, "bicubic"), (4, "x4"), (4, "x4, unmatched"), (8, "bicubic"), (8, "x8_pixel")
        )
    }  # fmt: skip
    assert set(result.pictures) == {
        *(f"x4/{method}" for method in ("bicubic", "x4", "original")),
        *(f"x8/{method}" for method in ("bicubic", "x8_pixel", "original")),
    }
    assert {row["set"] for row in data["images"]} == {"testset"}
    mean = next(row for row in data["means"] if row["method"] == "x4" and row["input"] == "plain")
    own = [row for row in data["images"] if row["method"] == "x4" and row["input"] == "plain"]
    assert mean["psnr"] == pytest.approx(sum(row["psnr"] for row in own) / 2, rel=1e-5)
    assert mean["paper"] is None
    assert data["explained"] == {"x4": None, "x8": None}
    assert set(result.made_with["networks"]) == {"x4", "x8_pixel"}
    original = crop_to_multiple(load_image(folder / "a.png"), 4)
    low = (255 * low_resolution(original, 4, 0)).round() / 255
    expected = evaluate_sr(upscale(low, network=networks[0]), original, 4)
    first = next(row for row in own if row["picture"] == "a")
    assert first["psnr"] == pytest.approx(expected["psnr"], abs=1e-3)
    blurred = evaluate_sr(resize(to_8_bit(low_resolution(original, 4, 1.0)), (96, 96)), original, 4)
    of = {"picture": "a", "factor": 4, "method": "bicubic", "input": "blurred"}
    (row,) = (row for row in data["images"] if of.items() <= row.items())
    assert row["psnr"] == pytest.approx(blurred["psnr"], abs=1e-3)


def test_rows_of_protocols_are_means_with_greyscale_files_as_they_are(folder, monkeypatch):
    with Image.open(folder / "a.png") as file:
        file.convert("L").save(folder / "a.png")
    data = super_resolution.run("smoke", "pocket", data=folder, networks=[]).data
    pictures = {"a": load_image(folder / "a.png"), "b": load_image(folder / "b.png")[..., 2:98, :]}
    for row in data["protocols"]:
        protocol = PROTOCOLS[row["protocol"]]
        scores = [bicubic_score(pictures[x], row["factor"], protocol, x == "a") for x in pictures]
        for key in ("psnr", "ssim"):
            assert row[key] == pytest.approx((scores[0][key] + scores[1][key]) / 2, rel=1e-5)
    assert [row["protocol"] for row in data["protocols"]] == 2 * list(PROTOCOLS)[:4]
    off = [{"protocol": "a", "psnr": 0.05, "ssim": 1.0}, {"protocol": "b", "psnr": 0.06, "ssim": 0.0}]
    monkeypatch.setattr(super_resolution, "_off", lambda protocols, factor: off)
    data = super_resolution.run("smoke", "pocket", data=folder, networks=[]).data
    assert data["explained"] == {"x4": ["a"], "x8": ["a"]}


def test_numbers_of_the_paper_stand_beside_plain_inputs_of_complete_sets_only(astronaut):
    row = {"factor": 4, "set": "set5", "method": "bicubic", "psnr": 28.0, "ssim": 0.8}
    images = [{**row, "input": given} for given in ("plain", "blurred")]
    paper = {"psnr": 28.43, "ssim": 0.8114}
    for complete, expected in ((["set5"], [paper, None]), ([], [None, None])):
        assert [mean["paper"] for mean in super_resolution._means(images, complete)] == expected
    pictures, name = {"baby": astronaut, "bird": astronaut.flip(2)}, "antialiased bicubic"
    single = {"psnr": 31.78, "ssim": 0.8577}
    for complete, expected in (
        (True, {"set5": paper, "baby": single}),
        (False, dict.fromkeys(["set5", "baby"])),
    ):
        rows = super_resolution._protocol_rows("set5", pictures, 4, name, set(), complete)
        assert {row["of"]: row["paper"] for row in rows} == expected
        assert rows[1]["psnr"] == pytest.approx(bicubic_score(astronaut, 4, Protocol())["psnr"], rel=1e-5)


def test_a_network_of_the_feature_loss_with_and_without_matched_histograms(folder, tmp_path):
    network = str(write(sr_recipe("x4"), tmp_path / "x4.safetensors"))
    images = super_resolution.run("smoke", "pocket", data=folder, networks=[network]).data["images"]
    row = next(row for row in images if (row["picture"], row["method"]) == ("b", "x4, unmatched"))
    original = crop_to_multiple(load_image(folder / "b.png")[..., 2:98, :], 4)  # smoke takes the middle
    low = (255 * low_resolution(original, 4, 0)).round() / 255
    result = upscale(low, network=network, match_histogram=False)
    assert row["psnr"] == pytest.approx(evaluate_sr(result, original, 4)["psnr"], abs=1e-3)
    loss_network = LossNetwork("pocket")
    own, known = (loss_network((255 * x.clamp(0, 1)).round() / 255) for x in (result, original))
    for key, layer in (("feature", "relu2_2"), ("feature_relu3_3", "relu3_3")):
        error = feature_reconstruction_loss(own[layer], known[layer]).item()
        assert row[key] == pytest.approx(error, rel=1e-4)


def test_lpips_is_scored_where_it_is_here(folder, lpips_is_here):
    result = super_resolution.run("smoke", "pocket", data=folder, networks=[])
    row = next(row for row in result.data["images"] if row["picture"] == "a" and row["input"] == "plain")
    original = load_image(folder / "a.png")
    low = to_8_bit(low_resolution(original, row["factor"], 0))
    shown = to_8_bit(resize(low, tuple(original.shape[-2:])))
    assert row["lpips"] == pytest.approx(lpips(shown, original).item(), rel=1e-4)
    assert all(("lpips" in row) == (row["input"] == "plain") for row in result.data["means"])
    assert result.made_with["lpips"]["network"] == "alex"


def test_pictures_of_one_name_are_refused(folder, astronaut):
    save_image(astronaut, folder / "a.jpg")
    with pytest.raises(ValueError, match="testset: two pictures have the same name"):
        super_resolution.run("smoke", "pocket", data=folder)


def test_sets_of_a_folder_are_found_by_name(folder, astronaut):
    save_image(astronaut, folder / "set14" / "c.png")
    data = super_resolution.run("smoke", "pocket", data=folder, networks=[]).data
    assert {(row["set"], row["picture"]) for row in data["images"]} == {("set14", "c")}


def test_paper_rows_belong_to_complete_sets_and_to_their_methods():
    assert super_resolution._paper(4, "set5", "bicubic") == {"psnr": 28.43, "ssim": 0.8114}
    feature = super_resolution._paper(4, "set5", "x4")
    assert super_resolution._paper(4, "set5", "x4_relu2_2") == feature == {"psnr": 27.09, "ssim": 0.768}
    assert super_resolution._paper(8, "bsd100", "x8_pixel") == {"psnr": 22.54, "ssim": 0.5526}
    assert super_resolution._paper(8, "set5", "x4") is None
    pixel = super_resolution._paper(4, "set5", "x4_pixel")
    assert super_resolution._paper(4, "set5", "x4_pixel_paper") == pixel == {"psnr": 28.4, "ssim": 0.8205}
    assert super_resolution._paper(4, "testset", "bicubic") is None
    pictures = {str(i): torch.zeros(1) for i in range(5)}
    assert super_resolution._is_complete("set5", pictures, None)
    assert not super_resolution._is_complete("set5", pictures, 96)
    assert not super_resolution._is_complete("set14", pictures, None)
    orders = paper_numbers()["super_resolution"]
    for factor in ("x4", "x8"):
        for name in super_resolution.SETS:
            assert orders[factor][name]["feature"]["psnr"] < orders[factor][name]["bicubic"]["psnr"]


def test_which_protocols_explain_the_papers_rows():
    paper = {"psnr": 28.43, "ssim": 0.81}
    rows = [
        {"factor": 4, "of": "set5", "protocol": "a", "psnr": 28.40, "ssim": 0.80, "paper": paper},
        {"factor": 4, "of": "baby", "protocol": "a", "psnr": 28.53, "ssim": 0.81, "paper": paper},
        {"factor": 4, "of": "set5", "protocol": "b", "psnr": 28.44, "ssim": 0.79, "paper": paper},
        {"factor": 4, "of": "other", "protocol": "b", "psnr": 20.00, "ssim": 0.10, "paper": None},
        {"factor": 8, "of": "set5", "protocol": "b", "psnr": 20.00, "ssim": 0.10, "paper": paper},
    ]
    off = super_resolution._off(rows, 4)
    assert [row["protocol"] for row in off] == ["b", "a"]
    assert off[0]["psnr"] == pytest.approx(0.01)
    assert off[1] == {"protocol": "a", "psnr": pytest.approx(0.1), "ssim": pytest.approx(0.01)}


# Antialiased bicubic on RGB, rounded to 8 bits at each step, Y, border of the factor: x4 and x8 in dB, as
# Matlab's and Pillow's implementations give them.
PUBLISHED = {"set5": (28.43, 24.40), "set14": (26.09, 23.19)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_bicubic_rows_are_the_published_ones(name, test_data):
    pictures = [load_image(path) for path in sorted((test_data / name).glob("*.png"))]
    assert len(pictures) == {"set5": 5, "set14": 14}[name]
    for factor, expected in zip((4, 8), PUBLISHED[name], strict=True):
        scores = [bicubic_score(picture, factor, Protocol()) for picture in pictures]
        assert sum(score["psnr"] for score in scores) / len(scores) == pytest.approx(expected, abs=0.02)


def test_the_papers_rows_at_x4_are_those_with_greyscale_files_as_they_are(test_data):
    paper = paper_numbers()["super_resolution"]["x4"]
    for name in ("set5", "set14"):
        rows = {
            path.stem: bicubic_score(
                load_image(path), 4, PROTOCOLS["greyscale files as they are"], is_grey_file(path)
            )["psnr"]
            for path in sorted((test_data / name).glob("*.png"))
        }
        assert sum(rows.values()) / len(rows) == pytest.approx(paper[name]["bicubic"]["psnr"], abs=0.02)
        for picture in rows.keys() & paper["picture"].keys():
            assert rows[picture] == pytest.approx(paper["picture"][picture]["psnr"], abs=0.02)
