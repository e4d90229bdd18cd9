"""Experiences of n steps, and the ring they are kept in."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import NStepReplayBuffer

from agents.parts.replay import Replay, Windows
from agents.parts.reward_norm import RewardNorm
from envs import Transition
from training.errors import InputError


def rows(first: int, count: int, valid: Sequence[bool] = ()) -> Transition:
    """Rows of one environment whose every field tells their number."""
    number = torch.arange(first, first + count)[:, None]
    flags = torch.zeros(count, 1, dtype=torch.bool)
    kept = torch.tensor(valid)[:, None] if valid else ~flags
    seen = number[..., None].float()
    return Transition(seen, number, number.float(), flags, flags, seen + 1, kept)


def with_ends(
    rollout: Transition, terminated: Sequence[int] = (), truncated: Sequence[int] = ()
) -> Transition:
    ends = torch.zeros(2, *rollout.reward.shape, dtype=torch.bool)
    ends[0, list(terminated)] = True
    ends[1, list(truncated)] = True
    return rollout._replace(terminated=ends[0], truncated=ends[1])


def play(steps: int, envs: int, seed: int) -> Transition:
    """A rollout with random ends, each followed by a row of a reset."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 6, (steps, envs))
    ends[1:][ends[:-1] < 2] = 5  # no episode ends on its reset
    valid = np.ones((steps, envs), np.bool_)
    valid[1:][ends[:-1] < 2] = False
    seen = rng.standard_normal((steps + 1, envs, 3)).astype(np.float32)
    fields = (
        seen[:-1],
        rng.integers(0, 4, (steps, envs)),
        rng.standard_normal((steps, envs)).astype(np.float32),
        ends == 0,
        ends == 1,
        seen[1:],
        valid,
    )
    return Transition(*map(torch.from_numpy, fields))


def test_three_steps_by_hand() -> None:
    found = Windows(3, gamma=0.5, reward_scale=10.0).whole(rows(1, 4))
    assert found.reward.tolist() == [10 * (1 + 0.5 * 2 + 0.25 * 3), 10 * (2 + 0.5 * 3 + 0.25 * 4)]
    assert found.discount.tolist() == [0.125, 0.125]
    assert found.next_obs[:, 0].tolist() == [4.0, 5.0]
    assert found.action.tolist() == [1, 2]


def test_a_termination_ends_the_sum_and_is_worth_nothing() -> None:
    found = Windows(3, gamma=0.5).whole(with_ends(rows(1, 5), terminated=[1]))
    assert found.reward.tolist() == [1 + 0.5 * 2, 2.0, 3 + 0.5 * 4 + 0.25 * 5]
    assert found.discount.tolist() == [0.0, 0.0, 0.125]


def test_a_truncation_ends_the_sum_and_is_worth_the_state_it_was_cut_off_in() -> None:
    found = Windows(3, gamma=0.5).whole(with_ends(rows(1, 5), truncated=[1]))
    assert found.reward.tolist() == [1 + 0.5 * 2, 2.0, 3 + 0.5 * 4 + 0.25 * 5]
    assert found.discount.tolist() == [0.25, 0.5, 0.125]
    assert found.next_obs[:, 0].tolist() == [3.0, 3.0, 6.0]


def test_one_step_is_the_transition_itself() -> None:
    rollout = play(50, 3, seed=0)
    found = Windows(1, gamma=0.9).whole(rollout)
    assert torch.equal(found.reward, rollout.reward[rollout.valid])
    assert torch.equal(found.next_obs, rollout.next_obs[rollout.valid])
    discount = torch.where(rollout.terminated, 0.0, 0.9)
    assert torch.equal(found.discount, discount[rollout.valid])


@pytest.mark.parametrize("cut", [1, 2, 7])
def test_windows_go_on_from_one_rollout_to_the_next(cut: int) -> None:
    rollout = play(42, 3, seed=1)
    (expected, pieces), count = (Windows(4, 0.9), Windows(4, 0.9)), 0
    whole = expected.whole(rollout)
    for start in range(0, 42, cut):
        part = pieces.whole(rollout.map(lambda field, s=start: field[s : s + cut]))
        for field, wanted in zip(part, whole, strict=True):
            assert torch.equal(field, wanted[count : count + len(field)])
        count += len(part.obs)
    assert count == len(whole.obs)


def test_sums_agree_with_those_of_stable_baselines3() -> None:
    n, gamma, steps = 3, 0.9, 60
    rollout = play(steps, 1, seed=2)
    rollout = rollout.map(lambda field: field[rollout.valid[:, 0]])  # theirs has no rows of resets
    steps = len(rollout.reward)
    box = gym.spaces.Box(-9, 9, (3,))
    theirs = NStepReplayBuffer(steps, box, gym.spaces.Discrete(4), n_envs=1, n_steps=n, gamma=gamma)
    for row in zip(*(field.numpy() for field in rollout), strict=True):
        obs, action, reward, terminated, truncated, next_obs, _ = row
        info = [{"TimeLimit.truncated": bool(truncated[0])}]
        theirs.add(obs, next_obs, action, reward, terminated | truncated, info)
    ours = Windows(n, gamma).whole(rollout)
    count = len(ours.obs)
    wanted = theirs._get_samples(np.arange(count))
    assert torch.equal(ours.obs, wanted.observations)
    assert torch.equal(ours.action, wanted.actions[:, 0])
    torch.testing.assert_close(ours.reward, wanted.rewards[:, 0])
    torch.testing.assert_close(ours.next_obs, wanted.next_observations)
    torch.testing.assert_close(ours.discount, (wanted.discounts * (1 - wanted.dones))[:, 0])


def test_the_replay_forgets_the_oldest_when_it_wraps_around() -> None:
    replay = Replay(5, Windows(1, 0.9))
    assert replay.add(rows(0, 3)).tolist() == [0, 1, 2]
    assert len(replay) == 3
    assert replay.add(rows(3, 4)).tolist() == [3, 4, 0, 1]
    assert len(replay) == 5
    assert sorted(replay.rows.action.tolist()) == [2, 3, 4, 5, 6]


def test_the_replay_keeps_rows_together_and_leaves_out_rows_without_an_action() -> None:
    replay = Replay(10, Windows(1, 0.9))
    replay.add(rows(0, 4, [True, False, True, True]))
    drawn = replay.sample(1_000, torch.Generator().manual_seed(0))
    assert set(drawn.action.tolist()) == {0, 2, 3}
    assert torch.equal(drawn.obs[:, 0], drawn.action.float())
    assert torch.equal(drawn.next_obs[:, 0], drawn.action + 1.0)


@pytest.mark.parametrize("before", [0, 1, 2, 9])
def test_a_saved_replay_goes_on_as_if_nothing_had_happened(before: int) -> None:
    straight, saved, resumed = (Replay(30, Windows(3, 0.9)) for _ in range(3))
    parts = [play(8, 2, seed) for seed in range(12)]
    for part in parts:
        straight.add(part)
    for part in parts[:before]:
        saved.add(part)
    resumed.load_state_dict(saved.state_dict())
    for part in parts[before:]:
        resumed.add(part)
    assert straight.added == resumed.added > 30
    assert all(torch.equal(a, b) for a, b in zip(straight.rows, resumed.rows, strict=True))


def test_a_million_transitions_of_cartpole_take_less_than_60_mb() -> None:
    replay = Replay(1_000_000, Windows(3, 0.99))
    seen, number = torch.zeros(4, 1, 4), torch.zeros(4, 1)
    flags = torch.zeros(4, 1, dtype=torch.bool)
    replay.add(Transition(seen, number.long(), number, flags, flags, seen, ~flags))
    assert sum(field.nbytes for field in replay.rows) == 48_000_000


def test_a_replay_beyond_memory_is_refused() -> None:
    with pytest.raises(InputError, match="replay is 10000000000000, expected what memory holds"):
        Replay(10**13, Windows(1, 0.9)).add(rows(0, 3))


def test_no_window_leads_across_a_restart_of_the_environments() -> None:
    windows = Windows(3, gamma=0.5)
    windows.whole(rows(1, 3), torch.tensor([True]))
    found = windows.whole(rows(11, 3), torch.tensor([True]))
    assert found.reward.tolist() == [2 + 0.5 * 3, 3.0, 11 + 0.5 * 12 + 0.25 * 13]
    assert found.discount.tolist() == [0.25, 0.5, 0.125]  # values go on from the state that was cut off
    assert found.next_obs[:, 0].tolist() == [4.0, 4.0, 14.0]


def test_rewards_are_divided_by_the_deviation_of_their_sums_when_they_are_taken() -> None:
    replay = Replay(20, Windows(1, 0.5), normalise=True)
    first, second = rows(0, 4), rows(4, 4)
    replay.add(first)
    replay.add(second)
    scale = RewardNorm(0.5, torch.device("cpu"))
    for rollout in (first, second):
        scale.notice(rollout, torch.zeros(rollout.truncated.shape[1], dtype=torch.bool))
    taken = replay.take(torch.arange(8)).reward
    torch.testing.assert_close(taken, torch.cat([first.reward, second.reward]).flatten() / scale.deviation)
    resumed = Replay(20, Windows(1, 0.5), normalise=True)
    resumed.load_state_dict(replay.state_dict())
    assert torch.equal(resumed.take(torch.arange(8)).reward, taken)
