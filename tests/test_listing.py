"""Lists of a catalogue: every physical row is worked on, refused by its number, or empty."""

import codecs
import csv
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfolder.catalogue.list_file import MAX_CONTINUED, csv_entries, read_list_text
from hotfolder.catalogue.listing import MOST_NAMED, read_catalogue
from hotfolder_fixtures import make_mix
from presets import StemwrightError

HEADING = "path,title,artist\r\n"


@pytest.fixture
def mixes(tmp_path):
    folder = tmp_path / "mixes"
    for seed, name in enumerate(("a", "b", "c", "d", "Björk - L'été")):
        make_mix(folder / f"{name}.wav", seed)
    return folder


def listed(folder, content, name="list.csv", **how):
    raw = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(raw)
    return read_catalogue(folder / name, **how)


def numbers(catalogue):
    """The rows that are worked on, and those that are refused."""
    return [row.number for row in catalogue.rows], [p.row for p in catalogue.problems]


# -- broken rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        'b.wav,"12" mix",X',
        'b.wav,"never closed,X',
        '"b.wav,T,X',
        'b.wav,T,"',
        'b.wav,T,X,one too many',
        'b.wav,"a" "b",X',
        'b.wav,"""""" ",X',
        "gone.wav,\x00,\x1b",
        f"{'b' * 140_000}.wav,T,X",
    ],
)  # fmt: skip
def test_a_broken_row_costs_itself_only(mixes, broken):
    text = f"{HEADING}a.wav,A,X\r\n{broken}\r\nc.wav,C,X\r\nd.wav,D,X\r\n"
    catalogue = listed(mixes, text)
    assert numbers(catalogue) == ([1, 3, 4], [2])
    assert len(str(catalogue.problems[0])) < 600


def test_two_open_quotes_hide_nothing_between_them(mixes):
    text = HEADING + 'a.wav,"A,X\r\nb.wav,B,X\r\nc.wav,C",X\r\nd.wav,D,X\r\n'
    assert numbers(listed(mixes, text)) == ([2, 3, 4], [1])


def test_a_cell_as_long_as_a_book_is_kept(mixes):
    story = "once " * 30_000
    rows = listed(mixes, f"path,story\na.wav,{story}\nb.wav,x\n").rows
    assert rows[0].extra == {"story": story}
    assert len(rows) == 2


def test_cells_may_have_line_breaks(mixes):
    text = HEADING + 'a.wav,"A\r\nside ""B"", live",X\r\nb.wav,"tab\x0bulated\u2028",X\r\n'
    rows = listed(mixes, text).rows
    assert [row.title for row in rows] == ['A\r\nside "B", live', "tab\x0bulated"]
    assert [row.number for row in rows] == [1, 3]


def test_an_open_quote_reads_no_more_than_a_cell_may_have(mixes):
    text = HEADING + 'a.wav,"A\n' + "words\n" * (MAX_CONTINUED + 3) + 'end",X\nb.wav,B,X\n'
    rows, refused = numbers(listed(mixes, text))
    assert rows == [MAX_CONTINUED + 6]
    assert refused == list(range(1, MAX_CONTINUED + 6))


def test_rows_of_nothing_are_nothing(mixes):
    text = "\r\n;;\r\npath;title\r\na.wav;A;;;\r\n;;;\r\n \r\n;\r\nb.wav;B\r\n"
    assert numbers(listed(mixes, text.removeprefix("\r\n;;\r\n"))) == ([1, 5], [])
    assert numbers(listed(mixes, "\r\n" + text.removeprefix("\r\n;;\r\n"))) == ([1, 5], [])


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_any_line_ends(mixes, ends):
    assert numbers(listed(mixes, ends.join(["path,title", "a.wav,A", "b.wav,B"]))) == ([1, 2], [])


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_what_a_csv_writer_wrote_is_read_back(tmp_path_factory, rows, delimiter):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["path", "title", "note"])
    writer.writerows([f"{n}.wav", *cells] for n, cells in enumerate(rows))
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_text(text.getvalue(), "utf-8", newline="")
    entries = list(csv_entries(read_list_text(path, "utf-8"), path))
    read = [tuple(entry.cells.values()) for entry in entries if not entry.problem]
    # a cell that looks like another row ("x.wav") is refused with its row, and nothing else is
    expected = [(f"{n}.wav", *cells) for n, cells in enumerate(rows)]
    assert set(read) <= set(expected)
    plain = [row for row in expected if not any(end in cell for cell in row for end in "\r\n")]
    assert set(plain) <= set(read)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text('ab",\n\r;\t\x00é', max_size=10), max_size=8))
def test_whatever_stands_before_it_a_good_row_is_found(tmp_path_factory, rubbish):
    path = tmp_path_factory.getbasetemp() / "rubbish.csv"
    text = HEADING + "".join(f"{line}\r\n" for line in rubbish) + "last.wav,L,X\r\n"
    path.write_text(text, "utf-8", newline="")
    entries = list(csv_entries(read_list_text(path), path))
    assert entries[-1].cells["path"] == "last.wav" and not entries[-1].problem


# -- headings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "heading",
    ['path,"title, or ""name""",artist', '"path","title\nin lines",artist',
     "Path , TITLE ,artist", "sep=;\r\npath;title;artist", '"sep=|"\r\npath|title|artist',
     "sep=\\t\r\npath\ttitle\tartist",
     "SEP=\t\r\npath\ttitle\tartist"],
)  # fmt: skip
def test_headings_of_spreadsheets(mixes, heading):
    mark = ";" if ";" in heading else "|" if "|" in heading else "\t" if "\t" in heading else ","
    mark = "\t" if "\\t" in heading else mark
    rows = listed(mixes, f"{heading}\r\n{mark.join(['a.wav', 'A', 'X'])}\r\n").rows
    assert [(row.path.name, row.artist) for row in rows] == [("a.wav", "X")]


@pytest.mark.parametrize(
    ("heading", "code"),
    [('path,"12" mix"', "unreadable"), ('path,"open', "unreadable"), ("path,title,Title", "more"),
     ("file,title", "no column 'path'"), ("", "no column 'path'")],
)  # fmt: skip
def test_a_heading_that_leaves_doubt_ends_everything(mixes, heading, code):
    with pytest.raises(StemwrightError) as caught:
        listed(mixes, f"{heading}\na.wav,A\n")
    assert code in caught.value.code + str(caught.value)


def test_columns_without_a_name_or_with_the_same_are_kept_apart(mixes):
    rows = listed(mixes, "path,,label,label\na.wav,one,two,three\n").rows
    assert rows[0].extra == {"column 2": "one", "label": "two", "label (4)": "three"}


# -- encodings -----------------------------------------------------------------------------------

BJORK = "path,title\r\nBjörk - L'été.wav,Björk – L’été €\r\na.wav,A\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        BJORK.encode(),
        BJORK.encode("utf-8-sig"),
        BJORK.encode("utf-16"),
        codecs.BOM_UTF16_BE + BJORK.encode("utf-16-be"),
        BJORK.encode("utf-16-le"),
        BJORK.encode("utf-16-be"),
        BJORK.encode("utf-32"),
    ],
)
def test_unicode_is_known_by_itself(mixes, raw):
    catalogue = listed(mixes, raw)
    assert catalogue.rows[0].title == "Björk – L’été €"
    assert catalogue.rows[0].path.name == "Björk - L'été.wav"
    assert catalogue.notes == () and len(catalogue.rows) == 2


def test_excels_old_lists_are_read_with_a_note(mixes):
    catalogue = listed(mixes, BJORK.encode("cp1252"))
    assert catalogue.rows[0].title == "Björk – L’été €"
    assert "Windows-1252" in catalogue.notes[0] and "Björk" in catalogue.notes[0]


def test_any_encoding_can_be_named(mixes):
    raw = "path,title\na.wav,Björk Été\nb.wav,B\n".encode("mac_roman")
    catalogue = listed(mixes, raw, encoding="mac_roman")
    assert [row.title for row in catalogue.rows] == ["Björk Été", "B"]
    assert catalogue.notes == ()
    for wrong in ("klingon", "hex", "rot13"):
        with pytest.raises(StemwrightError, match="Expected the name of a text encoding"):
            listed(mixes, raw, encoding=wrong)


def test_the_one_row_of_another_encoding_is_refused_and_no_title_garbled(mixes):
    raw = BJORK.encode() + "b.wav,Mötley\r\n".encode("cp1252") + b"c.wav,C\r\n"
    catalogue = listed(mixes, raw)
    assert numbers(catalogue) == ([1, 2, 4], [3])
    assert catalogue.problems[0].code == "row-not-text"
    assert catalogue.rows[0].title == "Björk – L’été €"


def test_letters_that_the_encoding_lacks_are_refused(mixes):
    raw = b"path,title\na.wav,\x81\x8d caf\xe9\nb.wav,B\n"
    assert numbers(listed(mixes, raw)) == ([2], [1])
    assert numbers(listed(mixes, BJORK.encode(), encoding="ascii")) == ([2], [1])


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize("more_rows", [b"", "Björk - L'été.wav,Été\n".encode()])
def test_a_name_that_is_no_text_is_found_by_its_bytes(mixes, more_rows):
    (mixes / "a.wav").rename(mixes / os.fsdecode(b"caf\xe9.wav"))
    catalogue = listed(mixes, b"path,title\ncaf\xe9.wav,Cafe\n" + more_rows)
    assert os.fsencode(catalogue.rows[0].path.name) == b"caf\xe9.wav"


# -- JSON lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, '{"path": "b.wav"', '{"path": ["b.wav"]}',
     '{"path": "b.wav", "Path": "c.wav"}', "[]", "null", '"b.wav"', '{"path": "\\u0000"}',
     '{"path": "\\ud800.wav"}', '{"path": "a.wav", "title": "\\ud800"}', '{"path": null}'],
)  # fmt: skip
def test_a_broken_line_costs_itself_only(mixes, line):
    text = '{"path": "a.wav"}\n\n' + line + '\n{"path": "c.wav", "year": 1994}\n'
    catalogue = listed(mixes, text, "list.jsonl")
    assert numbers(catalogue) == ([1, 4], [3])
    assert len(str(catalogue.problems[0])) < 600


def test_values_of_any_kind_are_kept(mixes):
    entry = {"path": "a.wav", "Moods": ["blue", "é"], "live": True, "none": None}
    [row] = listed(mixes, json.dumps(entry), "list.jsonl").rows
    assert row.extra == {"moods": '["blue", "é"]', "live": "true"}


# -- nothing found -------------------------------------------------------------------------------


def test_ignored_files_are_counted_and_named(mixes):
    for n in range(MOST_NAMED + 5):
        (mixes / f"{n}.m4a").touch()
    (mixes / "cover.jpg").touch()
    notes = read_catalogue(mixes).notes
    assert f"{MOST_NAMED + 5} files (0.m4a, " in notes[0] and "and 5 more" in notes[0]
    assert notes[1] == "ignored: 1 file (cover.jpg): .jpg is not an audio file's ending"
    assert read_catalogue(mixes / "*").notes == read_catalogue(str(mixes / "*")).notes
    assert len(read_catalogue(mixes / "*").notes) == 2


@pytest.mark.parametrize(
    "where", [".", "*", "*.m4a", "nothing*", "**/*.wav", "none.csv", "no.csv"]
)
def test_nothing_to_do_is_an_error_with_a_reason(tmp_path, where):
    for name in ("x.m4a", "y.wv", "z.mka"):
        (tmp_path / name).touch()
    (tmp_path / "none.csv").write_text("path,title\n,\n\n")
    with pytest.raises(StemwrightError) as caught:
        read_catalogue(tmp_path / where)
    assert caught.value.code in ("catalogue-empty", "catalogue-unreadable")
    if where in (".", "*"):
        assert "1 ignored, .m4a is not" in str(caught.value) and "convert" in str(caught.value)
