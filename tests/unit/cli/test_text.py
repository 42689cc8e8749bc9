from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmeter.cli.lines import MAX_LINE_CHARS, LastLines, LineCutter
from taskmeter.cli.text import decode, escape, shorten


@given(st.text(st.characters()))
def test_escaped_text_has_nothing_that_a_terminal_obeys(text):
    shown = escape(text)
    assert not any(ord(char) < 32 and char != "\t" for char in shown)
    assert not any(0x7F <= ord(char) <= 0x9F for char in shown)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029\ufeff\u200b"
    )
    shown.encode()


@pytest.mark.parametrize("text", ["plain", "tab\tbed", "日本語 ünï ✓ 🎉", "e\u0301"])
def test_ordinary_text_of_any_script_is_left_alone(text):
    assert escape(text) == text


def test_codes_say_what_was_there():
    assert escape("\x1b[2J\r\n\u202e\x9b") == r"\x1b[2J\r\n\u202e\x9b"


@given(st.binary())
def test_any_bytes_can_be_decoded_and_shown(data):
    escape(decode(data)).encode()


def test_long_text_is_cut_with_an_ellipsis():
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abc", 4) == "abc"


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["C", "Zl", "Zp", "Cf"]))), st.integers(1, 7))
def test_lines_come_whole_however_their_bytes_arrive(lines, piece):
    data = "".join(line + "\n" for line in lines).encode()
    cutter = LineCutter()
    found = [line for start in range(0, len(data), piece) for line in cutter.feed(data[start : start + piece])]
    assert found == [escape(line) for line in lines]
    assert cutter.finish() == []


def test_a_carriage_return_starts_the_line_anew():
    cutter = LineCutter()
    assert cutter.feed(b"10%\r20%") == []
    assert cutter.partial == "20%"
    assert cutter.feed(b"\r") == []
    assert cutter.partial == "20%"
    assert cutter.feed(b"done\r\n") == ["done"]
    assert cutter.partial == ""


def test_a_character_that_is_cut_in_two_is_shown_when_it_is_whole():
    cutter = LineCutter()
    assert cutter.feed("é".encode()[:1]) == []
    assert cutter.partial == ""
    assert cutter.feed("é".encode()[1:] + b"\n") == ["é"]


def test_a_line_without_an_end_does_not_grow_for_ever():
    cutter = LineCutter()
    found = cutter.feed(b"x" * (3 * MAX_LINE_CHARS + 5))
    assert [len(line) for line in found] == [MAX_LINE_CHARS] * 3
    assert cutter.partial == "xxxxx"


def test_what_is_left_without_an_end_comes_at_the_end():
    lines = LastLines(2)
    assert lines.feed("stdout", b"a\nb") == [("stdout", "a")]
    assert lines.feed("stderr", b"c") == []
    assert lines.partial == [("stdout", "b"), ("stderr", "c")]
    assert lines.finish() == [("stdout", "b"), ("stderr", "c")]
    assert list(lines.lines) == [("stdout", "b"), ("stderr", "c")]
