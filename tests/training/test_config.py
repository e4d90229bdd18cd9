import json
from dataclasses import asdict

import pytest

from agents import ppo
from generative import vae
from training.config import from_dict
from training.errors import InputError
from training.run import RunConfig


@pytest.mark.parametrize(
    "cfg",
    [
        ppo.Config(hidden=(8, 9, 10), shared=False, run=RunConfig(stop_at=3.0, tags=("a", "b"))),
        vae.Config(likelihood="bernoulli"),
    ],
)
def test_a_config_survives_json(cfg: object) -> None:
    assert from_dict(type(cfg), json.loads(json.dumps(asdict(cfg)))) == cfg


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gama": 1}, "has the field 'gama', expected some of"),
        ({"num_envs": "8"}, "num_envs is '8', expected int"),
        ({"num_envs": True}, "num_envs is True, expected int"),
        ({"lr": None}, "lr is None, expected float"),
        ({"hidden": 64}, "hidden is 64"),
        ({"hidden": ["a"]}, "hidden is 'a', expected int"),
        ({"activation": "tan"}, "activation is 'tan', expected Literal"),
        ({"run": {"steps": -5}}, "steps is -5, expected more than 0"),
        ({"run": 3}, "run is 3, expected a group"),
    ],
)
def test_what_does_not_fit_is_named(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_dict(ppo.Config, values, "some file")


def test_missing_fields_keep_their_defaults_and_whole_numbers_do_for_floats() -> None:
    assert from_dict(ppo.Config, {"lr": 1}) == ppo.Config(lr=1)
