import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from agents.parts.gae import gae


def column(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None]


NEVER = torch.zeros(3, 1, dtype=torch.bool)
LAST = torch.tensor([[False], [False], [True]])


def test_gae_of_three_steps_by_hand() -> None:
    # δ = r + 0.5 V' − V = 1 + 0.5·4 − 2, 0 + 0.5·2 − 4, 2 + 0.5·8 − 2 = 1, −3, 4
    # A_2 = 4, A_1 = −3 + 0.25·4 = −2, A_0 = 1 + 0.25·(−2) = 0.5
    found = gae(column(1, 0, 2), column(2, 4, 2), column(4, 2, 8), NEVER, NEVER, gamma=0.5, lam=0.5)
    torch.testing.assert_close(found, column(0.5, -2, 4))


def test_gae_bootstraps_at_a_time_limit_and_not_at_a_termination() -> None:
    numbers = (column(1, 0, 2), column(2, 4, 2), column(4, 2, 8))
    cut = gae(*numbers, NEVER, LAST, gamma=0.5, lam=0.5)
    ended = gae(*numbers, LAST, NEVER, gamma=0.5, lam=0.5)
    assert cut[2].item() == 4  # 2 + 0.5·8 − 2
    assert ended[2].item() == 0  # 2 − 2


def test_gae_does_not_flow_over_an_episodes_end() -> None:
    ends = torch.tensor([[False], [True], [False]])
    for terminated, truncated in ((ends, NEVER), (NEVER, ends)):
        near, far = (
            gae(column(0, 0, r), column(0, 0, 0), column(0, 0, 0), terminated, truncated, gamma=0.9, lam=0.9)
            for r in (0.0, 100.0)
        )
        assert torch.equal(near[:2], far[:2])
        assert near[2] != far[2]


@pytest.mark.parametrize("seed", range(5))
def test_gae_agrees_with_stable_baselines3(seed: int) -> None:
    steps, envs, gamma, lam = 50, 4, 0.97, 0.9
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(2, steps, envs)).astype(np.float32)
    truncated = rng.random((steps, envs)) < 0.1
    terminated = (rng.random((steps, envs)) < 0.1) & ~truncated
    ended = terminated | truncated
    last_value = rng.normal(size=envs).astype(np.float32)
    final_value = rng.normal(size=(steps, envs)).astype(np.float32)  # of the states that episodes ended in
    next_value = np.where(ended, final_value, np.concatenate([value[1:], last_value[None]]))

    buffer = RolloutBuffer(
        steps, spaces.Box(-1, 1, (1,)), spaces.Discrete(2), gae_lambda=lam, gamma=gamma, n_envs=envs
    )
    starts = np.concatenate([np.zeros((1, envs), bool), ended[:-1]])
    for t in range(steps):
        paid = reward[t] + gamma * truncated[t] * final_value[t]  # how SB3 bootstraps at a time limit
        row = np.zeros((envs, 1), np.float32)
        buffer.add(row, row, paid, starts[t], torch.tensor(value[t]), torch.zeros(envs))
    buffer.compute_returns_and_advantage(torch.tensor(last_value), ended[-1])

    found = gae(*map(torch.tensor, (reward, value, next_value, terminated, truncated)), gamma=gamma, lam=lam)
    np.testing.assert_allclose(found.numpy(), buffer.advantages, rtol=1e-4, atol=1e-5)
