"""Names: any title becomes a file name that every system can hold, and none leaves its folder."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stems.naming import LONGEST_BYTES, PE_TEMPLATE, NameTemplate, render_name
from presets import NAME_FORMS, StemwrightError, same_name_key

FULL = {
    "title": "Où est l’été?",
    "stem": "vocals",
    "artist": "Ana Díaz",
    "isrc": "FR6V82000001",
    "rate": "48000",
    "depth": "24",
    "preset": "jazz",
    "rev": "3",
}


def test_every_field_is_filled():
    template = "{title} {stem} {artist} {isrc} {rate} {depth} {preset} {rev}"
    name = render_name(template, FULL)
    assert name == "Où est l’été_ vocals Ana Díaz FR6V82000001 48000 24 jazz 3"


def test_the_delivery_style_is_short_and_plain():
    assert render_name(PE_TEMPLATE, FULL) == "AD_Ouestlete_r3_vocals_48k24"
    assert render_name(PE_TEMPLATE, {**FULL, "rate": "44100"}).endswith("_44.1k24")
    long = render_name(PE_TEMPLATE, {**FULL, "title": "An Extraordinarily Long Title"})
    assert long.split("_")[1] == "AnExtraordinar"


@pytest.mark.parametrize(
    ("template", "fields", "expected"),
    [
        ("{artist} - {title} ({stem})", {"title": "a", "stem": "b"}, "a (b)"),
        ("{title}_{isrc}_{stem}", {"title": "a", "stem": "b"}, "a_b"),
        ("{title}_{stem}_{isrc}", {"title": "a", "stem": "b"}, "a_b"),
    ],
)
def test_an_empty_field_leaves_no_gap(template, fields, expected):
    assert render_name(template, fields) == expected


@pytest.mark.parametrize(
    "title",
    [
        "../../etc/passwd",
        "..",
        "/abs",
        "C:\\windows",
        "a\0b",
        "new\nline",
        ".hidden",
        "-rf",
        "trailing. ",
        "exe\u202egpj",
        "\ud800",
    ],
)
def test_titles_cannot_leave_the_folder_or_hide(title):
    name = render_name("{title}", {"title": title})
    assert not set(name) & set('/\\:*?"<>|\0\n\u202e\ud800')
    assert name not in ("", ".", "..")
    assert name == name.strip(". ")
    assert not name.startswith("-")


@pytest.mark.parametrize("title", ["CON", "nul", "com1", "LPT9.backup", "aux "])
def test_device_names_are_no_file_names(title):
    assert render_name("{title}", {"title": title}).startswith("_")


@given(st.text(max_size=400), st.text(max_size=400))
def test_any_text_fits_into_a_file_name(title, artist):
    fields = {"title": title, "artist": artist, "stem": "vocals"}
    name = render_name("{artist} - {title}_{stem}", fields)
    assert 0 < len(name.encode()) <= LONGEST_BYTES
    assert name.endswith("vocals")
    assert "/" not in name


def test_the_longest_field_gives_way_and_the_stem_stays():
    name = render_name("{title}_{stem}_{rate}", {**FULL, "title": "é" * 300})
    assert len(name.encode()) <= LONGEST_BYTES
    assert name.endswith("é_vocals_48000")


def test_a_name_is_never_cut_inside_a_letter():
    decomposed = unicodedata.normalize("NFD", "é" * 200)
    name = render_name("{title}", {"title": decomposed})
    assert name == unicodedata.normalize("NFD", "é" * (len(name) // 2))


def test_both_forms_of_a_letter_are_kept_and_are_one_key():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert render_name("{title}", {"title": decomposed}) == decomposed
    assert same_name_key(composed) == same_name_key(decomposed) == same_name_key("CAFÉ")


def test_plain_letters_on_request():
    assert render_name("{artist}_{title}", FULL, ascii_only=True) == "Ana-Diaz_Ou-est-lete_"


@given(st.lists(st.sampled_from(["a", "A", "é", "e\u0301", "É"]), unique=True))
def test_no_two_stems_share_a_file(stems):
    names = NameTemplate("{stem}").file_names(stems, 48000, "24")
    assert len({same_name_key(name) for name in names.values()}) == len(stems)


@pytest.mark.parametrize("template", ["{titel}", "{title", "{title:loud}", "a/{stem}", "{0}"])
def test_wrong_templates_are_told(template):
    with pytest.raises(StemwrightError) as caught:
        render_name(template, FULL)
    assert caught.value.code == "naming-invalid"


def test_the_forms_are_those_that_presets_may_name():
    from engine.stems import naming

    assert tuple(naming._SPECS) == NAME_FORMS


def test_marks_of_direction_and_devices_are_refused_everywhere():
    from hotfolder.filenames import safe_name

    for name in ("a\u202eb", "CON", "lpt¹.wav", "x:y"):
        assert safe_name(name) != name
        assert render_name("{title}", {"title": name}) != name
