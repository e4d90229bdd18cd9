import pytest
import torch
from scipy.stats import chisquare

from agents.parts.priorities import LEAST, Priorities
from training.errors import InputError


def priorities(*surprise: float, capacity: int = 8, omega: float = 1.0) -> Priorities:
    found = Priorities(capacity, omega, seed=0)
    found.update(torch.arange(len(surprise)), torch.tensor(surprise))
    return found


@pytest.mark.parametrize(("count", "omega"), [(1, 1.0), (8, 0.5), (13, 1.0), (64, 0.7)])
def test_places_are_drawn_as_often_as_their_priorities_say(count: int, omega: float) -> None:
    surprise = torch.rand(count, generator=torch.Generator().manual_seed(count)) + 0.01
    found = priorities(*surprise.tolist(), capacity=100, omega=omega)
    seen = torch.bincount(found.draw(100_000), minlength=count)
    expected = (surprise.double() + LEAST) ** omega
    assert chisquare(seen, 100_000 * expected / expected.sum()).pvalue > 0.001 or count == 1
    assert len(seen) == count  # no place beyond


def test_a_changed_priority_changes_how_often() -> None:
    found = priorities(1.0, 1.0, 1.0)
    found.update(torch.tensor([0, 2]), torch.tensor([0.0, 3.0]))
    seen = torch.bincount(found.draw(80_000), minlength=3)
    assert seen[0] < 5
    assert chisquare(seen[1:], [20_000, 60_000]).pvalue > 0.001


def test_weights_by_hand() -> None:
    found = priorities(1.0, 3.0)  # P = 1/4, 3/4
    weight = found.weights(torch.tensor([0, 1]), count=2, beta=0.5)
    # (2 · 1/4)^−½ = √2;  (2 · 3/4)^−½ = √(2/3);  over the largest
    torch.testing.assert_close(weight, torch.tensor([1.0, (1 / 3) ** 0.5]))
    assert found.weights(torch.tensor([1]), count=2, beta=0.5).tolist() == [1.0]


def test_whole_weights_undo_the_drawing() -> None:
    value = torch.tensor([1.0, -2.0, 5.0, 3.0])
    found = priorities(1.0, 2.0, 3.0, 4.0)
    drawn = found.draw(100_000)
    weight = found.weights(drawn, count=4, beta=1.0)
    mean = (weight * value[drawn]).mean() / weight.mean()
    assert mean.item() == pytest.approx(value.mean().item(), abs=0.03)


def test_the_root_is_the_sum_of_all_places_after_many_changes() -> None:
    generator = torch.Generator().manual_seed(0)
    found = Priorities(1_000, 0.6, seed=0)
    leaves = torch.zeros(1_000, dtype=torch.float64)
    for _ in range(50):
        index = torch.randperm(1_000, generator=generator)[:64]
        surprise = torch.rand(64, generator=generator)
        found.update(index, surprise)
        leaves[index] = (surprise.double() + LEAST) ** 0.6
    assert found.tree[1].item() == pytest.approx(leaves.sum().item(), rel=1e-12)


def test_a_new_experience_has_the_highest_priority_that_was_ever_seen() -> None:
    found = priorities(5.0, 1.0)
    found.update(torch.tensor([0]), torch.tensor([2.0]))
    found.add(torch.tensor([2]))
    seen = torch.bincount(found.draw(80_000))
    assert chisquare(seen, [20_000, 10_000, 50_000]).pvalue > 0.001


def test_of_a_place_that_is_named_twice_the_highest_counts() -> None:
    found = Priorities(4, 1.0, seed=0)
    found.update(torch.tensor([1, 1, 0]), torch.tensor([3.0, 1.0, 2.0]))
    assert found.tree[1].item() == pytest.approx(5.0)


def test_saved_priorities_draw_the_same() -> None:
    first, second = priorities(1.0, 2.0, 3.0), Priorities(8, 1.0, seed=5)
    first.draw(3)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.draw(100), second.draw(100))


def test_a_tree_beyond_memory_is_refused() -> None:
    with pytest.raises(InputError, match="replay is 10000000000000, expected what memory holds"):
        Priorities(10**13, 0.5, seed=0)
