import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aae_toolkit.visualization.names import class_labels, shorten


def test_short_names_stay_as_they_are() -> None:
    assert class_labels(("cat", "dog")).texts == ("cat", "dog")


def test_long_names_keep_their_beginning_and_end() -> None:
    assert shorten("mountain bicycle, left") == "mountain …left"
    assert shorten("非常に長いクラスの名前") == "非常に長…名前"  # each takes two columns


def test_names_that_shorten_to_the_same_are_numbered() -> None:
    names = ("mountain bicycle, left", "mountain motorbike, left", "cat")
    assert class_labels(names).texts == ("0: mounta…eft", "1: mounta…eft", "cat")


def test_line_breaks_and_empty_names_are_no_trouble() -> None:
    assert class_labels(("two\nlines", "  ", "tab\there")).texts == ("two lines", "#1", "tab here")


@settings(deadline=None)  # the first name looks fonts up
@given(st.lists(st.text(max_size=40), min_size=1, max_size=12, unique=True))
def test_any_names_have_short_labels_that_differ(names: list[str]) -> None:
    labels = class_labels(names)
    assert len(set(labels.texts)) == len(names)
    seen = [text.replace("\u200e", "") for text in labels.texts]  # a mark of direction has no width
    assert all(0 < len(text) <= 16 and text.isprintable() for text in seen)


def test_names_of_right_to_left_letters_stay_in_their_place_in_a_sentence() -> None:
    hebrew = "\u05d7\u05ea\u05d5\u05dc"
    labels = class_labels((hebrew, "cat"))
    if labels.unreadable:
        pytest.skip("no installed font has Hebrew letters")
    assert labels.texts == (f"\u200e{hebrew}\u200e", "cat")
    assert shorten(labels.texts[0], 4) == labels.texts[0]  # the marks have no width
    short = shorten(f"\u200e{hebrew * 4}\u200e", 10)
    assert (short[0], short[-1], len(short)) == ("\u200e", "\u200e", 12)
