import pytest
import torch
import torch.nn.functional as F

from mien.training.batches import with_votes
from mien.training.task import classification_loss, distillation_loss, votes_loss


@pytest.fixture
def rows():
    torch.manual_seed(0)
    logits, classes = torch.randn(40, 5) * 2, torch.randint(0, 5, (40,))
    return logits, classes, F.one_hot(classes, 5).float()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_it_is_pytorchs_cross_entropy(rows, smoothing):
    logits, classes, targets = rows
    expected = F.cross_entropy(logits, classes, label_smoothing=smoothing)
    assert classification_loss(logits, targets, smoothing).item() == pytest.approx(expected.item(), rel=1e-5)


def test_with_weights_hard_labels_give_pytorchs_hard_label_loss(rows):
    logits, classes, targets = rows
    weights = torch.tensor([0.2, 1.0, 3.0, 0.5, 8.0])
    expected = F.cross_entropy(logits, classes, weight=weights)
    assert classification_loss(logits, targets, weights=weights).item() == pytest.approx(expected.item(), rel=1e-5)


def test_votes_give_pytorchs_loss_on_distributions(rows):
    logits = rows[0]
    votes = torch.rand(40, 5)
    votes /= votes.sum(1, keepdim=True)
    assert classification_loss(logits, votes).item() == pytest.approx(F.cross_entropy(logits, votes).item(), rel=1e-5)


def test_focal_loss_counts_what_is_likely_less_by_its_formula():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.4, 0.6]]))
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    expected = -(0.1**2 * torch.log(torch.tensor(0.9)) + 0.6**2 * torch.log(torch.tensor(0.4))) / 2
    assert classification_loss(logits, targets, focal_gamma=2).item() == pytest.approx(expected.item(), rel=1e-5)


def test_gradients_stay_finite_where_an_answer_is_certain():
    logits = torch.tensor([[80.0, -80.0]], requires_grad=True)
    classification_loss(logits, torch.tensor([[1.0, 0.0]]), focal_gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()


def test_votes_are_mixed_into_the_targets_of_the_rows_that_have_some():
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    votes = torch.tensor([[0.5, 0.3, 0.2], [0, 0, 0]])
    assert with_votes(targets, votes, 0) is targets
    torch.testing.assert_close(with_votes(targets, votes, 0.4), torch.tensor([[0.8, 0.12, 0.08], [0, 1, 0]]))


def test_rows_without_votes_do_not_count_in_the_loss_on_votes(rows):
    logits, votes = rows[0], torch.softmax(torch.randn(40, 5), 1)
    votes[10:] = 0
    expected = F.cross_entropy(logits[:10], votes[:10])
    assert votes_loss(logits, votes).item() == pytest.approx(expected.item(), rel=1e-5)
    assert votes_loss(logits, torch.zeros(40, 5)).item() == 0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_that_answers_as_its_teacher_has_no_gradient(rows, temperature):
    logits = rows[0].clone().requires_grad_()
    taught = torch.softmax(rows[0] / temperature, 1)
    distillation_loss(logits, taught, temperature).backward()
    assert logits.grad.abs().max() < 1e-6
    other = torch.randn(40, 5, requires_grad=True)
    distillation_loss(other, taught, temperature).backward()
    assert other.grad.abs().max() > 1e-3
