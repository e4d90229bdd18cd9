"""Stable-Baselines3 behind our commands: the same actions, files that run nothing unasked, clear refusals."""

import threading
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from torch import nn

import tests.probes  # noqa: F401  (registers its environments)
from agents import registry, sb3, sb3_zip
from agents.parts.turns import turns
from envs import Spaces
from training.checkpoint import load_model
from training.errors import InputError
from training.run import RunConfig


class Film(gym.Env):
    """Shows pictures."""

    observation_space = gym.spaces.Box(0, 255, (3, 40, 40), np.uint8)
    action_space = gym.spaces.Discrete(2)


gym.register("probe/film-v0", Film)

CASES = [
    ("PPO", "CartPole-v1", {}),
    ("PPO", "Pendulum-v1", {"net_arch": {"pi": [8], "vf": [16, 16]}, "log_std_init": -1.0}),
    ("A2C", "CartPole-v1", {"activation_fn": nn.ReLU, "net_arch": []}),
    ("DQN", "CartPole-v1", {"net_arch": [32]}),
    ("SAC", "Pendulum-v1", {"net_arch": [32, 16]}),
    ("TD3", "Pendulum-v1", {"net_arch": [32], "activation_fn": nn.SiLU}),
    ("DDPG", "Pendulum-v1", {"net_arch": [32]}),
]


def made(algo: str, env: str, shape: dict) -> stable_baselines3.common.base_class.BaseAlgorithm:
    """A model of Stable-Baselines3 with weights large enough for all kinds of actions."""
    model = getattr(stable_baselines3, algo)(
        "MlpPolicy", env, policy_kwargs=dict(shape), seed=0, device="cpu"
    )
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight += 0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    return model


def unpacked(model: stable_baselines3.common.base_class.BaseAlgorithm, here: Path, env: str) -> sb3.Policy:
    """The policy that the reader of zip files makes of a model; here in this process."""
    model.save(here / "model.zip")
    sb3_zip.main(here / "model.zip", here / "model")
    weights, found = load_model(here / "model")
    cfg = registry.from_dict(sb3.Config, found["config"] | {"env": env})
    policy = sb3.Policy(cfg, registry.from_dict(Spaces, found["spaces"]))
    policy.load_state_dict(weights)
    return policy


@pytest.mark.parametrize(("algo", "env", "shape"), CASES)
def test_actions_are_those_of_predict(algo: str, env: str, shape: dict, tmp_path: Path) -> None:
    model = made(algo, env, shape)
    policy = unpacked(model, tmp_path, env)
    assert policy.algo == algo
    obs = np.random.default_rng(0).normal(size=(500, *model.observation_space.shape)).astype(np.float32)
    theirs, _ = model.predict(obs, deterministic=True)
    spaces = Spaces.of(model.observation_space, model.action_space, env)
    ours = spaces.to_env(policy.act(torch.from_numpy(obs)).numpy())
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert len(np.unique(ours)) > 1  # or nothing was compared


@pytest.mark.parametrize(("algo", "env"), [("PPO", "Pendulum-v1"), ("SAC", "Pendulum-v1")])
def test_drawn_actions_have_the_mean_and_deviation_of_theirs(algo: str, env: str, tmp_path: Path) -> None:
    model = made(algo, env, {"net_arch": [4]})
    policy = unpacked(model, tmp_path, env)
    obs = torch.tensor([[0.1, 0.2, 0.3]]).expand(20_000, 3)
    ours = 2 * policy.act(obs, torch.Generator().manual_seed(0))  # Pendulum's bounds are −2 and 2
    theirs = torch.from_numpy(model.predict(obs.numpy(), deterministic=False)[0])
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.03)
    assert ours.std().item() == pytest.approx(theirs.std().item(), abs=0.03)


def test_a_deterministic_policy_has_nothing_to_draw(tmp_path: Path) -> None:
    policy = unpacked(made("DQN", "CartPole-v1", {}), tmp_path, "CartPole-v1")
    with pytest.raises(InputError, match="DQN's policy is deterministic"):
        policy.act(torch.zeros(1, 4), torch.Generator())


class MyPolicy(stable_baselines3.ppo.MlpPolicy):
    """A policy that nobody but its author knows."""


class MyFeatures(stable_baselines3.common.torch_layers.FlattenExtractor):
    """Features that nobody but their author knows."""


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        (MyPolicy, {}, "MyPolicy, expected MlpPolicy of PPO"),
        ("MlpPolicy", {"policy_kwargs": {"features_extractor_class": MyFeatures}}, "from MyFeatures"),
        ("MlpPolicy", {"policy_kwargs": {"activation_fn": nn.Softsign}}, "activation is Softsign"),
        ("MlpPolicy", {"use_sde": True}, "use_sde"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused_by_name(
    policy: object, options: dict, message: str, tmp_path: Path
) -> None:
    stable_baselines3.PPO(policy, "Pendulum-v1", device="cpu", **options).save(tmp_path / "model.zip")
    with pytest.raises(InputError, match=message):
        sb3_zip.main(tmp_path / "model.zip", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_models_of_sb3_contrib_act_alike_or_are_refused_by_name(tmp_path: Path) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    obs = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    for kind in (contrib.QRDQN, contrib.TRPO):
        model = kind("MlpPolicy", "CartPole-v1", device="cpu", seed=0)
        with torch.no_grad():
            for parameter in model.policy.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        (tmp_path / kind.__name__).mkdir()
        policy = unpacked(model, tmp_path / kind.__name__, "CartPole-v1")
        ours = policy.act(torch.from_numpy(obs)).numpy()
        np.testing.assert_array_equal(ours, model.predict(obs, deterministic=True)[0])
        assert len(np.unique(ours)) > 1
    contrib.RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu").save(tmp_path / "model.zip")
    with pytest.raises(InputError, match=r"its policy is sb3_contrib.*RecurrentActorCriticPolicy, expected"):
        sb3_zip.main(tmp_path / "model.zip", tmp_path / "model")


def test_policies_that_see_pictures_are_refused_by_name(tmp_path: Path) -> None:
    stable_baselines3.PPO("CnnPolicy", Film(), device="cpu").save(tmp_path / "model.zip")
    with pytest.raises(InputError, match=r"its policy is .*ActorCriticCnnPolicy, expected"):
        sb3_zip.main(tmp_path / "model.zip", tmp_path / "model")


def test_the_means_of_quantiles_are_one_layer() -> None:
    layer = torch.nn.Linear(3, 4 * 2)  # 4 quantiles of 2 actions
    state = {f"quantile_net.quantile_net.0.{k}": v for k, v in layer.state_dict().items()}
    found = sb3_zip._values(state, 2)
    x = torch.randn(5, 3)
    means = layer(x).unflatten(1, (4, 2)).mean(1)
    values = x @ found["q_net.q_net.0.weight"].T + found["q_net.q_net.0.bias"]
    torch.testing.assert_close(values, means)


def test_a_policy_whose_package_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made("PPO", "CartPole-v1", {}).save(tmp_path / "model.zip")
    lost = ({"policy_kwargs": {}, "observation_space": 0, "action_space": 0}, {}, None)
    monkeypatch.setattr("stable_baselines3.common.save_util.load_from_zip_file", lambda *_, **__: lost)
    with pytest.raises(InputError, match=r"policy_class cannot be read here \(of stable_baselines3\.common"):
        sb3_zip.main(tmp_path / "model.zip", tmp_path / "model")


def test_a_zip_is_read_by_another_process_for_its_own_spaces_only(tmp_path: Path) -> None:
    made("PPO", "CartPole-v1", {}).save(tmp_path / "model.zip")
    agent = sb3_zip.read(tmp_path / "model.zip", "CartPole-v1")
    assert (agent.kind, agent.cfg.algo, agent.cfg.source, agent.step) == ("sb3", "PPO", "model.zip", 0)
    registry.save(tmp_path / "ours", agent.kind, agent)
    again = registry.load(tmp_path / "ours")
    assert (again.cfg, again.spaces) == (agent.cfg, agent.spaces)
    with pytest.raises(InputError, match="expected the spaces of Acrobot-v1"):
        sb3_zip.read(tmp_path / "model.zip", "Acrobot-v1")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_text("no")
    with pytest.raises(InputError, match="is no zip file"):
        sb3_zip.read(tmp_path / "no.zip", "CartPole-v1")


def learned(seed: int, **settings: object) -> tuple[sb3.Learner, list]:
    cfg = sb3.Config(run=RunConfig(steps=300, seed=seed, device="cpu"), **settings)
    learner = sb3.Learner(cfg)
    return learner, list(learner.updates())


def test_the_same_seed_learns_the_same_and_rows_tell_of_it() -> None:
    told = {"algo": "PPO", "num_envs": 2, "options": '{"n_steps": 64, "batch_size": 64}', "hidden": (8,)}
    (first, rows), (again, _), (other, _) = (learned(seed, **told) for seed in (0, 0, 1))
    weights = [learner.model.net[0].weight for learner in (first, again, other)]
    assert weights[0].shape == (8, 4)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert [step for step, _ in rows] == [128, 256, 384]
    assert rows[-1][1].keys() >= {"loss/policy", "loss/value", "policy/entropy", "episode/return"}
    assert sum(len(metrics["episode/return"]) for _, metrics in rows) > 5


def test_a_learner_that_nobody_asks_any_more_stops() -> None:
    cfg = sb3.Config(algo="DQN", run=RunConfig(steps=10_000_000, device="cpu"))
    learner = sb3.Learner(cfg)
    threads = threading.active_count()
    updates = learner.updates()
    next(updates)
    assert threading.active_count() == threads + 1
    updates.close()
    assert threading.active_count() == threads
    assert learner.step < 100


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"options": "{"}, "options is no JSON"),
        ({"options": "[]"}, "expected a JSON object"),
        ({"options": '{"policy": 3}'}, "options has 'policy', expected some of learning_rate"),
        ({"options": '{"n_steps": 0}'}, "PPO refuses"),
        ({"algo": "SAC"}, "SAC refuses"),
        ({"noise": 0.1}, "PPO draws from its policy"),
        ({"num_envs": 0}, "num_envs is 0"),
        ({"env": "tensor/CartPole-v1"}, "sb3 does not step those of tensor"),
        ({"env": "envpool/CartPole-v1"}, "sb3 does not step those of envpool"),
        ({"env": "probe/masked-v0"}, "sb3 knows no masks"),
        ({"env": "probe/film-v0"}, "sb3 sees rows of numbers"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sb3.Learner(sb3.Config(**setting))


def test_actions_that_do_not_begin_at_zero_are_refused() -> None:
    cfg = sb3.Config(hidden=(8,), activation="tanh")
    with pytest.raises(InputError, match="the first action of CartPole-v1 is 1, sb3 expects 0"):
        sb3.Policy(cfg, Spaces(4, discrete=2, start=1))


def test_turns_hand_over_what_was_pushed_and_raise_what_was_raised() -> None:
    def push(hand_over) -> None:
        hand_over(1)
        hand_over(2)
        raise ValueError("three")

    def ask() -> Iterator[int]:
        yield from turns(push)

    asked = ask()
    assert [next(asked), next(asked)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(asked)
