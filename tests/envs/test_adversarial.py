import numpy as np
import pytest
import torch
from torch import Tensor

from envs.adversarial import against, fgsm, pgd
from envs.faults import Fault
from envs.recording import record
from envs.twins import first_change

SCALE = (1.0, 2.0)
OBS = np.array([0.5, -1.0], np.float32)


def linear(obs: Tensor) -> Tensor:
    """Two logits: the first sensor against the second, doubled."""
    return torch.stack([obs[:, 0], 2 * obs[:, 1]], dim=1)


def test_fgsm_makes_the_best_action_unlikely_by_the_whole_reach() -> None:
    found = fgsm(against(linear, discrete=True), 0.1, SCALE)(OBS)
    np.testing.assert_allclose(found, [0.4, -0.8], atol=1e-6)  # down with the best logit, up with the other


def test_pgd_ends_where_a_linear_policy_is_hurt_most() -> None:
    found = pgd(against(linear, discrete=True), 0.1, SCALE)(OBS)
    np.testing.assert_allclose(found, [0.4, -0.8], atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.1])
def test_no_attack_reaches_further_than_epsilon(epsilon: float) -> None:
    goal = against(lambda obs: torch.sin(20 * obs), discrete=False)
    for make in (fgsm, pgd):
        found = make(goal, epsilon, SCALE)(OBS)
        assert (np.abs(found - OBS) <= epsilon * np.array(SCALE) * 1.001).all()
        assert (found != OBS).all()


def test_an_attack_may_also_lower_a_score() -> None:
    hurt = against(linear, discrete=True)

    def hidden(changed: Tensor, true: Tensor) -> Tensor:
        return hurt(changed, true) - 100 * (changed[:, 1] - true[:, 1]).square()

    found = pgd(hidden, 0.1, SCALE, steps=40)(OBS)
    assert found[0] == pytest.approx(0.4)
    assert abs(found[1] + 1.0) < 0.12


def test_an_attack_is_a_fault_like_others() -> None:
    def policy(obs: Tensor) -> Tensor:
        return torch.stack([-obs[:, 2] - obs[:, 3], obs[:, 2] + obs[:, 3]], dim=1)

    fault = Fault(kind="attack", attack=fgsm(against(policy, discrete=True), 0.1, (1.0,) * 4), onset=5)

    def act(obs: Tensor) -> Tensor:
        return policy(obs).argmax(1)

    clean, attacked = record(act, "CartPole-v1", [1]), record(act, "CartPole-v1", [1], [fault])
    assert first_change(attacked, clean).tolist() == [5]
