"""A layered mapping is a dictionary of which every former state stays as it was."""

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.layers import Layered

_KEYS = st.integers(0, 300)
_CHANGES = st.lists(st.tuples(st.dictionaries(_KEYS, st.integers(), max_size=40), st.lists(_KEYS, max_size=40)))


@given(st.dictionaries(_KEYS, st.integers(), max_size=200), _CHANGES)
def test_changes_make_what_they_make_of_a_dictionary_and_leave_what_was(
    first: dict[int, int], changes: list[tuple[dict[int, int], list[int]]]
) -> None:
    states: list[tuple[Layered[int, int], dict[int, int]]] = [(Layered(dict(first)), dict(first))]
    for put, removed in changes:
        layered, plain = states[-1]
        others = {key: value for key, value in plain.items() if key not in removed}
        states.append((layered.changed(put, removed), {**others, **put}))
    for layered, plain in states:
        assert dict(layered) == plain
        assert len(layered) == len(plain)
        assert sorted(layered.items()) == sorted(plain.items())
        for key in range(-1, 301):
            assert layered.get(key) == plain.get(key)
            assert layered.get(key, "none") == plain.get(key, "none")
            assert (key in layered) == (key in plain)
            if key in plain:
                assert layered[key] == plain[key]


def test_what_did_not_change_is_shared() -> None:
    entries = {number: str(number) for number in range(100_000)}
    layered = Layered(entries)
    for number in range(100):
        layered = layered.changed({number: "changed"}, [99_999 - number])
    assert layered._base is entries
    assert len(layered) == 99_900
