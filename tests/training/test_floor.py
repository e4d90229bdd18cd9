"""Devices and seeds."""

from pathlib import Path

import pytest
import torch

from generative import vae
from lab.learning import learn
from training import device, seeds
from training.checkpoint import load_model
from training.errors import InputError
from training.folder import read_rows
from training.run import RunConfig


def test_unknown_and_absent_devices_are_refused() -> None:
    assert device.pick("cpu").type == "cpu"
    for name in ("gpu", "cuda:99", "meta:x"):
        with pytest.raises(InputError, match=f"device is '{name}'"):
            device.pick(name)


def test_a_device_without_numbers_of_64_bits_is_not_taken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert device.pick("auto").type == "cpu"


def test_streams_of_other_names_and_seeds_differ_and_repeat() -> None:
    found = {seeds.stream(seed, name) for seed in range(50) for name in ("a", "b", "ab", "")}
    assert len(found) == 200
    assert seeds.stream(3, "a") == seeds.stream(3, "a")
    drawn = [torch.rand(3, generator=seeds.torch_generator(0, name)) for name in ("a", "a", "b")]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precisions_round_products_and_nothing_else(precision: str) -> None:
    a, b = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    low = device.fast(lambda a, b: (a @ b, a + b), "eager", precision)
    product, total = low(a, b)
    assert product.dtype == (torch.bfloat16 if precision == "bf16" else torch.float16)
    torch.testing.assert_close(product.float(), a @ b, rtol=0.02, atol=0.05)
    assert torch.equal(total, a + b)


def test_learning_in_low_precision_follows_the_curve_of_full_precision(tmp_path: Path) -> None:
    curves = {}
    for precision in ("fp32", "bf16", "fp16"):
        run = RunConfig(steps=120, log_every=20, precision=precision, wandb="disabled")
        learn("vae", vae.Config(run=run), tmp_path / precision)
        rows = [row for row in read_rows(tmp_path / precision) if "loss/negative_elbo" in row]
        curves[precision] = torch.tensor([row["loss/negative_elbo"] for row in rows])
        weights, _ = load_model(tmp_path / precision / "model")
        assert not {w.dtype for w in weights.values()} & {torch.bfloat16, torch.float16}
    for precision in ("bf16", "fp16"):
        assert not torch.equal(curves[precision], curves["fp32"])
        torch.testing.assert_close(curves[precision], curves["fp32"], rtol=0.02, atol=0)


def test_numbers_below_the_normal_range_become_zero() -> None:
    tiny = torch.full((100,), 1e-39)
    assert tiny.mul(0.5).all()
    device.set_process()
    assert not tiny.mul(0.5).any()


def test_what_is_done_on_one_thread_gives_the_others_back() -> None:
    torch.set_num_threads(2)

    @device.on_one_thread()
    def counted() -> int:
        return torch.get_num_threads()

    assert (counted(), torch.get_num_threads()) == (1, 2)
    assert (counted(), torch.get_num_threads()) == (1, 2)
