import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.registry import ENGINES, MODULES, POLICIES, Agent
from envs.spaces import Spaces
from envs.vector import make_one
from lab.cli import main
from lab.monitor_policy import POLICY_TRIALS, checked, outputs
from lab.monitor_story import NULL, faults_for

SMALL = "--fit 8 --calibrate 19 --test 6 --faulty 3 --updates 100"


def run(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", *words.split()])
    main()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A barely trained agent with a monitor, and a log of its episodes."""
    here = tmp_path_factory.mktemp("monitored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        run("train ppo --env CartPole-v1 --steps 2000 --dir agent", patch)
        run(f"monitor agent {SMALL}", patch)
        run("evaluate agent --episodes 40 --record", patch)
    return here


def test_the_page_begins_with_the_null_check(place: Path) -> None:
    page = (place / "agent/monitor/report.html").read_text()
    assert page.index("Null check") < page.index("False alarms") < page.index("What it sees")
    assert "img" in page
    rows = [json.loads(row) for row in (place / "agent/monitor/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 9
    assert json.loads((place / "agent/monitor/config.json").read_text())["kind"] == "monitor"


def test_a_report_leaves_the_page_of_the_monitor_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(place)
    page = Path("agent/monitor/report.html")
    before = page.read_bytes()
    run("report agent/monitor", monkeypatch)
    assert capsys.readouterr().out == f"{page}\n"
    with pytest.raises(SystemExit):
        run("report agent/monitor agent", monkeypatch)
    assert page.read_bytes() == before


def test_episodes_are_cut_where_there_is_no_time_for_all(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from envs.recording import Episodes
    from lab.commands import monitor as command

    played: list[Episodes] = []
    kept = command.record
    monkeypatch.setattr(command, "record", lambda *a, **k: played.append(kept(*a, **k)) or played[-1])
    monkeypatch.chdir(place)
    run(f"monitor agent {SMALL} --minutes 0.0001 --dir hasty", monkeypatch)
    said = capsys.readouterr().out
    most = int(said.split("--max-steps ")[1].split("`")[0])
    assert f"cut after {most} steps" in said
    assert max(int(part.length.max()) for part in played[1:]) == most
    assert "eval/false_alarms" in (place / "hasty/metrics.jsonl").read_text()


def test_a_log_is_enough(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(place)
    run("monitor --log agent/rollouts/greedy-0.npz --updates 100 --dir logged", monkeypatch)
    said = capsys.readouterr().out
    assert "10 to fit, 20 to calibrate, 10 to test" in said
    assert "clean episodes raised a false alarm" in said
    assert "Null check" not in (place / "logged/report.html").read_text()
    assert (place / "logged/model/weights.safetensors").exists()


def test_watching_tells_of_the_alarm_and_the_sensor(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(place)
    run("watch agent --fault bias --size 50 --sensor 1 --onset 3 --frames frames", monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert "fault: bias, from step 3 on" in lines[0]
    raised = next(line for line in lines if "ALARM" in line)
    assert raised.split()[:2] == ["3", "x"]
    assert "raised an alarm" in lines[-1]
    assert (place / "frames/step-00003.png").stat().st_size > 500


def test_the_policy_check_adds_its_cells_and_the_watch_hands_it_the_policy(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("lab.monitor_policy.NOISE", 2.0)  # an agent that barely learned is as good as any
    run("train ppo --env CartPole-v1 --steps 2000 --dir checked", monkeypatch)
    run(f"monitor checked --policy-check {SMALL}", monkeypatch)
    rows = [json.loads(row) for row in Path("checked/monitor/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 9 + POLICY_TRIALS
    assert rows[9]["eval/auroc"] > 0.8  # other weights: nothing about the world is strange
    page = Path("checked/monitor/report.html").read_text()
    assert "policy&#x27;s normaliser wrong" in page
    assert "attack on the policy, 0.1 sd" in page
    capsys.readouterr()
    run("watch checked --fault bias --size 50 --onset 3 --steps 10", monkeypatch)
    assert "raised an alarm" in capsys.readouterr().out


def test_what_the_policy_check_cannot_look_at_is_refused_before_anything_is_played(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(place)
    run("train ppo_lstm --env CartPole-v1 --steps 1000 --dir remembers", monkeypatch)
    for words, said in (
        ("remembers", "the policy of ppo_lstm remembers"),
        ("--log agent/rollouts/greedy-0.npz", "a log has no policy"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run(f"monitor {words} --policy-check --dir refused", monkeypatch)
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err
        assert not Path("refused").exists()


@pytest.mark.parametrize("kind", ["dqn", "qr_dqn", "rainbow", "sac", "ppo", "sb3"])
def test_the_best_of_the_outputs_is_what_each_policy_does(kind: str) -> None:
    continuous = kind in ("sac", "ppo")
    env = make_one("Pendulum-v1" if continuous else "CartPole-v1")
    spaces = Spaces.of(env.observation_space, env.action_space, env.spec.id)
    sizes = {"algo": "PPO", "hidden": (8,), "activation": "tanh"} if kind == "sb3" else {}
    cfg = (MODULES | ENGINES)[kind].Config(env=env.spec.id, **sizes)
    torch.manual_seed(0)
    agent = Agent(kind, cfg, POLICIES[kind](cfg, spaces), spaces, 0)
    obs = torch.randn(20, spaces.obs, requires_grad=True)
    found = outputs(agent)(obs)
    found.sum().backward()
    assert obs.grad is not None
    assert obs.grad.abs().sum() > 0
    done, seen = agent.policy.act(obs), checked(agent)(obs.detach().numpy())
    if continuous:
        limited = found.tanh() if kind == "sac" else found
        torch.testing.assert_close(limited, done)
        np.testing.assert_allclose(seen, spaces.to_env(done.numpy()))
    else:
        assert (found.argmax(-1) == done).all()
        np.testing.assert_array_equal(seen.argmax(-1), done)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCarContinuous-v0"])
def test_every_environment_has_nine_cells_that_it_can_have(env: str) -> None:
    from envs.faults import FaultyEnv

    one = make_one(env)
    size = one.observation_space.shape[0]
    cells = faults_for(env, size // 2)
    assert (len(cells), next(iter(cells))) == (9, NULL)
    for fault in cells.values():
        FaultyEnv(make_one(env), fault).reset(seed=0)
