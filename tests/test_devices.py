"""The device is chosen in one place, and named so that a result can be understood elsewhere."""

import platform

import pytest
import torch

from repro import devices
from repro.devices import device, device_name


@pytest.fixture
def machine(monkeypatch):
    """Pretend that so many GPUs of each kind are here."""
    monkeypatch.delenv("REPRO_DEVICE", raising=False)

    def pretend(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    pretend()
    return pretend


@pytest.mark.parametrize(
    ("here", "kind"),
    [({"cuda": 1}, "cuda"), ({"mps": True}, "mps"), ({"cuda": 1, "mps": True}, "cuda"), ({}, "cpu")],
)
def test_auto_takes_a_gpu_where_there_is_one(here, kind, machine):
    machine(**here)
    assert device() == device("auto") == torch.device(kind)
    assert device("cpu") == torch.device("cpu")


def test_auto_is_what_the_environment_says(machine, monkeypatch):
    machine(cuda=2)
    monkeypatch.setenv("REPRO_DEVICE", "cpu")
    assert device() == torch.device("cpu")
    assert device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "unknown device 'gpu'; choose auto, cpu, cuda or mps"),
        ("cuda:x", "unknown device 'cuda:x'"),
        ("cpu:", "unknown device 'cpu:'"),
        ("mps", "no device 'mps'; PyTorch finds here: cpu, cuda"),
        ("cuda:2", "no device 'cuda:2'"),
    ],
)
def test_a_device_that_is_not_there_is_named(name, message, machine):
    machine(cuda=2)
    with pytest.raises(ValueError, match=message):
        device(name)


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


def test_the_device_that_is_asked_for_is_named_and_not_the_gpu_beside_it(machine, monkeypatch):
    machine(cuda=2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"GPU {device}")
    assert device_name() == "GPU None"
    assert device_name(torch.device("cuda", 1)) == "GPU cuda:1"
    assert device_name("cpu").startswith("CPU (")
    assert device_name(torch.device("mps")) == "mps"
