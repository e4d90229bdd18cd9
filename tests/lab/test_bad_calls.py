"""Bad calls end in one line and exit code 2, and change nothing."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.cli import main
from tests.processes import lab


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


BAD_CALLS = {
    "train gan --mode compile --dir new": "mode is compile, expected eager",
    "train vae --network conv --norm spectral --dir new": "norm is spectral, the network 'conv' expects",
    "train vae --freeze encoder --dir new": "freeze is encoder, expected init_from beside it",
    "train vae --init-from nowhere --dir new": "nowhere/model does not exist",
    "train vae --init-from agent --dir new": "agent has no layer that fits: log_sigma: the run has no",
    "train sb3 --init-from agent --dir new": "sb3 is another library, which cannot start from agent",
    "no-such-command": "the command is 'no-such-command', expected one of",
    "train": "needs what to train first",
    "train ppx": "lab train ppx: expected one of",
    "train ppo --env CartPole-v99": "'CartPole-v99' cannot be made",
    "train ppo --env nonsense --dir new": "'nonsense' cannot be made",
    "train ppo --steps -5": "steps is -5, expected more than 0",
    "train ppo --steps many": "many",
    "train ppo --no-such-flag 3": "--no-such-flag",
    "train ppo --gamma 3": "gamma is 3.0, expected 0 to 1",
    "train ppo --device gpu7 --dir new": "device is 'gpu7'",
    "train ppo --dir agent": "agent exists already",
    "train ppo --config nowhere": "nowhere does not exist",
    "train ppo --config model": "configures 'vae', expected 'ppo'",
    "train ppo --config half": "is not JSON",
    "train dqn --env Pendulum-v1 --dir new": "continuous actions",
    "train dqn --n-step 0 --dir new": "n_step is 0, expected more than 0",
    "train dqn --warm-up 5000 --steps 3000 --dir new": "warm_up is 5000 of 3000 steps, expected less",
    "train ppo --video --env tests.probes:Pair --dir new": "cannot be made",
    "train rainbow --env Pendulum-v1 --dir new": "continuous actions",
    "train rainbow --low 5 --high 1": "51 atoms from 5.0 to 1.0, expected two or more, upwards",
    "train vae --data missing.csv": "missing.csv does not exist",
    "train vae --data text.csv --dir new": "expected a number: models learn from numbers alone, `lab fit",
    "train vae --data normal.csv --latent 0": "latent is 0",
    "monitor": "expected a run's folder or --log EPISODES",
    "monitor agent --log x.npz": "expected a run's folder or --log EPISODES, one of them",
    "monitor nowhere": "nowhere does not exist",
    "monitor agent --alpha 0": "alpha is 0.0, expected a rate between 0 and 1",
    "monitor agent --alpha 0.01 --calibrate 20": "with 20 episodes to calibrate, expected 99 or more",
    "monitor agent --run-length 0": "the run length is 0 steps, expected more than 128",
    "monitor agent --faulty 1": "faulty is 1, expected 2 or more",
    "monitor --log missing.npz": "missing.npz cannot be read as recorded episodes",
    "monitor agent --fit 5 --calibrate 3 --test 2 --faulty 2 --updates 5": "expected 19 or more",
    "watch agent": "agent has no monitor",
    "watch agent --fault typo": "fault is 'typo', expected one of noise",
    "evaluate": "Missing from lab evaluate: PATH the folder of a run",
    "evaluate nowhere": "nowhere does not exist",
    "evaluate nowhere normal.csv --label-column a": "nowhere does not exist",
    "evaluate empty": "is not a run folder",
    "evaluate detector": "labelled rows",
    "evaluate agent --env Acrobot-v1": "agent is no .zip, expected no --env, --vec-normalize or --dir",
    "evaluate model --record": "expected no --sample and no --record",
    "evaluate model --samples 0": "samples is 0, expected 1 or more",
    "generate": "Missing from lab generate: PATH the folder of a model's run",
    "generate agent": "is a run of 'ppo', expected one of",
    "generate nowhere": "nowhere does not exist",
    "generate model --count 0": "count is 0, expected 1 or more",
    "generate model --label 7": "was trained without labels",
    "generate model --out no/where": "no does not exist",
    "generate labelled --label 12": "label is '12', expected one of 0, 1, 2",
    "train vae --data mixed --dir new": "has 6 × 5 pixels and",
    "train vae --data empty --dir new": "empty has no pictures",
    "train gan --data oneclass.npz --conditional --dir new": "has 1 labels, a conditional GAN expects 2",
    "train vae --data normal.csv --conditional --dir new": "has 0 labels, a conditional VAE expects 2",
    "train vae --data constant.csv --dir new": "all rows to fit are equal",
    "train vae --data nan.npz --dir new": "is missing (NaN)",
    "train gan --data normal.csv --network conv --dir new": "a row is 3 columns, the network 'conv' expects",
    "train autoencoder --data digits --network lstm --dir new": "a row is 1 × 8 × 8, the network",
    "train gan --betas 0.5 1.5 --dir new": "expected two rates below 1",
    "train denoiser --lowest 2 --dir new": "lowest is 2.0, expected no more than highest",
    "train som --height 1 --width 1 --dir new": "the grid is 1 × 1",
    "train vae --binarise --likelihood gaussian --dir new": "--binarise expects bernoulli",
    "evaluate half": "is not JSON",
    "evaluate cut": "cut/model does not exist",
    "evaluate damaged": "the file is damaged",
    "evaluate agent --episodes 0": "episodes is 0, expected 1 or more",
    "evaluate dqn --sample": "deterministic",
    "train sb3 --env MountainCar-v0 --algo TD3 --dir new": "TD3 refuses",
    "train ppo --env LunarLander-v3 --backend tensor --dir new": "is no tensor environment",
    "train vae --data normal.csv --backend tensor --dir new": "vae has no environments of ours",
    "train sb3 --memory 8 --dir new": "features, memory, masks or sde is told, expected none",
    "train ppo --env Pendulum-v1 --deviation 0 --dir new": "deviation is 0.0, expected",
    "train sb3 --mode compile --dir new": "sb3 knows no other mode",
    "resume other-engine": "a run of sb3, which cannot be resumed",
    "evaluate model.zip": "expected --env ID",
    "evaluate model.zip --env CartPole-v1": "expected --trust if you trust it",
    "evaluate model.zip --env CartPole-v1 --trust": "is no zip file",
    "evaluate nowhere.zip --env CartPole-v1 --trust": "nowhere.zip does not exist",
    "fit normal.csv --window 1 --dir new": "window is 1, expected 2 rows or more",
    "fit normal.csv --window 90 --dir new": "has 200 rows, expected at least",
    "fit normal.csv --time a --dir new": "expected --window W beside it",
    "fit normal.csv --window 5 --time z --dir new": "lacks the column 'z'",
    "fit normal.csv --window 5 --time a --dir new": "expected a time after that of the row before",
    "fit normal.csv --window 5 --contaminated --dir new": "expected it without --window",
    "fit normal.csv --window 5 --detector edges --dir new": "detector is 'edges', expected one of",
    "fit normal.csv --from model --window 5 --dir new": "expected no --window, --time, --series",
    "fit normal.csv --network lstm --dir new": "expected --window W beside it",
    "fit normal.csv --window 5 --network lstm --dir new": "expected a --detector among autoencoder",
    "fit normal.csv --window 5 --own-scale --dir new": "expected --series COLUMN beside it",
    "fit normal.csv --series a --dir new": "expected --window W beside it",
    "fit normal.csv --window 5 --series z --dir new": "lacks the column 'z'",
    "fit normal.csv --window 5 --series a --time a --dir new": "are not different columns",
    "fit missing.csv": "missing.csv does not exist",
    "fit text.csv --dir new": "expected a number",
    "fit gaps.csv --from model --dir new": "row 0 is missing (NaN)",
    "fit ragged.csv --dir new": "row 1 has 1 cells, expected 2 (rows are counted from 0)",
    "fit norows.csv --dir new": "has 0 rows, expected at least 1",
    "fit normal.csv --detector knn": "detector is 'knn'",
    "fit normal.csv --alpha 2 --dir new": "expected a rate between 0 and 1",
    "fit normal.csv --dir agent": "agent exists already",
    "fit other.csv --from model --dir new": "has 2 columns, model expects 3",
    "fit normal.csv --from agent --dir new": "holds a 'ppo', expected one of",
    "fit normal.csv --from nowhere --dir new": "does not exist",
    "fit text.csv --from nowhere --dir new": "nowhere/model does not exist",
    "score": "the folder that `lab fit` made",
    "score detector missing.csv": "does not exist",
    "score detector other.csv": "other.csv lacks the column 'c', expected a, b, c",
    "score detector text.csv": "lacks the column 'c'",
    "score model normal.csv": "is a run of 'vae', expected a detector",
    "score detector normal.csv --out no/where.csv": "no does not exist",
    "train ppo --lr nan --dir new": "lr is nan, expected more than 0",
    "train ppo --max-norm -1 --dir new": "max_norm is -1.0",
    "train ppo --hidden 64 0 --dir new": "hidden is 64 0",
    "train ppo --env= --dir new": "the environment '' cannot be made",
    "train ppo --device meta --dir new": "cpu, cuda and mps are supported",
    "train ppo --dir normal.csv/x": "normal.csv/x cannot be made",
    "train ppo --config null --dir new": "null/config.json lacks `kind` and `config`",
    "train dqn --replay 10000000000000 --dir new": "expected what memory holds",
    "evaluate agent --seed -1": "seed is -1",
    "fit normal.csv --from model --seed 3 --dir new": "expected no --detector, --seed",
    "score detector normal.csv --out normal.csv": "is the data itself",
    "score detector normal.csv --out s.txt": "is of the kind '.txt', expected .csv or .parquet",
    "score detector normal.csv --rows 5:2": "expected A:B with A less than B",
    "score detector normal.csv --rows 150:300 --out s.csv": "ends at row 200, expected the rows 150 to 300",
    "score detector normal.csv --rows 900: --out s.csv": "ends at row",
    "score detector normal.csv --alpha 0.1 --fdr 0.1": "expected one of them",
    "score detector normal.csv --fdr 3": "fdr is 3.0, expected a rate",
    "score detector normal.csv --explain -1": "explain is -1",
    "score detector broken.csv --out s.csv": "column 'b', row 2 is 'x', expected a number",
    "fit normal.csv --label-column y --dir new": "lacks the column 'y'",
    "fit normal.csv --label-column a --dir new": "expected a label: 0 (normal) or 1 (anomaly)",
    "fit normal.csv --columns a,z --dir new": "lacks the column 'z'",
    "fit normal.csv --detector vae --fast --dir new": "a fast one expects auto",
    "fit normal.csv --window 8 --fast --dir new": "expected it without --window",
    "fit normal.csv --from model --fast --dir new": "expected no --detector, --seed, --columns",
    "fit normal.csv --categorical z --dir new": "lacks the column 'z'",
    "fit one.csv --dir new": "has 1 rows to learn from, expected at least 3",
    "fit constant.csv --dir new": "every column is constant",
    "fit binary.log --dir new": "binary.log, line 1 has a NUL byte, expected text",
    "fit empty.log --dir new": "empty.log has 0 rows",
    "fit one.log --dir new": "has 1 rows to learn from, expected at least 3",
    "fit latin.txt --dir new": "latin.txt, line 1 has the byte 0xe9",
    "fit few.log --window 8 --dir new": "expected no window",
    "fit few.log --detector vae --dir new": "few.log has text alone: expected auto",
    "fit few.log --fast --dir new": "few.log has text alone: expected auto",
    "fit normal.csv --text z --dir new": "lacks the column 'z'",
    "fit normal.csv --text a --window 8 --dir new": "expected it without --window",
    "fit normal.csv --text a --categorical a --dir new": "is named as text and as categorical",
    "fit normal.csv --from model --text a --dir new": "expected no --detector, --seed, --columns",
    "score detector few.log": "few.log lacks the column 'a', expected a, b, c",
    "explain detector normal.csv --row 200": "ends with row 199, expected a row 200",
    "explain detector normal.csv --row 9000": "expected a row 9000",
    "explain detector normal.csv --row -1": "row is -1",
    "explain agent normal.csv --row 1": "expected a detector",
    "explain detector normal.csv --row 1 --picture new.png": "is a detector of tables",
    "evaluate detector normal.csv": "normal.csv is met without labels, expected --label-column COLUMN",
    "evaluate detector normal.csv --label-column a": "expected a label",
    "evaluate detector normal.csv --label-column z": "lacks the column 'z'",
    "score detector normal.csv --out empty": "empty is a folder",
    "report": "needs the folder of a run",
    "report nowhere": "nowhere does not exist",
    "report detector memory": "has no rows",
    "list nowhere": "nowhere is no folder",
    "demo --episodes 3": "episodes is 3, expected 10 or more",
    "demo --dir agent": "exists already",
}


@pytest.fixture(scope="module")
def bad_place(place: Path) -> Path:
    """The same with files and folders that are not right."""
    (place / "mixed").mkdir()
    Image.new("L", (5, 5)).save(place / "mixed/a.png")
    Image.new("L", (6, 5)).save(place / "mixed/b.png")
    np.savez(place / "oneclass.npz", x=np.random.default_rng(0).normal(size=(30, 2)), y=np.zeros(30, int))
    np.savez(place / "nan.npz", x=np.array([[1.0, np.nan], [2.0, 3.0], [1.0, 4.0]]))
    (place / "empty").mkdir()
    (place / "half").mkdir()
    (place / "other-engine").mkdir()
    (place / "other-engine" / "config.json").write_text('{"kind": "sb3", "config": {}}')
    (place / "model.zip").write_text("no zip file")
    (place / "null").mkdir()
    (place / "null" / "config.json").write_text('{"kind": "ppo", "config": null}')
    (place / "half" / "config.json").write_text('{"kind": "ppo", "con')
    shutil.copytree(place / "agent", place / "cut")
    shutil.rmtree(place / "cut" / "model")
    shutil.copytree(place / "agent", place / "damaged")
    weights = bytearray((place / "damaged/model/weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (place / "damaged/model/weights.safetensors").write_bytes(weights)
    (place / "text.csv").write_text("a,b\n1,2\n3,x\n")
    (place / "gaps.csv").write_text("a,b\n1,\n3,4\n")
    (place / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (place / "norows.csv").write_text("a,b\n")
    (place / "broken.csv").write_text("a,b,c\n1,2,3\n1,2,3\n1,x,3\n")
    (place / "binary.log").write_bytes(bytes(range(256)))
    (place / "empty.log").write_text("")
    (place / "one.log").write_text("hello\n")
    (place / "few.log").write_text("hello you\n" * 9)
    (place / "latin.txt").write_bytes("café\n".encode("latin-1"))
    (place / "one.csv").write_text("a,b\n1,2\n")
    (place / "constant.csv").write_text("a,b\n" + "1,2\n" * 9)
    return place


@pytest.mark.parametrize("call", BAD_CALLS)
def test_a_bad_call_is_one_line_and_changes_nothing(
    call: str, bad_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(bad_place)
    monkeypatch.setattr(sys, "argv", ["lab", *call.split()])
    before = tree(bad_place)
    with pytest.raises(SystemExit) as end:
        main()
    out, said = capsys.readouterr()
    assert (end.value.code, "Traceback" in out) == (2, False), said
    assert said.count("\n") == 1, said
    assert said.startswith("lab: ")
    assert BAD_CALLS[call] in said
    assert tree(bad_place) == before


def test_a_bad_call_has_no_traceback_as_a_process(bad_place: Path) -> None:
    done = lab("evaluate", "damaged", cwd=bad_place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
