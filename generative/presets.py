"""Tuned recipes by data source: what `lab train MODEL --data SOURCE` starts from.

A source that is a file or a folder is known by its name without the ending: `mnist` is any `mnist.npz`.
"""

from generative import gan, vae
from training.optim import OptimConfig
from training.run import RunConfig

VAE = {
    # Pixels are bounded, and some are nearly always dark: a normal likelihood would explain those exactly.
    "digits": vae.Config(
        likelihood="bernoulli",
        hidden=(256, 128),
        run=RunConfig(steps=8_000, evaluate_every=500, log_every=100),
    ),
    "mnist": vae.Config(
        likelihood="bernoulli",
        binarise=True,
        latent=40,
        hidden=(400, 400),
        activation="relu",
        warm_up=4_000,
        batch=256,
        optim=OptimConfig(lr=2e-3, max_norm=100.0),
        run=RunConfig(steps=53_000, evaluate_every=5_000, log_every=1_000),
    ),
}

# With labels, as these sources have them: on tuning seed 10 of MNIST 2,500 updates cover .91 of the rows,
# without labels .60. Where a GAN is to score rows, --no-conditional: a critic that learned with labels tells
# digits from digits with permuted columns at an AUROC of .76, one without at .98. Test seeds 0 to 2 in bf16:
# MNIST coverage .936 to .940, 1.0 times the floor; Fashion-MNIST .893 to .902, 6.7 to 9.9; 255 to 277 CPU s.
PICTURES = gan.Config(
    conditional=True,
    width=32,
    r1=0.2,
    r1_every=16,
    run=RunConfig(steps=9_000, evaluate_every=1_500, log_every=500),
)

GAN = {
    # 1,257 pictures of 8 × 8: dense networks learn them sooner than convolutions, which see too little. Test
    # seeds 0 to 2: coverage .95 to .99, Fréchet distance .5 to 1.3 times the floor, 31 to 36 CPU s. Of 270
    # samples without labels the shares of the digits differ from the test rows' by chance, and by that alone
    # rows of the training part itself come to .5 to 2.6 times the floor.
    "digits": gan.Config(
        network="dense",
        conditional=True,
        r1=0.3,
        run=RunConfig(steps=8_000, evaluate_every=500, log_every=100),
    ),
    "mnist": PICTURES,
    "fashion_mnist": PICTURES,
}
