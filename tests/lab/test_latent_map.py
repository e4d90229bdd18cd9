from dataclasses import replace

import numpy as np
from sklearn.decomposition import PCA

from anomaly.detector import Detector
from generative import vae
from generative.data import Table
from lab.latent_map import kept_near, latent_map, places

ROWS = np.random.default_rng(0).normal(size=(300, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0])
TABLE = Table(ROWS, tuple("abcd"), "made up")


def test_places_are_the_first_two_principal_components_of_normal_rows() -> None:
    detector = Detector.fit(TABLE, "nearest")
    scaled = detector.references - detector.references.mean(0)
    expected = PCA(2).fit_transform(scaled / detector.references.std(0))
    normal, others = places(detector, detector.references[:5])
    np.testing.assert_allclose(np.abs(normal), np.abs(expected), atol=1e-9)
    np.testing.assert_array_equal(others, normal[:5])


def test_a_model_that_encodes_is_mapped_by_what_it_encodes() -> None:
    cfg = vae.Config(latent=1, hidden=(8,), warm_up=1)
    detector = Detector.fit(TABLE, "vae", cfg=replace(cfg, run=replace(cfg.run, steps=20, evaluate_every=20)))
    normal, others = places(detector, detector.references[:5])
    assert (normal[:, 1] == 0).all()  # one latent dimension has one direction
    assert others.shape == (5, 2)


def test_rows_far_off_are_drawn_at_the_edge() -> None:
    normal = np.array([[0.0, -2.0], [4.0, 2.0]])
    moved = kept_near(normal, np.array([[1.0, 1.0], [1e9, -1e9]]))
    assert moved.tolist() == [[1.0, 1.0], [5.0, -3.0]]
    detector = Detector.fit(TABLE, "nearest")
    assert ">row 7</text>" in latent_map(detector, np.full((1, 4), 1e9), ["row 7"])
