"""States of an alignment over time: averages, contradictions, time-outs, jumps, freezing."""

from dataclasses import replace
import math
import threading

from depth_anything_ros.alignment.fit import Fit
from depth_anything_ros.alignment.tracker import AlignmentTracker
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.parameters import AlignmentSettings
import pytest

FIT = Fit(0.30, 0.10, 200, 0.1, 0.02, (0.2, 1.0))
NEAR = replace(FIT, scale=0.31)
FAR_OFF = replace(FIT, scale=0.60, shift=0.15)


def tracker(**settings: object) -> AlignmentTracker:
    """Return a tracker that averages over 2 s and gives up after 5 s."""
    return AlignmentTracker(AlignmentSettings(source='depth', **settings))


def fitted(**settings: object) -> AlignmentTracker:
    """Return one with FIT at 10 s."""
    made = tracker(**settings)
    made.add(FIT, 10.0)
    return made


def test_nothing_is_usable_before_the_first_fit() -> None:
    now = tracker().at(3.0)
    assert now.state == 'waiting' and not now.usable and now.support == 0
    assert all(map(math.isnan, (now.scale, now.shift, now.outliers, now.residual, now.age_s)))
    assert 'no fit' in now.reason


def test_the_reason_of_a_rejected_fit_is_reported_while_waiting() -> None:
    waiting = tracker()
    waiting.reject('no reference within 0.1 s', 1.0)
    assert waiting.at(1.0).reason == 'no reference within 0.1 s'
    waiting.add(replace(FIT, support=3), 2.0)
    assert '3 reference points agree' in waiting.at(2.0).reason
    assert waiting.at(2.0).state == 'waiting'


def test_the_first_fit_applies_at_once() -> None:
    now = fitted(time_constant=3600.0).at(10.5)
    assert (now.state, now.scale, now.shift) == ('fitted', 0.30, 0.10)
    assert (now.support, now.outliers, now.residual, now.reason) == (200, 0.1, 0.02, '')
    assert now.age_s == pytest.approx(0.5) and now.usable


def test_a_step_is_followed_with_the_time_constant() -> None:
    made = tracker(time_constant=2.0)
    for number in range(200):
        made.add(FIT, number / 10)
    for number in range(20):
        made.add(NEAR, 20 + number / 10)
    assert made.at(22.0).scale == pytest.approx(0.31 - 0.01 * math.exp(-1), abs=2e-4)


def test_averaging_does_not_depend_on_the_rate_of_the_fits() -> None:
    found = []
    for rate in (5, 50):
        made = tracker(time_constant=2.0)
        for number in range(20 * rate):
            made.add(FIT, (number + 1) / rate)
        for number in range(2 * rate):
            made.add(NEAR, 20 + (number + 1) / rate)
        found.append(made.at(22.0).scale)
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_the_first_fits_count_alike_however_long_the_time_constant() -> None:
    made = tracker(time_constant=3600.0)
    for number, scale in enumerate((0.30, 0.31, 0.29, 0.32)):
        made.add(replace(FIT, scale=scale), number / 10)
    assert made.at(0.3).scale == pytest.approx(0.305, rel=1e-3)


def test_without_a_time_constant_each_fit_is_used_alone() -> None:
    made = fitted(time_constant=0.0)
    made.add(FAR_OFF, 10.1)
    assert (made.at(10.1).scale, made.at(10.1).shift) == (0.60, 0.15)


@pytest.mark.parametrize(('source', 'scale'), [('motion', 0.60), ('motion+ground', 0.60),
                                               ('depth', 0.30), ('ground', 0.30)])
def test_by_default_only_metres_from_motion_follow_each_image(source: str, scale: float) -> None:
    """Averaged over 2 s they exceed the error of a dense fit four times as much."""
    made = AlignmentTracker(AlignmentSettings(source=source))
    made.add(FIT, 10.0)
    made.add(FAR_OFF, 10.1)
    assert made.at(10.1).scale == scale


def test_a_single_odd_fit_changes_nothing_but_the_reason() -> None:
    made = fitted()
    made.add(FAR_OFF, 10.1)
    assert made.at(10.1).scale == 0.30 and 'contradicts' in made.at(10.1).reason
    made.add(FIT, 10.2)
    made.add(FAR_OFF, 10.3)
    made.add(FAR_OFF, 10.4)
    assert made.at(10.4).scale == 0.30
    made.add(FIT, 10.5)
    assert made.at(10.5).scale == 0.30 and made.at(10.5).reason == ''


def test_several_fits_that_agree_replace_an_alignment_they_contradict() -> None:
    made = fitted()
    for number in range(3):
        made.add(FAR_OFF, 10.1 + number / 10)
    assert (made.at(10.3).scale, made.at(10.3).shift) == (0.60, 0.15)
    assert made.at(10.3).reason == ''


def test_fits_that_contradict_each_other_too_replace_nothing() -> None:
    made = fitted(timeout=0.5)
    for number in range(8):
        made.add(replace(FIT, scale=0.6 if number % 2 else 1.2), 10.1 + number / 10)
    assert made.at(10.8).scale == 0.30
    assert made.at(10.8).state == 'stale' and 'contradicts' in made.at(10.8).reason


def test_what_counts_is_the_depth_within_the_range_of_the_fit() -> None:
    made = fitted()
    same_depths = replace(FIT, scale=0.24, shift=0.16, inverse_z=(0.35, 0.45))
    made.add(same_depths, 10.1)
    assert made.at(10.1).scale < 0.30 and made.at(10.1).reason == ''
    made.add(replace(same_depths, inverse_z=(0.05, 3.0)), 10.2)
    assert 'contradicts' in made.at(10.2).reason


def test_depths_beyond_infinity_contradict() -> None:
    made = fitted()
    made.add(replace(FIT, shift=0.9), 10.1)
    assert 'contradicts' in made.at(10.1).reason


def test_a_rough_fit_may_differ_by_more() -> None:
    other = replace(FIT, scale=0.36, shift=0.12)
    for residual, contradicts in ((0.02, True), (0.1, False)):
        made = fitted()
        made.add(replace(other, residual=residual), 10.1)
        assert ('contradicts' in made.at(10.1).reason) is contradicts


def test_a_refused_fit_leaves_the_last_good_one_and_says_why() -> None:
    made = fitted()
    made.add(replace(FAR_OFF, outliers=0.7), 10.1)
    now = made.at(10.1)
    assert (now.state, now.scale) == ('fitted', 0.30)
    assert '70 %' in now.reason


def test_a_silent_reference_makes_the_alignment_stale() -> None:
    made = fitted(timeout=5.0)
    assert made.at(15.0).state == 'fitted'
    now = made.at(15.5)
    assert now.state == 'stale' and not now.usable
    assert 'no good fit for 5.5 s' in now.reason
    made.reject('no reference within 0.1 s', 15.6)
    assert made.at(16.0).reason == 'no good fit for 6.0 s: no reference within 0.1 s'
    made.add(FIT, 16.1)
    assert made.at(16.1).usable


def test_without_a_timeout_an_alignment_holds_for_ever() -> None:
    assert fitted(timeout=0.0).at(1e9).state == 'fitted'


def test_a_frozen_alignment_ignores_fits_and_silence_until_it_is_let_go() -> None:
    made = fitted()
    frozen = made.freeze(True)
    assert (frozen.state, frozen.scale) == ('frozen', 0.30)
    for number in range(50):
        made.add(FAR_OFF, 10.1 + number / 10)
    now = made.at(1000.0)
    assert (now.state, now.scale, now.reason) == ('frozen', 0.30, '') and now.usable
    assert made.freeze(False).state == 'stale'
    made.add(FIT, 1000.1)
    assert made.at(1000.1).state == 'fitted'


@pytest.mark.parametrize('made', [tracker(), fitted()], ids=['waiting', 'stale'])
def test_what_is_not_fitted_cannot_be_frozen(made: AlignmentTracker) -> None:
    made.at(20.0)
    with pytest.raises(AlignmentError, match='no alignment to freeze: no '):
        made.freeze(True)
    assert made.freeze(False).state in ('waiting', 'stale')


def test_a_reset_forgets_all_but_what_is_frozen() -> None:
    made = fitted()
    made.freeze(True)
    made.reset()
    assert (made.at(50.0).state, made.at(50.0).scale) == ('frozen', 0.30)
    made.freeze(False)
    made.reset()
    assert made.at(50.0).state == 'waiting'
    made.add(FAR_OFF, 51.0)
    assert made.at(51.0).scale == 0.60


def test_time_that_jumps_back_keeps_alignment_and_age() -> None:
    made = fitted(timeout=5.0)
    assert made.at(12.0).age_s == pytest.approx(2.0)
    assert made.at(1.0).age_s == pytest.approx(2.0)
    assert made.at(1.0).scale == 0.30
    assert made.at(4.5).state == 'stale'
    made.add(NEAR, 4.6)
    assert made.at(4.6).usable and made.at(4.6).age_s == 0.0


def test_fits_go_on_after_time_jumped_back() -> None:
    made = fitted(time_constant=2.0)
    made.add(NEAR, 0.0)
    assert made.at(0.0).scale == pytest.approx(0.305)
    for number in range(200):
        made.add(NEAR, number / 10)
    assert made.at(20.0).scale == pytest.approx(0.31, rel=1e-3)


def test_a_fit_that_comes_a_little_late_is_passed_over() -> None:
    made = fitted()
    made.add(NEAR, 9.5)
    assert made.at(10.0).scale == 0.30 and made.at(9.8).age_s == 0.0


def test_a_fit_made_before_the_last_look_still_counts() -> None:
    made = fitted(time_constant=0.0)
    made.at(10.6)
    made.add(NEAR, 10.4)
    assert made.at(10.6).scale == 0.31


def test_new_settings_hold_from_the_next_call_and_keep_what_is_fitted() -> None:
    made = fitted(timeout=5.0)
    made.reconfigure(AlignmentSettings(timeout=0.5, min_support=300))
    assert made.at(10.4).scale == 0.30
    assert made.at(11.0).state == 'stale'
    made.add(FIT, 11.1)
    assert 'at least 300 are needed' in made.at(11.1).reason


def test_threads_never_see_scale_and_shift_of_different_fits() -> None:
    made = fitted(time_constant=0.0)
    torn, done = [], threading.Event()

    def look() -> None:
        while not done.is_set():
            now = made.at(10.0)
            if now.shift != pytest.approx(now.scale / 3):
                torn.append(now)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 1500):
        scale = 0.3 + number / 1e4
        made.add(replace(FIT, scale=scale, shift=scale / 3), 10.0 + number / 1e4)
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_time_in_which_the_last_fit_holds_does_not_count_for_the_time_out() -> None:
    """A robot that stands still keeps its metres, and loses them later as if it had not stood."""
    made = fitted(timeout=2.0)
    made.reject('too few points', 11.0)
    for number in range(100):
        made.at(11.0 + number)
        made.hold('the camera stands still', 11.0 + number)
        now = made.at(11.0 + number)
        assert (now.state, now.reason) == ('fitted', 'the camera stands still')
    assert now.age_s == pytest.approx(100.0), 'the age is the true one'
    made.reject('too few points', 110.9)
    assert made.at(110.9).state == 'fitted'
    made.reject('too few points', 111.5)
    assert made.at(111.5).state == 'stale'
    made.hold('the camera stands still', 112.0)
    assert made.at(112.0).state == 'stale', 'what was lost does not return by standing'
    made.add(NEAR, 112.1)
    made.reject('too few points', 114.2)
    assert made.at(114.2).state == 'stale', 'a fit starts the time anew'


def test_nothing_is_held_before_the_first_fit() -> None:
    made = tracker(timeout=1.0)
    made.hold('the camera stands still', 10.0)
    assert (made.at(10.0).state, made.at(10.0).reason) == ('waiting', 'the camera stands still')
    made.add(FIT, 20.0)
    assert made.at(21.5).state == 'stale'
