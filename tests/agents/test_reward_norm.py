"""Rewards over the deviation of their discounted sums, by hand."""

import torch

from agents.parts.reward_norm import RewardNorm
from envs import Transition


def rollout(rewards: list[float], terminated: list[bool]) -> Transition:
    """Rows of one environment."""
    count = len(rewards)
    seen, flags = torch.zeros(count, 1, 1), torch.zeros(count, 1, dtype=torch.bool)
    ends = torch.tensor(terminated)[:, None]
    return Transition(seen, flags.long(), torch.tensor(rewards)[:, None], ends, flags, seen, ~flags)


def test_sums_begin_anew_with_each_episode_and_after_a_restart() -> None:
    norm = RewardNorm(0.5, torch.device("cpu"))
    begins, goes_on = torch.tensor([True]), torch.tensor([False])
    found = norm.scaled(rollout([1.0, 1.0, 4.0], [False, True, False]), begins)
    seen = torch.tensor([1.0, 1.5, 4.0])
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, 1.0, 4.0]) / seen.std(correction=0))
    norm.scaled(rollout([1.0], [False]), goes_on)  # 0.5 · 4 + 1
    found = norm.scaled(rollout([2.0], [False]), begins)  # 2, not 0.5 · 3 + 2
    seen = torch.tensor([1.0, 1.5, 4.0, 3.0, 2.0])
    torch.testing.assert_close(found[0], 2.0 / seen.std(correction=0)[None])
