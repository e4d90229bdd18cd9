"""Tuned recipes by data source: what `lab train MODEL --data SOURCE` starts from."""

from generative import vae
from training.run import RunConfig

VAE = {
    # Pixels are bounded, and some are nearly always dark: a normal likelihood would explain those exactly.
    "digits": vae.Config(
        likelihood="bernoulli", run=RunConfig(steps=2_000, evaluate_every=250, log_every=100)
    ),
}
