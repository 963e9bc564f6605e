import numpy as np
import pytest

from mien.inference.detection import overlaps
from mien.inference.pipeline import TRACKING, Tracker


def box(x, y=0.0, side=100.0):
    return (x, y, x + side, y + side)


def numbers(tracker, boxes, time):
    return [track.number for track in tracker.update(boxes, time)]


def follow(frames, step=0.1):
    """The numbers of a tracker that is given these lists of boxes."""
    tracker = Tracker()
    return [numbers(tracker, boxes, number * step) for number, boxes in enumerate(frames)]


def test_overlap_is_the_common_area_over_that_of_both():
    found = overlaps(np.array([box(0), (5.0, 5, 5, 5)]), np.array([box(0), box(50), box(100), (5.0, 5, 5, 5)]))
    np.testing.assert_allclose(found, [[1, 1 / 3, 0, 0], [0, 0, 0, 0]])
    assert overlaps(np.empty((0, 4)), np.array([box(0)])).shape == (0, 1)


def test_faces_keep_their_numbers_in_whatever_order_they_are_found():
    assert follow([[box(0), box(300)], [box(304), box(3)], [box(6), box(308)]]) == [[0, 1], [1, 0], [0, 1]]


def test_a_new_face_gets_a_new_number():
    assert follow([[], [box(0)], [box(300), box(0)], [box(300)], [box(300), box(600)]]) == [[], [0], [1, 0], [1], [1, 2]]


@pytest.mark.parametrize("step", [2, 9, 20])
def test_two_faces_that_cross_keep_their_numbers(step):
    """They go through each other at the same height, and both are found all the time."""
    steps = range(600 // step)
    found = follow([[box(step * n), box(600 - step * n)] for n in steps], step=0.04)
    assert found == [[0, 1]] * len(steps)


def test_two_faces_that_cross_keep_their_numbers_where_one_hides_the_other():
    frames = [[box(10 * n)] if abs(300 - 20 * n) < 60 else [box(10 * n), box(300 - 10 * n)] for n in range(31)]
    found = follow(frames, step=0.04)
    assert {len(each) for each in found} == {1, 2}
    assert all(each == [0, 1][: len(each)] for each in found)


def test_a_face_that_is_lost_and_found_again_keeps_its_number():
    lost = round(TRACKING.lifetime / 0.1) - 1
    assert follow([[box(0), box(300)], *[[box(0)]] * lost, [box(310), box(0)]])[-1] == [1, 0]


def test_a_face_that_was_going_and_stopped_unseen_is_found_where_it_was_last():
    going = [[box(30 * n)] for n in range(10)]
    assert follow([*going, *[[]] * 15, [box(280)]])[-1] == [0]


def test_a_face_that_was_lost_for_too_long_is_another():
    lost = round(TRACKING.lifetime / 0.1) + 1
    tracker = Tracker()
    for number, boxes in enumerate([[box(0), box(300)], *[[box(0)]] * lost]):
        tracker.update(boxes, number / 10)
    assert [track.number for track in tracker.tracks] == [0]
    assert numbers(tracker, [box(300), box(0)], (lost + 1) / 10) == [2, 0]


def test_frames_far_apart_are_followed_one_to_the_next_but_not_over_one():
    seconds = TRACKING.lifetime * 5
    assert follow([[box(0)], [box(9)], [box(5)]], step=seconds) == [[0], [0], [0]]
    assert follow([[box(0)], [], [box(5)]], step=seconds) == [[0], [], [1]]


def test_boxes_that_hardly_overlap_are_different_faces():
    assert follow([[box(0)], [box(60)]]) == [[0], [1]]  # 40 of 160
    assert follow([[box(0)], [box(50)]]) == [[0], [0]]  # 50 of 150
