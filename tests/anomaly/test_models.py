"""The detectors' models: losses by hand, and second implementations."""

import math

import numpy as np
import pytest
import torch
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from anomaly.baselines import PCA, Forest
from anomaly.dependency import masked, masked_loss
from anomaly.memory import FLOOR, LOCAL, Memory, _smallest
from anomaly.nets import FOLDS, folds, outside
from anomaly.ratio import CLIP, Wrong, ratio_loss, squash
from anomaly.surprise import Surprise, joined


def rows(count: int, columns: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed))


def test_the_ratio_loss_by_hand() -> None:
    real, wrong = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[-math.log(3.0), 0.0]])
    expected = 2 * (math.log(4 / 3) + math.log(2)) / 2
    assert ratio_loss(real, wrong).item() == pytest.approx(expected)


def test_both_terms_of_the_ratio_loss_have_gradients_of_the_right_sign() -> None:
    real, wrong = (torch.zeros(1, 2, requires_grad=True) for _ in range(2))
    ratio_loss(real, wrong).backward()
    assert real.grad is not None
    assert wrong.grad is not None
    np.testing.assert_allclose(real.grad, [[-0.25, -0.25]])
    np.testing.assert_allclose(wrong.grad, [[0.25, 0.25]])


def test_the_masked_loss_counts_hidden_features_alone() -> None:
    x, x_hat = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[0.0, 5.0, 7.0]]]).requires_grad_()
    hidden = torch.tensor([[[True, False, True]]])
    loss = masked_loss(x, x_hat, hidden)
    assert loss.item() == pytest.approx((1 + 16) / 2)
    loss.backward()
    np.testing.assert_allclose(x_hat.grad, [[[-1.0, 0.0, 4.0]]])
    assert masked(x, hidden).tolist() == [[[0.0, 2.0, 0.0, 1.0, 0.0, 1.0]]]


def test_squash_keeps_order_and_what_is_near() -> None:
    x = torch.tensor([-1e9, -9.0, -CLIP, -1.0, 0.0, 3.0, CLIP, 20.0, 1e6])
    found = squash(x)
    assert (found.diff() > 0).all()
    assert torch.equal(found[2:7], x[2:7])
    assert found.abs().max() < 200


def test_wrong_rows_have_values_that_columns_of_few_values_can_have() -> None:
    x = torch.cat([rows(200, 2), torch.randint(2, (200, 1)).float()], 1)
    generator = torch.Generator().manual_seed(0)
    wrong = Wrong(x, torch.tensor([0, 1, 2]), generator)
    every = torch.arange(200).expand(FOLDS, -1)
    made = wrong(every, every[:, :64])
    assert made.shape == (FOLDS, 64, 3)
    assert set(made[..., 2].unique().tolist()) == {0.0, 1.0}
    assert (made != x[every[:, :64]]).any(-1).float().mean() > 0.9


def test_no_net_learns_from_its_own_fold() -> None:
    fold = folds(10, torch.Generator().manual_seed(0))
    for k, learned in enumerate(outside(fold)):
        assert set(learned.tolist()) == {i for i in range(10) if fold[i] != k}


def test_the_k_smallest_in_two_steps_are_those_of_topk() -> None:
    for many in (5, 100, 333, 1_000):
        numbers = rows(20, many)
        near, places = _smallest(numbers, 5)
        assert torch.equal(near, numbers.topk(5, largest=False).values)
        assert torch.equal(numbers.gather(1, places), near)


def test_the_memory_is_k_nearest_neighbours_and_a_local_norm() -> None:
    x, new = rows(700), rows(50, seed=1)
    memory, own = Memory.fit(x, 0)
    near = NearestNeighbors(n_neighbors=5).fit(x)
    alone = near.kneighbors()[0].mean(1)  # without itself
    floor = FLOOR * np.sort(alone)[(len(alone) - 1) // 2]
    log_own = np.log(alone + floor)
    for told, expected in ((own, near.kneighbors()), (memory.score(new), near.kneighbors(new))):
        distance, index = expected
        score = np.log(distance.mean(1) + floor) - LOCAL * log_own[index].mean(1)
        np.testing.assert_allclose(told, score, atol=2e-3)


def test_the_forest_scores_as_scikit_learn_does() -> None:
    x, new = rows(500), 2 * rows(100, seed=1)
    theirs = -IsolationForest(n_estimators=100, random_state=3).fit(x.numpy()).score_samples(new.numpy())
    np.testing.assert_allclose(Forest.fit(x, 3).score(new), theirs, atol=1e-6)


def test_the_residual_of_principal_components_by_hand() -> None:
    x = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 0.1], [0.0, -0.1]]).double()
    pca = PCA.fit(x, 0)
    np.testing.assert_allclose(pca.score(torch.tensor([[9.0, 0.0], [1.0, 3.0]])), [0.0, 9.0], atol=1e-5)


def test_surprise_by_hand() -> None:
    surprise = Surprise.fit(np.arange(101.0))  # the 90th percentile is 90, the mean excess 5.5
    found = surprise(np.array([-5.0, 50.0, 90.0, 101.0]))
    np.testing.assert_allclose(found, [0, -np.log(0.5), -np.log(0.1), 2 - np.log(0.1)], atol=1e-9)
    again = Surprise.of_array(surprise.array())
    np.testing.assert_array_equal(again(np.arange(200.0)), surprise(np.arange(200.0)))


def test_equal_scores_give_a_finite_surprise() -> None:
    assert np.isfinite(Surprise.fit(np.zeros(50))(np.array([-1.0, 0.0, 1.0]))).all()


def test_joined_surprises_by_hand() -> None:
    found = joined(np.array([[0.0, 2.0], [4.0, 2.0]]))
    np.testing.assert_allclose(found, [2 * np.log((1 + np.e**2) / 2), 2.0])
    assert joined(np.array([[1e5], [0.0]]))[0] == pytest.approx(1e5 - 2 * np.log(2))
