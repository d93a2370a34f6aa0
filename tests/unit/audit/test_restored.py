from nightbell.audit.restored import Course, _other_roots
from nightbell.audit.tree import leaf_hash, root_of

SAME = [leaf_hash(b"same %d" % n) for n in range(3)]
OURS = [leaf_hash(b"ours %d" % n) for n in range(6)]
THEIRS = [leaf_hash(b"theirs %d" % n) for n in range(4)]


def test_two_courses_that_part_where_an_epoch_begins_are_told_apart():
    back, live = Course(1, SAME + OURS, set()), Course(2, SAME + THEIRS, {3})
    assert _other_roots(back, live, {2, 3, 5, 7, 8}) == {
        5: root_of(SAME + THEIRS[:2]),
        7: root_of(SAME + THEIRS),
    }
    assert set(_other_roots(live, back, {5})) == {5}


def test_two_courses_that_part_anywhere_else_stay_a_contradiction():
    for begins in (set(), {2}, {4}):
        assert _other_roots(Course(1, SAME + OURS, set()), Course(2, SAME + THEIRS, begins), {5}) == {}
    assert _other_roots(Course(1, SAME, set()), Course(1, SAME + THEIRS, {3}), {5}) == {}
    assert _other_roots(Course(1, SAME, set()), None, {2}) == {}
