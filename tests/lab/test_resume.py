"""A run that was stopped, killed or damaged goes on in a new process and ends with the same bits."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import agents.registry
import generative.registry
from tests.processes import ENVIRONMENT, lab, run
from training.files import MANIFEST, sha256

STOP_AT_YIELD = """
import os, signal, sys
import agents.registry, generative.registry
from lab.cli import main

def stop(kind, k):
    module = (agents.registry.MODULES | generative.registry.MODULES)[kind]
    original = module.train

    def train(*arguments):
        module.train = original
        for n, yielded in enumerate(original(*arguments), 1):
            if n == k:
                os.kill(os.getpid(), signal.SIGTERM)
            yield yielded

    module.train = train

if __name__ == "__main__" and len(sys.argv) > 2:
    stop(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = ["train", sys.argv[1], *sys.argv[3:]]
    main()
"""

SEVERAL = (
    STOP_AT_YIELD
    + """
import json
codes = []
for k, *words in json.loads(sys.argv[1]):
    if k:
        stop(words[1], k)
    sys.argv[1:] = words
    try:
        main()
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code)
print(json.dumps(codes))
"""
)
PARTS = 4

# What is trained, and after how many yields it is stopped.
CASES = {
    "ppo": ("--env CartPole-v1 --steps 20000 --evaluate-every 6000", (1, 7)),
    "ppo on replayed environments": (
        "--env Pendulum-v1 --steps 12000 --num-envs 4 --no-shared --normalise-obs --normalise-reward",
        (5,),
    ),
    "a2c": ("--env CartPole-v1 --steps 8000 --evaluate-every 3000 --normalise-reward", (9,)),
    "ppo on tensor environments": ("--env Pendulum-v1 --backend tensor --steps 8000 --average 0.9", (3,)),
    "ppo_lstm": (
        "--env lab/CartPoleStill-v1 --steps 4000 --num-envs 4 --rollout 32 --normalise-obs"
        " --normalise-reward",
        (7,),
    ),
    "reinforce": ("--env CartPole-v1 --steps 8000 --rollout 8", (20,)),
    "sac": ("--env Pendulum-v1 --steps 1200 --warm-up 400 --batch 64", (3, 50)),
    "dqn": (  # before learning starts; in the middle; after the replay has wrapped around
        "--env CartPole-v1 --steps 10000 --replay 1000 --collect 16 --warm-up 1000 --evaluate-every 4000",
        (2, 12, 33),
    ),
    "dqn on replayed environments": (
        "--env MountainCar-v0 --steps 3000 --warm-up 500 --normalise-obs --normalise-reward",
        (9,),
    ),
    "dqn of three steps": (
        "--env CartPole-v1 --steps 4000 --replay 1000 --warm-up 500 --n-step 3 --collect 16 --dueling",
        (11,),
    ),
    "pqn": (
        "--env CartPole-v1 --steps 6000 --evaluate-every 3000 --normalise-obs --normalise-reward",
        (9,),
    ),
    "qr_dqn": (
        "--env CartPole-v1 --steps 4000 --replay 1000 --warm-up 500 --n-step 5 --collect 16",
        (11,),
    ),
    "rainbow": (
        "--env CartPole-v1 --steps 3000 --replay 1000 --warm-up 500 --collect 16 --normalise-obs"
        " --normalise-reward",
        (9,),
    ),
    "vae": ("--data digits --steps 150 --evaluate-every 40", (1, 77)),
    "vae with labels, importance samples and convolutions": (
        "--data digits --steps 60 --conditional --samples 3 --network conv --width 8 --evaluate-every 25",
        (33,),
    ),
    "autoencoder": ("--data digits --steps 150", (100,)),
    "denoiser": ("--data digits --steps 100 --evaluate-every 40", (57,)),
    "gan": ("--data digits --steps 120 --evaluate-every 50 --guard-every 30", (1, 77)),
    "gan without labels in bf16": ("--data digits --steps 50 --no-conditional --precision bf16", (33,)),
    "gan of convolutions with labels and spectral normalisation in bf16": (
        "--data digits --steps 40 --network conv --width 8 --loss hinge --conditional --evaluate-every 15"
        " --precision bf16",
        (23,),
    ),
    "som": ("--data digits --steps 100 --evaluate-every 40", (57,)),
    "autoencoder with normalisation, dropout and another optimizer": (
        "--data digits --steps 150 --evaluate-every 40 --norm batch --dropout 0.2 --optimizer rmsprop",
        (77,),
    ),
}
CALLS = [(name, k) for name, (_, stops) in CASES.items() for k in stops]


def result(folder: Path) -> dict[str, object]:
    """All that must be equal: weights, best weights, and rows but for their times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "rows": [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows],
        "model": (folder / "model/weights.safetensors").read_bytes(),
        "best": (folder / "best/weights.safetensors").read_bytes(),
    }


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory):
    """The result of a case's run without a stop; each is made once."""
    here, found = tmp_path_factory.mktemp("straight"), {}

    def of(name: str) -> dict[str, object]:
        if name not in found:
            kind, words = name.split()[0], CASES[name][0].split()
            folder = name.replace(" ", "-")
            done = lab("train", kind, *words, "--dir", folder, cwd=here)
            assert done.returncode == 0, done.stderr
            found[name] = result(here / folder)
        return found[name]

    return of


def test_every_algorithm_has_a_case() -> None:
    everything = set(agents.registry.MODULES) | set(generative.registry.MODULES)
    assert {name.split()[0] for name in CASES} == everything


@pytest.mark.long
@pytest.mark.parametrize(("name", "k"), CALLS)
def test_a_stopped_run_ends_with_the_same_bits(name: str, k: int, straight, tmp_path: Path) -> None:
    kind, words = name.split()[0], CASES[name][0].split()
    stopped = run(sys.executable, "-c", STOP_AT_YIELD, kind, str(k), *words, "--dir", "run", cwd=tmp_path)
    assert stopped.returncode == 143, stopped.stderr
    assert "interrupted (`lab resume run` goes on)" in stopped.stdout
    resumed = lab("resume", "run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert result(tmp_path / "run") == straight(name)
    again = lab("resume", "run", cwd=tmp_path)
    assert (again.returncode, "is finished" in again.stdout) == (0, True)


@pytest.mark.parametrize("part", range(PARTS))
def test_stopped_runs_end_with_the_same_bits(part: int, tmp_path: Path) -> None:
    """Every case at its last stop; straight, stopped and resumed are three processes, for several cases."""
    names = list(CASES)[part::PARTS]
    straight, stopped, resumed = [], [], []
    for name in names:
        words, place = ["train", name.split()[0], *CASES[name][0].split(), "--dir"], name.replace(" ", "-")
        straight.append([0, *words, f"straight/{place}"])
        stopped.append([CASES[name][1][-1], *words, place])
        resumed.append([0, "resume", place])
    for calls, code in ((straight, 0), (stopped, 143), (resumed, 0)):
        done = run(sys.executable, "-c", SEVERAL, json.dumps(calls), cwd=tmp_path)
        assert json.loads(done.stdout.splitlines()[-1]) == [code] * len(names), done.stderr
    for name in names:
        place = name.replace(" ", "-")
        assert result(tmp_path / place) == result(tmp_path / "straight" / place), name


def killed(folder: Path, words: list[str], after_s: float) -> bool:
    """Starts a process and ends it with SIGKILL, `after_s` seconds after it first wrote to its rows; false
    where it was done by then."""
    rows = folder / "metrics.jsonl"
    before = rows.stat().st_mtime_ns if rows.exists() else 0
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *words],
        cwd=folder.parent,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (rows.exists() and rows.stat().st_mtime_ns > before):
        time.sleep(0.005)
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def check_survives(kills: int, straight: dict, folder: Path, words: list[str], seed: int) -> None:
    """Kills a run again and again at random moments while it learns, then lets it end, and compares."""
    rng = random.Random(seed)
    hits = [killed(folder, words, rng.uniform(0, SOON_S))]
    hits += [killed(folder, ["resume", str(folder)], rng.uniform(0, SOON_S)) for _ in range(kills - 1)]
    assert sum(hits) > kills // 2, hits
    done = lab("resume", str(folder), cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert result(folder) == straight


SOON_S = 0.2  # of a run that learns for a few seconds with as many checkpoints
OFTEN = [*CASES["ppo"][0].split(), "--save-every-s", "0.01"]


def test_six_kills_at_random_moments_change_nothing(straight, tmp_path: Path) -> None:
    words = ["train", "ppo", *OFTEN, "--dir", str(tmp_path / "run")]
    check_survives(6, straight("ppo"), tmp_path / "run", words, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
def test_two_hundred_kills_at_random_moments_change_nothing(seed: int, straight, tmp_path: Path) -> None:
    words = ["train", "ppo", *OFTEN, "--dir", str(tmp_path / "run")]
    check_survives(5, straight("ppo"), tmp_path / "run", words, seed + 1)


def test_a_run_that_is_going_cannot_be_resumed_beside_itself(tmp_path: Path) -> None:
    words = ["train", "ppo", "--steps", "10000000", "--dir", "run"]
    process = subprocess.Popen([sys.executable, "-m", "lab", *words], cwd=tmp_path, env=ENVIRONMENT)
    try:
        while not (tmp_path / "run" / "config.json").exists():
            time.sleep(0.05)
        second = lab("resume", "run", cwd=tmp_path)
        assert (second.returncode, second.stderr.count("\n")) == (2, 1)
        assert "in use by another process" in second.stderr
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


def test_a_full_disk_is_an_error_and_the_old_checkpoint_stays(straight, tmp_path: Path) -> None:
    words = CASES["dqn"][0].split()
    stopped = run(sys.executable, "-c", STOP_AT_YIELD, "dqn", "12", *words, "--dir", "run", cwd=tmp_path)
    assert stopped.returncode == 143
    before = sorted(p.name for p in (tmp_path / "run" / "resume").iterdir())
    limit = (
        "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (30_000, 30_000));"  # every write past this fails
    )
    full = run(
        sys.executable,
        "-c",
        limit + "import sys; sys.argv = ['lab', 'resume', 'run']; from lab.cli import main; main()",
        cwd=tmp_path,
    )
    assert full.returncode == 1
    assert full.stderr.startswith("lab: ")
    assert "File too large" in full.stderr
    assert full.stderr.count("\n") == 1
    assert sorted(p.name for p in (tmp_path / "run" / "resume").iterdir()) == before
    assert lab("resume", "run", cwd=tmp_path).returncode == 0
    assert result(tmp_path / "run") == straight("dqn")


def test_damaged_checkpoints_are_dropped_and_do_not_crowd_out_new_ones(straight, tmp_path: Path) -> None:
    words = [*CASES["ppo"][0].split(), "--dir", "run"]
    assert run(sys.executable, "-c", STOP_AT_YIELD, "ppo", "12", *words, cwd=tmp_path).returncode == 143
    (checkpoint,) = (tmp_path / "run" / "resume").iterdir()
    for step in (10**8, 10**9):  # as many as are kept, and later than any that the run will write
        damaged = shutil.copytree(checkpoint, checkpoint.with_name(f"step_{step}"))
        (damaged / "state.safetensors").write_bytes(b"")
    again = lab("resume", "run", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("lab: warning:")) == (0, 2)
    assert result(tmp_path / "run") == straight("ppo")
    assert not damaged.exists()


def test_without_a_whole_checkpoint_a_run_begins_again_only_when_they_are_gone(
    straight, tmp_path: Path
) -> None:
    words = [*CASES["ppo"][0].split(), "--dir", "run"]
    assert run(sys.executable, "-c", STOP_AT_YIELD, "ppo", "12", *words, cwd=tmp_path).returncode == 143
    (checkpoint,) = (tmp_path / "run" / "resume").iterdir()
    (checkpoint / "state.safetensors").write_bytes(b"")
    refused = lab("resume", "run", cwd=tmp_path)
    assert (refused.returncode, "no checkpoint of run is whole" in refused.stderr) == (2, True)
    shutil.rmtree(checkpoint.parent)
    again = lab("resume", "run", cwd=tmp_path)
    assert (again.returncode, "it starts again" in again.stdout) == (0, True)
    assert result(tmp_path / "run") == straight("ppo")


def test_a_changed_configuration_is_refused(tmp_path: Path) -> None:
    words = [*CASES["ppo"][0].split(), "--dir", "run"]
    assert run(sys.executable, "-c", STOP_AT_YIELD, "ppo", "3", *words, cwd=tmp_path).returncode == 143
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    config["config"]["hidden"] = [8]
    file.write_text(json.dumps(config))
    done = lab("resume", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert "has changed since the checkpoint: hidden was (64, 64) and is (8,), put it back" in done.stderr


def test_a_checkpoint_from_before_a_setting_was_there_goes_on(straight, tmp_path: Path) -> None:
    words = [*CASES["ppo"][0].split(), "--dir", "run"]
    assert run(sys.executable, "-c", STOP_AT_YIELD, "ppo", "12", *words, cwd=tmp_path).returncode == 143
    (checkpoint,) = (tmp_path / "run" / "resume").iterdir()
    for file in (tmp_path / "run" / "config.json", checkpoint / "state.json"):
        text = file.read_text()
        older = re.sub(r',\s*\\*"average\\*": 0.0', "", text)
        assert older != text
        file.write_text(older)
    sums = json.loads((checkpoint / MANIFEST).read_text())
    (checkpoint / MANIFEST).write_text(json.dumps(sums | {"state.json": sha256(checkpoint / "state.json")}))
    done = lab("resume", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / "run") == straight("ppo")


def test_other_kinds_of_folders_cannot_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n" + "1,2\n2,1\n" * 20)
    assert (
        lab("fit", "data.csv", "--detector", "autoencoder", "--dir", "fitted", cwd=tmp_path).returncode == 0
    )
    done = lab("resume", "fitted", cwd=tmp_path)
    assert (done.returncode, "is a run of 'detector'" in done.stderr) == (2, True)
