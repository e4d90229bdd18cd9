"""One door to all vector environments, whoever steps them."""

from envs.pool import PoolEnv
from envs.tensor import TensorEnv
from envs.vector import VectorEnv, split, vectorised


def make(env: str, num_envs: int, seed: int) -> VectorEnv:
    """`num_envs` environments called `env`: `tensor/ID` are tensors, `envpool/ID` are EnvPool's, others
    Gymnasium's, `processes/ID` each in a process of its own.

    Raises:
        InputError: for an environment that nobody knows or that cannot be made.
    """
    backend, name = split(env)
    if backend == "tensor":
        return TensorEnv(name, num_envs, seed)
    if backend == "envpool":
        return PoolEnv(name, num_envs, seed)
    return vectorised(name, num_envs, seed, backend == "processes")
