"""What the algorithms start from."""

import pytest

from agents import registry
from agents.general import GENERAL


@pytest.mark.parametrize("kind", registry.PRESETS)
def test_a_preset_is_that_of_its_pair(kind: str) -> None:
    for env, cfg in registry.PRESETS[kind].items():
        assert cfg.env == env
        assert registry.preset(kind, env) == (cfg, "the preset of the pair")
        assert registry.preset(kind, f"envpool/{env}")[0].env == f"envpool/{env}"


@pytest.mark.parametrize("kind", registry.MODULES)
def test_without_one_settings_for_any_environment_normalise_what_is_seen(kind: str) -> None:
    cfg, name = registry.preset(kind, "Blackjack-v1")
    assert cfg.env == "Blackjack-v1"
    assert (name == "settings for any environment") == (kind in GENERAL)
    assert cfg.normalise_obs == (kind in GENERAL)
