import pytest
import torch

import tests.probes
from agents import ppo, ppo_lstm, presets
from agents.evaluation import evaluate
from agents.parts.memory import Memory
from agents.ppo_lstm import RecurrentActorCritic
from envs import Spaces, make
from training.errors import InputError
from training.run import RunConfig


def learned(env: str, steps: int = 12_000, **settings: object) -> ppo_lstm.Learner:
    run = RunConfig(steps=steps, device="cpu")
    told = {"rollout": 16, "memory": 16, "hidden": (16,), "lr": 1e-2} | settings
    cfg = ppo_lstm.Config(env=env, gamma=tests.probes.GAMMA, run=run, **told)
    envs = make(env, cfg.num_envs, seed=0)
    learner = ppo_lstm.Learner(cfg, envs.spaces)
    for _ in ppo_lstm.train(cfg, learner, envs):
        pass
    return learner


def network() -> RecurrentActorCritic:
    torch.manual_seed(0)
    model = RecurrentActorCritic(ppo_lstm.Config(memory=8, hidden=(8,)), Spaces(3, discrete=2))
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn(weight.shape)
    return model


def test_the_loss_by_hand() -> None:
    log_prob = torch.tensor([2.0, 0.5]).log().requires_grad_()
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    entropy = torch.tensor([0.4, 0.6], requires_grad=True)
    told = torch.zeros(2), torch.tensor([1.0, -1.0]), value, torch.tensor([0.0, 4.0]), entropy
    loss, _ = ppo_lstm.ppo_lstm_loss(log_prob, *told, clip=0.2, value_coef=0.5, entropy_coef=0.1)
    assert loss.item() == pytest.approx(-0.2 + 0.5 * 2.5 - 0.1 * 0.5)  # as in the tests of PPO
    by_value, by_entropy = torch.autograd.grad(loss, (value, entropy), retain_graph=True)
    assert by_value.tolist() == [0.5, -1.0]
    assert by_entropy.tolist() == [pytest.approx(-0.05)] * 2
    inside, *_ = torch.autograd.grad(
        ppo_lstm.ppo_lstm_loss(log_prob * 0, *told, clip=0.2, value_coef=0.5, entropy_coef=0.1)[0], log_prob
    )
    assert inside.tolist() == [0.0, 0.0]


def test_sequences_are_equal_to_step_by_step_evaluation() -> None:
    model, generator = network(), torch.Generator().manual_seed(1)
    obs = torch.randn(20, 5, 3, generator=generator)
    begins = torch.rand(20, 5, generator=generator) < 0.2
    begins[0] = torch.tensor([True, False, True, False, False])
    memory = Memory(*torch.randn(2, 5, 8, generator=generator))
    outputs, value, last = model(obs, begins, memory)
    for t in range(20):
        one, worth, memory = model(obs[t : t + 1], begins[t : t + 1], memory)
        torch.testing.assert_close(outputs[t], one[0])
        torch.testing.assert_close(value[t], worth[0])
    torch.testing.assert_close(last, memory)
    part, _, _ = model(obs[:, [3, 1]], begins[:, [3, 1]], Memory(*torch.zeros(2, 2, 8)))
    alone, _, _ = model(obs[:, [1]], begins[:, [1]], Memory(*torch.zeros(2, 1, 8)))
    torch.testing.assert_close(part[:, 1:], alone)


def test_nothing_is_remembered_across_the_end_of_an_episode() -> None:
    model = network()
    obs = torch.randn(6, 1, 3, generator=torch.Generator().manual_seed(1))
    begins = torch.tensor([[True], [False], [False], [True], [False], [False]])
    outputs, _, _ = model(obs, begins, model.blank(1))
    fresh, _, _ = model(obs[3:], begins[3:], model.blank(1))
    torch.testing.assert_close(outputs[3:], fresh)
    through, _, _ = model(obs, begins & False, model.blank(1))
    assert not torch.allclose(outputs[3:], through[3:])


@pytest.mark.parametrize("env", ["CartPole-v1", "lab/CartPoleStill-v1", "probe/endless-v0"])
def test_every_ratio_is_one_before_the_first_step_and_values_follow_one_another(env: str) -> None:
    cfg = ppo_lstm.Config(env=env, num_envs=4, rollout=40)
    envs = make(env, 4, seed=0)
    learner = ppo_lstm.Learner(cfg, envs.spaces)
    beyond, led_to = learner.beyond, []
    learner.beyond = lambda *told: led_to.append(beyond(*told)) or led_to[-1]  # type: ignore[func-returns-value]
    for _ in range(2):  # the second begins in the middle of episodes
        rows, first = learner.collect(envs)
        with torch.no_grad():
            outputs, value, _ = learner.model(rows.obs, rows.begins, first)
            log_prob = learner.model.head.log_prob(outputs.flatten(0, 1), rows.action.flatten())
        torch.testing.assert_close(log_prob, rows.old_log_prob.flatten())
        played = rows.valid[1:] & rows.valid[:-1] & ~rows.begins[1:]
        assert played.any()
        torch.testing.assert_close(led_to[-1][:-1][played], value[1:][played])
        advantage = rows.advantage[rows.valid]
        assert advantage.mean().item() == pytest.approx(0.0, abs=1e-5)
        assert advantage.std(correction=0).item() == pytest.approx(1.0, abs=1e-4)
        assert rows.begins[1:].any()  # or nothing was tested
    assert not rows.begins[0].all()


def test_rewards_are_scaled_before_they_are_learned_from() -> None:
    targets = []
    for scale in (1.0, 10.0):
        cfg = ppo_lstm.Config(env="CartPole-v1", reward_scale=scale)
        envs = make(cfg.env, cfg.num_envs, seed=0)
        learner = ppo_lstm.Learner(cfg, envs.spaces)
        with torch.no_grad():
            for weight in learner.model.net.parameters():
                weight.zero_()  # so that nothing is worth anything yet
        targets.append(learner.collect(envs)[0].value_target)
    torch.testing.assert_close(targets[1], 10 * targets[0])


def test_a_value_beyond_is_that_of_the_next_row() -> None:
    model, generator = network(), torch.Generator().manual_seed(1)
    learner = ppo_lstm.Learner(ppo_lstm.Config(num_envs=2, minibatches=1), Spaces(3, discrete=2))
    learner.model = model
    obs = torch.randn(2, 2, 3, generator=generator)
    none = torch.zeros(2, 2, dtype=torch.bool)
    with torch.no_grad():
        _, value, _ = model(obs, none, model.blank(2))
        _, _, after = model(obs[:1], none[:1], model.blank(2))
        torch.testing.assert_close(learner.beyond(obs[1:], after), value[1:])


def test_players_remember_each_for_itself_until_they_begin_again() -> None:
    model = network()
    obs = torch.randn(12, 30, 3, generator=torch.Generator().manual_seed(1))
    outputs, _, _ = model(obs, torch.zeros(12, 30, dtype=torch.bool), model.blank(30))
    player, other = model.act, model.act
    assert torch.equal(torch.stack([player(row) for row in obs]), outputs.argmax(-1))
    first = other(obs[0])
    assert not torch.equal(player(obs[0]), first)  # it remembers twelve steps, the other none
    player.begin()
    assert torch.equal(player(obs[0]), first)


def test_what_was_seen_once_is_recalled() -> None:
    model = learned("probe/recall-v0").model
    assert evaluate(model.act, "probe/recall-v0", 50, seed=0).returns.mean() == 1.0


def test_a_time_limit_bootstraps() -> None:
    learner = learned("probe/endless-v0", steps=6_000)
    with torch.no_grad():
        _, value, _ = learner.model(
            torch.ones(3, 1, 1), torch.zeros(3, 1, dtype=torch.bool), learner.model.blank(1)
        )
    assert value[:, 0].tolist() == [pytest.approx(2.0, abs=0.15)] * 3


def test_more_minibatches_than_environments_are_refused() -> None:
    with pytest.raises(InputError, match="minibatches is 8, expected at most num_envs: 4"):
        ppo_lstm.Config(num_envs=4, minibatches=8)


@pytest.mark.long
def test_a_memory_solves_cartpole_without_velocities_and_one_look_does_not() -> None:
    env = "lab/CartPoleStill-v1"
    cfg = presets.PPO_LSTM[env]
    told = {"num_envs": 32, "rollout": 32, "minibatch": 512, "lr": 1e-2, "lam": 0.97, "reward_scale": 0.05}
    plain = ppo.Config(env=env, max_norm=1.0, **told)
    for module, config, passes in (
        (ppo_lstm, cfg, lambda ret: ret >= 450),
        (ppo, plain, lambda ret: ret < 200),
    ):
        envs = make(env, config.num_envs, seed=0)
        learner = module.Learner(config, envs.spaces)
        for _ in module.train(config, learner, envs):
            pass
        assert passes(evaluate(learner.model.act, env, 50, seed=1).returns.mean())
