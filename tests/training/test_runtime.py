"""Precision, processes and signals."""

import signal
import threading

import pytest
import torch

from repro.training.runtime import any_process, caught_signals, default_precision, make_accelerator


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def test_default_precision_is_what_the_machine_has_instructions_for(monkeypatch):
    def machine(gpu, gpu_bf16, cpu_bf16):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_bf16)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu_bf16, raising=False)
        return default_precision()

    assert machine(gpu=False, gpu_bf16=False, cpu_bf16=True) == "bf16"
    assert machine(gpu=False, gpu_bf16=False, cpu_bf16=False) == "no"
    assert machine(gpu=True, gpu_bf16=True, cpu_bf16=False) == "bf16"
    assert machine(gpu=True, gpu_bf16=False, cpu_bf16=True) == "fp16"
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert default_precision() == "no"


def test_precision_may_differ_from_one_training_to_the_next():
    for precision, dtype in (("no", torch.float32), ("bf16", torch.bfloat16), ("no", torch.float32)):
        accelerator = make_accelerator(precision)
        assert accelerator.mixed_precision == precision
        with accelerator.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_auto_is_the_default_precision(monkeypatch):
    for precision in ("no", "bf16"):
        monkeypatch.setattr(
            "repro.training.runtime.default_precision", lambda cpu, precision=precision: precision
        )
        assert make_accelerator("auto").mixed_precision == precision


def test_the_device_that_the_environment_names_is_taken(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    monkeypatch.setenv("REPRO_DEVICE", "cpu")
    assert make_accelerator("no").device == torch.device("cpu")


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="unknown precision 'float32'; use auto, no, bf16 or fp16"):
        make_accelerator("float32")


def test_one_process_decides_alone():
    accelerator = make_accelerator("no")
    assert accelerator.num_processes == 1
    assert any_process(accelerator, True) is True
    assert any_process(accelerator, False) is False


@pytest.fixture
def received():
    """Signals that reach the handlers which were there before."""
    numbers = []
    before = {
        number: signal.signal(number, lambda number, frame: numbers.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_a_second_one_acts_as_before(received, first, second):
    with caught_signals() as asked:
        assert asked == []
        signal.raise_signal(first)
        assert (asked, received) == ([first], [])
        signal.raise_signal(second)
        assert (asked, received) == ([first], [second])
    signal.raise_signal(first)
    assert (asked, received) == ([first], [second, first])


def test_handlers_come_back_whatever_happens():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyError), caught_signals():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_handler_that_is_not_pythons_becomes_the_default(received, monkeypatch):
    monkeypatch.setattr(
        signal, "signal", lambda number, handler, was=signal.signal: was(number, handler) and None
    )
    with caught_signals():
        pass
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_another_thread_cannot_catch_signals_but_can_train():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def work():
        with caught_signals() as asked:
            seen.append((asked, [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [([], before)]
