"""Stable-Baselines3 behind our commands: the same actions, files that run nothing unasked, clear refusals."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

import tests.probes  # noqa: F401  (registers environments)
from agents import registry, sb3, sb3_zip
from agents.evaluation import evaluate
from agents.parts.sb3_policy import Policy
from envs import Spaces
from envs.vector import make_one
from tests.probes import Film, SteeredFilm
from training.checkpoint import load_model
from training.errors import InputError

CASES = [
    ("PPO", "CartPole-v1", {}),
    ("PPO", "Pendulum-v1", {"net_arch": {"pi": [8], "vf": [16, 16]}, "log_std_init": -1.0}),
    ("A2C", "CartPole-v1", {"activation_fn": nn.ReLU, "net_arch": []}),
    ("DQN", "CartPole-v1", {"net_arch": [32]}),
    ("SAC", "Pendulum-v1", {"net_arch": [32, 16]}),
    ("TD3", "Pendulum-v1", {"net_arch": [32], "activation_fn": nn.SiLU}),
    ("DDPG", "Pendulum-v1", {"net_arch": [32]}),
    ("PPO", "Pendulum-v1", {"net_arch": [8], "use_sde": True}),
    ("SAC", "Pendulum-v1", {"net_arch": [8], "use_sde": True}),
    ("PPO", "probe/switches-v0", {"net_arch": [8]}),
]


def made(algo: str, env: str, shape: dict) -> stable_baselines3.common.base_class.BaseAlgorithm:
    """A model of Stable-Baselines3 with weights large enough for all kinds of actions."""
    shape = dict(shape)
    options: dict = {"use_sde": True} if shape.pop("use_sde", False) else {}
    model = getattr(stable_baselines3, algo)(
        "MlpPolicy",
        gym.make(env),
        policy_kwargs=shape,
        seed=0,
        device="cpu",
        **options,
    )
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight += 0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    return model


def unpacked(model: stable_baselines3.common.base_class.BaseAlgorithm, here: Path, env: str) -> Policy:
    """The policy that the reader of zip files makes of a model; here in this process."""
    model.save(here / "model.zip")
    sb3_zip.main(here / "model.zip", here / "model")
    weights, found = load_model(here / "model")
    cfg = registry.from_dict(sb3.Config, found["config"] | {"env": env})
    policy = Policy(cfg, registry.from_dict(Spaces, found["spaces"]))
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
    if policy.sde:
        with pytest.raises(InputError, match=r"gSDE.*greedy"):
            policy.act(torch.from_numpy(obs), torch.Generator())


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
        (MyPolicy, {}, "MyPolicy, expected MlpPolicy or CnnPolicy of PPO"),
        ("MlpPolicy", {"policy_kwargs": {"features_extractor_class": MyFeatures}}, "from MyFeatures"),
        ("MlpPolicy", {"policy_kwargs": {"activation_fn": nn.Softsign}}, "activation is Softsign"),
        ("MlpPolicy", {"use_sde": True, "policy_kwargs": {"squash_output": True}}, "its gSDE has"),
        ("MlpPolicy", {"policy_kwargs": {"normalize_images": False}}, "without normalize_images"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused_by_name(
    policy: object, options: dict, message: str, tmp_path: Path
) -> None:
    stable_baselines3.PPO(policy, "Pendulum-v1", device="cpu", **options).save(tmp_path / "model.zip")
    with pytest.raises(InputError, match=message):
        sb3_zip.main(tmp_path / "model.zip", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_models_of_sb3_contrib_act_alike(tmp_path: Path) -> None:
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


SEEING = [
    (
        "A2C",
        "CnnPolicy",
        {"net_arch": [16], "activation_fn": nn.SiLU, "features_extractor_kwargs": {"features_dim": 32}},
    ),
    ("PPO", "MlpPolicy", {"features_extractor_class": NatureCNN, "share_features_extractor": False}),
    ("DQN", "CnnPolicy", {}),
    ("SAC", "CnnPolicy", {"net_arch": [16]}),
    ("TD3", "CnnPolicy", {"net_arch": [16]}),
    ("QRDQN", "CnnPolicy", {}),
    ("MaskablePPO", "CnnPolicy", {}),
    ("RecurrentPPO", "CnnLstmPolicy", {"lstm_hidden_size": 16}),
]


@pytest.mark.parametrize(("algo", "policy", "shape"), SEEING)
def test_what_sees_pictures_acts_alike(algo: str, policy: str, shape: dict, tmp_path: Path) -> None:
    library = stable_baselines3 if hasattr(stable_baselines3, algo) else pytest.importorskip("sb3_contrib")
    env = Film() if algo not in ("SAC", "TD3") else SteeredFilm()
    few = {"buffer_size": 1} if algo in ("DQN", "SAC", "TD3", "QRDQN") else {}
    model = getattr(library, algo)(policy, env, policy_kwargs=shape, seed=0, device="cpu", **few)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    ours = unpacked(model, tmp_path, "probe/film-v0")
    pictures = np.random.default_rng(0).integers(0, 256, (40, 3, 40, 40), np.uint8)
    pictures //= np.arange(1, 41, dtype=np.uint8)[:, None, None, None]  # bright and dark ones
    theirs, _ = model.predict(pictures, deterministic=True)
    acted = ours.act(torch.from_numpy(pictures).flatten(1).float()).numpy()
    np.testing.assert_allclose(acted, theirs, rtol=1e-4, atol=1e-4)
    assert len(np.unique(acted)) > 1


def test_pictures_without_convolutions_are_refused(tmp_path: Path) -> None:
    model = stable_baselines3.PPO("MlpPolicy", Film(), device="cpu", policy_kwargs={"net_arch": [2]})
    with pytest.raises(InputError, match="convolutions give 0 features, expected some for probe/film-v0"):
        unpacked(model, tmp_path, "probe/film-v0")


def test_a_policy_with_masks_never_does_what_is_forbidden(tmp_path: Path) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    model = contrib.MaskablePPO("MlpPolicy", gym.make("probe/masked-v0"), seed=0, device="cpu")
    model.save(tmp_path / "model.zip")
    agent = sb3_zip.read(tmp_path / "model.zip", "probe/masked-v0")
    generator = np.random.default_rng(0)
    obs = generator.normal(size=(300, 1)).astype(np.float32)
    masks = generator.integers(0, 2, (300, 3))
    masks[np.arange(300), generator.integers(0, 3, 300)] = 1
    theirs, _ = model.predict(obs, deterministic=True, action_masks=masks)
    seen = torch.from_numpy(np.concatenate([obs, masks], 1)).float()
    np.testing.assert_array_equal(agent.policy.act(seen).numpy(), theirs)
    assert len(np.unique(theirs)) == 3
    drawn = agent.policy.act(seen, torch.Generator().manual_seed(0)).numpy()
    assert masks[np.arange(300), drawn].all()
    assert len(evaluate(agent.policy.act, "probe/masked-v0", 20, seed=0).returns) == 20
    registry.save(tmp_path / "ours", agent.kind, agent)
    again = registry.load(tmp_path / "ours")
    np.testing.assert_array_equal(again.policy.act(seen).numpy(), theirs)


def test_a_policy_with_a_memory_remembers_as_theirs_does(tmp_path: Path) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    shape = {"lstm_hidden_size": 16, "net_arch": [8]}
    model = contrib.RecurrentPPO(
        "MlpLstmPolicy", "Pendulum-v1", policy_kwargs=shape, seed=0, device="cpu", n_steps=8, batch_size=8
    )
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight += 0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    player = unpacked(model, tmp_path, "Pendulum-v1").act
    rows = np.random.default_rng(0).normal(size=(2, 30, 5, 3)).astype(np.float32)
    for episode in rows:
        player.begin()
        begins, state = np.ones(5, bool), None
        for obs in episode:
            theirs, state = model.predict(obs, state=state, episode_start=begins, deterministic=True)
            ours = 2 * player(torch.from_numpy(obs)).numpy()  # Pendulum's bounds are −2 and 2
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
            begins = np.zeros(5, bool)
    fresh = 2 * unpacked(model, tmp_path, "Pendulum-v1").act(torch.from_numpy(obs)).numpy()
    assert np.abs(fresh - ours).max() > 0.1  # or no memory was compared


def test_an_lstm_of_two_layers_is_refused(tmp_path: Path) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    shape = {"n_lstm_layers": 2, "lstm_hidden_size": 4}
    contrib.RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu", policy_kwargs=shape).save(
        tmp_path / "model.zip"
    )
    with pytest.raises(InputError, match="expected one plain layer"):
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
    with pytest.raises(InputError, match="4 numbers and 2 actions, expected what Acrobot-v1 has: rows of 6"):
        sb3_zip.read(tmp_path / "model.zip", "Acrobot-v1")


class Cells(gym.Env):
    """Shows a 3 x 2 array."""

    observation_space: gym.Space = gym.spaces.Box(-9.0, 9.0, (3, 2))
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}


class Signs(Cells):
    """Shows two signs at once."""

    observation_space = gym.spaces.MultiDiscrete([3, 4])


gym.register("probe/cells-v0", Cells)
gym.register("probe/signs-v0", Signs)


@pytest.mark.parametrize("env", ["FrozenLake-v1", "Taxi-v4", "probe/cells-v0", "probe/signs-v0"])
def test_what_is_seen_need_not_be_a_row_of_numbers(env: str, tmp_path: Path) -> None:
    (model := made("DQN", env, {})).save(tmp_path / "model.zip")
    agent, plain, row = sb3_zip.read(tmp_path / "model.zip", env), gym.make(env), make_one(env)
    for seed in range(20):
        seen = torch.from_numpy(row.reset(seed=seed)[0])[None].float()
        theirs = model.predict(plain.reset(seed=seed)[0], deterministic=True)[0]
        assert agent.policy.act(seen).item() == theirs  # forbidden or not: it was trained without masks


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_text("no")
    with pytest.raises(InputError, match="is no zip file"):
        sb3_zip.read(tmp_path / "no.zip", "CartPole-v1")
