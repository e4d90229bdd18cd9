"""One door to all vector environments, whoever steps them."""

from envs.pool import PoolEnv
from envs.tensor import TensorEnv
from envs.vector import VectorEnv, split, vectorised


def make(env: str, num_envs: int, seed: int, processes: bool = False) -> VectorEnv:
    """`num_envs` environments called `env`; `tensor/ID` are tensors, `envpool/ID` are EnvPool's, others
    Gymnasium's.

    With `processes` each of Gymnasium's has a process of its own, for environments that take milliseconds a
    step; those cannot be saved, so a run of theirs cannot be resumed.

    Raises:
        InputError: for an environment that nobody knows or that cannot be made.
    """
    backend, name = split(env)
    if backend == "tensor":
        return TensorEnv(name, num_envs, seed)
    if backend == "envpool":
        return PoolEnv(name, num_envs, seed)
    return vectorised(name, num_envs, seed, processes)
