import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from agents import ppo
from agents.evaluation import evaluate, interval, iqm, summary
from agents.registry import load, save
from envs import Spaces
from training.errors import InputError
from training.files import MANIFEST, sha256


def test_the_interquartile_mean_is_scipys_where_quarters_are_whole() -> None:
    values = np.random.default_rng(0).normal(size=40)
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_the_interquartile_mean_counts_border_values_in_part() -> None:
    assert iqm(np.array([0.0, 1.0, 2.0, 3.0, 9.0, 0.0])) == pytest.approx((0.5 * 0 + 1 + 2 + 0.5 * 3) / 3)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = interval(rng.normal(size=30))
        covered += low <= 0 <= high
    assert 180 <= covered <= 199  # 95 % of 200 is 190; small samples give a little less


def test_evaluation_repeats_exactly_and_depends_on_its_seed_only() -> None:
    def right(obs: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(obs), dtype=torch.int64)

    first = evaluate(right, "CartPole-v1", 5, seed=1)
    torch.manual_seed(7)
    np.random.seed(7)
    again, other = evaluate(right, "CartPole-v1", 5, seed=1), evaluate(right, "CartPole-v1", 5, seed=2)
    np.testing.assert_array_equal(first.obs, again.obs)
    assert first.obs[0].tolist() != other.obs[0].tolist()
    assert summary(first)["eval/length"] == first.length.mean()


def test_a_saved_agent_acts_the_same_after_loading(tmp_path) -> None:
    for settings, spaces in (
        ({}, Spaces(4, discrete=2)),
        ({"shared": False, "activation": "tanh"}, Spaces(4, low=(-2.0,), high=(2.0,))),
    ):
        learner = ppo.Learner(ppo.Config(**settings), spaces)
        save(tmp_path / "model", "ppo", learner)
        agent = load(tmp_path / "model")
        obs = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        assert torch.equal(agent.policy.act(obs), learner.model.act(obs))
        assert (agent.kind, agent.cfg, agent.spaces) == ("ppo", learner.cfg, spaces)


def test_a_model_of_another_kind_is_refused(tmp_path) -> None:
    from training.checkpoint import save_model

    save_model(tmp_path / "model", {"w": torch.zeros(1)}, {"kind": "vae"})
    with pytest.raises(InputError, match="holds a 'vae', expected an agent"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    "wrong", [[1], {}, {"config": [1]}, {"config": None}, {"spaces": "x"}, {"step": "x"}, {"step": None}]
)
def test_a_description_that_is_not_one_is_refused(wrong: list | dict, tmp_path: Path) -> None:
    learner = ppo.Learner(ppo.Config(), Spaces(4, discrete=2))
    save(tmp_path, "ppo", learner)
    whole = json.loads((tmp_path / "model.json").read_text())
    told = whole | wrong if wrong and isinstance(wrong, dict) else wrong or {"kind": "ppo"}
    (tmp_path / "model.json").write_text(json.dumps(told))
    sums = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(sums | {"model.json": sha256(tmp_path / "model.json")}))
    with pytest.raises(InputError, match=r"model\.json"):
        load(tmp_path)
