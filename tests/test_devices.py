"""The device is chosen in one place, and named so that a result can be understood elsewhere."""

import platform

import pytest
import torch

from repro import devices
from repro.devices import default_device, device_name


@pytest.mark.parametrize(("cuda", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_first_gpu_is_taken_where_there_is_one(cuda, kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert default_device() == torch.device(kind)


@pytest.mark.parametrize(("count", "end"), [(1, "1 thread"), (2, "2 threads")])
@pytest.mark.parametrize(
    "told, name",
    [
        (
            "processor\t: 0\nmodel\t\t: 2\nmodel name\t: AMD EPYC 9005 \nprocessor\t: 1\nmodel name\t: x\n",
            "AMD EPYC 9005",
        ),
        ("processor : 0\nFeatures : fp asimd\n", "a64"),  # ARM: no name there
        (None, "a64"),  # not Linux
    ],
)
def test_the_processor_is_named_with_its_instructions_and_threads(
    told, name, count, end, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "a64")
    if told is not None:
        devices.CPUINFO.write_text(told)
    assert device_name() == f"CPU ({name}, AVX512), {end}"


def test_the_device_that_is_asked_for_is_named_and_not_the_gpu_beside_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"GPU {device}")
    assert device_name() == "GPU None"
    assert device_name(torch.device("cuda", 1)) == "GPU cuda:1"
    assert device_name("cpu").startswith("CPU (")
    assert device_name(torch.device("mps")) == "mps"
