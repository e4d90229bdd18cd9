"""The detectors' models: losses by hand, and second implementations."""

import math

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier, IsolationForest
from sklearn.neighbors import NearestNeighbors

from anomaly.baselines import PCA, Forest
from anomaly.dependency import masked, masked_loss
from anomaly.linear import RIDGE, Linear
from anomaly.memory import FLOOR, LOCAL, NARROW, Memory, _smallest, scales
from anomaly.nets import FOLDS, folds, outside
from anomaly.nodes import leaves, node_table
from anomaly.ratio import CLIP, Wrong, ratio_loss, squash
from anomaly.surprise import Surprise, joined
from anomaly.trees import Trees, log_odds


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
    x = torch.cat([rows(200, 2), (torch.arange(200) % 20 == 0).float()[:, None]], 1)
    generator = torch.Generator().manual_seed(0)
    wrong = Wrong(x, torch.tensor([0, 1, 2]), generator)
    every = torch.arange(200).expand(FOLDS, -1)
    made = wrong(every, every[:, :64])
    assert made.shape == (FOLDS, 64, 3)
    assert set(made[..., 2].unique().tolist()) == {0.0, 1.0}
    assert made[:, 32:48, 2].mean() == pytest.approx(0.5, abs=0.15)  # where the others are drawn from the box
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


@pytest.mark.parametrize("plain", [False, True])
def test_the_memory_is_k_nearest_neighbours_and_a_local_norm(plain: bool) -> None:
    x, new = rows(700), rows(50, seed=1)
    x[:, 1] = x[:, 1].exp()
    scale = scales(x, 1.0 if plain else NARROW)
    memory, own = Memory.fit(x, torch.arange(4), 0, plain)
    near = NearestNeighbors(n_neighbors=5).fit(x / scale)
    alone = near.kneighbors()[0].mean(1)  # without itself
    floor = FLOOR * alone.mean()
    log_own = np.log(alone + floor)
    for told, expected in ((own, near.kneighbors()), (memory.score(new), near.kneighbors(new / scale))):
        distance, index = expected
        score = np.log(distance.mean(1) + floor) - (0 if plain else LOCAL) * log_own[index].mean(1)
        np.testing.assert_allclose(told, score, atol=2e-3)


def test_scales_by_hand() -> None:
    spread = torch.arange(101.0)  # quartiles 25 and 75, deviation 29.155
    far = spread.clone()
    far[-1] = 1_000.0  # deviation 100.3: the quartiles stay, but 0.3 of the deviation at least
    often = torch.where(spread < 20, 0.0, spread)
    x = torch.stack([spread, far, often, torch.ones(101)], 1)
    expected = [29.155, 50 / 1.349, float(often.std(correction=0)), 1.0]
    np.testing.assert_allclose(scales(x, 0.3), expected, rtol=1e-4)
    np.testing.assert_allclose(scales(x, 1.0)[1], far.std(correction=0))


def test_log_odds_by_hand() -> None:
    found = log_odds(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    np.testing.assert_allclose(found, [np.log(999), np.log(3), 0, -np.log(999)], rtol=1e-4, atol=1e-6)


def test_the_table_of_nodes_finds_the_leaves_that_scikit_learn_finds() -> None:
    x, new = rows(300), rows(100, seed=1)
    forest = ExtraTreesClassifier(n_estimators=5, random_state=0).fit(x.numpy(), (x[:, 0] > 0).numpy())
    trees = [tree.tree_ for tree in forest.estimators_]
    numbers = node_table(trees, [np.arange(tree.node_count) for tree in trees])
    found = numbers["value"][leaves(numbers, new)]
    np.testing.assert_array_equal(found, forest.apply(new.numpy()))
    nodes = node_table(trees, [tree.value[:, 0, 1] for tree in trees])
    shares = nodes["value"][leaves(nodes, new)].mean(1)
    np.testing.assert_allclose(shares, forest.predict_proba(new.numpy())[:, 1], atol=1e-6)


def test_own_scores_of_trees_are_like_those_of_new_rows() -> None:
    trees, own = Trees.fit(rows(600), torch.arange(4), 0)
    new = trees.score(rows(600, seed=1))
    seen = trees.score(rows(600))
    assert abs(own.median() - new.median()) < 0.15
    assert seen.median() < new.median() - 0.3


def test_the_forest_scores_as_scikit_learn_does_and_its_own_rows_by_trees_that_did_not_see_them() -> None:
    x, new = rows(200), 2 * rows(100, seed=1)
    fitted = IsolationForest(n_estimators=100, max_samples=150, random_state=3).fit(x.numpy())
    forest, own = Forest.fit(x, torch.arange(4), 3)
    np.testing.assert_allclose(forest.score(new), -fitted.score_samples(new.numpy()), atol=1e-6)
    for row in range(20):
        unseen = [t for t, drawn in enumerate(fitted.estimators_samples_) if row not in drawn]
        depth = forest.nodes["value"][leaves(forest.nodes, x[row : row + 1])[0, unseen]].mean()
        assert 2 ** -(depth / forest.usual) == pytest.approx(own[row].item())


def test_the_residual_of_principal_components_by_hand() -> None:
    x = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 0.1], [0.0, -0.1]]).double()
    pca = PCA.fit(x, 0)
    np.testing.assert_allclose(pca.score(torch.tensor([[9.0, 0.0], [1.0, 3.0]])), [0.0, 9.0], atol=1e-5)


def test_the_residual_of_one_column_is_its_distance_from_the_mean() -> None:
    model = PCA.fit(torch.tensor([[1.0], [2.0], [6.0]]), 0)
    assert model.score(torch.tensor([[3.0], [5.0]])).tolist() == [0.0, 4.0]
    again = PCA.of_arrays(model.arrays())
    assert again.score(torch.tensor([[5.0]])).tolist() == [4.0]


@pytest.mark.parametrize("model", [Forest, Trees, PCA])
def test_any_seed_is_taken(model: type[Forest | Trees | PCA]) -> None:
    x, owner = rows(30, 2), torch.arange(2)
    fitted = PCA.fit(x, 2**40) if model is PCA else model.fit(x, owner, 2**40)[0]
    assert fitted.score(x).isfinite().all()


def test_surprise_by_hand() -> None:
    surprise = Surprise.fit(np.arange(101.0))  # the 90th percentile is 90, the mean excess 5.5
    found = surprise(np.array([-5.0, 50.0, 90.0, 101.0]))
    np.testing.assert_allclose(found, [0, -np.log(0.5), -np.log(0.1), 2 - np.log(0.1)], atol=1e-9)
    again = Surprise.of_array(surprise.array())
    np.testing.assert_array_equal(again(np.arange(200.0)), surprise(np.arange(200.0)))


def test_equal_scores_give_a_finite_surprise_and_do_not_count_as_higher() -> None:
    surprise = Surprise.fit(np.zeros(50))
    assert np.isfinite(surprise(np.array([-1.0, 0.0, 1.0]))).all()
    assert surprise(np.array([0.0])) == pytest.approx(-np.log(0.1))  # the tail begins there
    half = Surprise.fit(np.repeat([1.0, 2.0], 500))
    np.testing.assert_allclose(
        half(np.array([1.0, 1.5, 2.0])), [-np.log(0.5), -np.log(0.5), -np.log(0.1)], atol=2e-3
    )


def test_joined_surprises_by_hand() -> None:
    found = joined(np.array([[0.0, 2.0], [4.0, 2.0]]), np.array([1.0, 3.0]))
    np.testing.assert_allclose(found, [2 * np.log((1 + 3 * np.e**2) / 4), 2.0])
    assert joined(np.array([[1e5], [0.0]]), np.ones(2))[0] == pytest.approx(1e5 - 2 * np.log(2))


def test_a_precision_matrix_tells_what_regressions_leave() -> None:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 2] = x[:, 0] - x[:, 1] + 0.1 * x[:, 2]
    x = x - x.mean(0)
    model, _ = Linear.fit(x, torch.arange(3), seed=0)
    left = x @ model.matrix[0].double() - model.offset[0]
    for c in range(3):
        others = x[:, [i for i in range(3) if i != c]]
        gram = others.T @ others / len(x) + RIDGE * torch.eye(2)
        wanted = x[:, c] - others @ torch.linalg.solve(gram, others.T @ x[:, c] / len(x))
        scale = left[:, c].norm() / wanted.norm()  # over their deviation
        torch.testing.assert_close(left[:, c], wanted * scale, rtol=1e-4, atol=1e-4)


def test_one_cell_that_breaks_a_linear_relation_is_found() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(600, 3, generator=generator) @ torch.randn(3, 12, generator=generator)
    x = x + 0.1 * torch.randn(600, 12, generator=generator)
    model, own = Linear.fit(x[:500], torch.arange(12), seed=0)
    strange = x[500:].clone()
    strange[:, 4] = x[500:, 4].roll(1)  # each value is an ordinary one
    limit = own.quantile(0.99)
    assert (model.score(x[500:]) > limit).double().mean() < 0.05
    assert (model.score(strange) > limit).double().mean() > 0.6


def test_wide_rows_are_told_in_groups() -> None:
    x = torch.randn(50, 600, generator=torch.Generator().manual_seed(2))
    model, own = Linear.fit(x, torch.arange(600), seed=0)
    assert model.groups.shape == (3, 256)
    assert set(model.groups.flatten().tolist()) == set(range(600))
    assert own.isfinite().all()


def test_scores_that_are_all_equal_have_a_tail_of_the_least_scale() -> None:
    found = Surprise.fit(np.zeros(100), least=0.5)
    assert found(np.array([3.0]))[0] == pytest.approx(-np.log(0.1) + 3 / 0.5)
