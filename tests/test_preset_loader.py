"""Tests of how presets are read: every error with its place, no YAML 1.1 surprise, `extends`."""

import json
import random

import pytest

import presets
from presets import StemwrightError, load_preset

STEMS = "stems:\n  drums: {}\n"


@pytest.fixture
def written(tmp_path):
    """Writes files and returns the path of the last."""

    def write(text, name="rock.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refusal(path):
    """The message without the folder."""
    with pytest.raises(StemwrightError) as caught:
        load_preset(path)
    assert caught.value.code == "preset-invalid"
    return str(caught.value).replace(f"{path.parent}/", "")


def test_value_out_of_range_is_told_with_its_place(written):
    text = (
        "name: rock\nstems:\n  drums:\n    chain:\n"
        "      - effect: Compressor\n        threshold_db: -20\n        attack_ms: 10\n"
        "        ratio: 0.5\n        release_ms: 100\n"
    )
    assert refusal(written(text)) == (
        "rock.yaml:8:16: stems.drums.chain[0].ratio: must be at least 1, got 0.5"
    )


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{effect: Gain, gain_bd: 3}", "3:24: stems.drums.chain[0].gain_bd: no such key "
         "(did you mean 'gain_db'?)"),
        ("{effect: Gain}", "3:9: stems.drums.chain[0].gain_db: is missing"),
        ("{effect: Gian, gain_db: 3}", "3:18: stems.drums.chain[0].effect: no effect 'Gian' "
         "(did you mean 'Gain'?)"),
        ("{efect: Gain, gain_db: 3}", "(did you mean 'effect'?)"),
        ("{effect: Gain, gain_db: '3'}", "must be a number, got '3'"),
        ("{effect: Gain, gain_db: true}", "must be a number, got true"),
        ("{effect: Gain, gain_db:}", "must be a number, got nothing"),
        ("{effect: Gain, gain_db: .nan}", "must be a finite number"),
        ("Gain", "needs one of the keys effect, plugin or parallel"),
        ("{effect: Reverb, room_size: 1.5}", "must be at most 1, got 1.5"),
        ("{effect: Delay, delay_seconds: 0, feedback: 1, mix: 1}", "must be at most 0.98"),
        ("{effect: HighpassFilter, cutoff_frequency_hz: -5}", "must be at least 10, got -5"),
        ("{plugin: X, parameters: {a: [1]}}", "must be a number, text, true or false"),
        ("{plugin: X, state: none.vstpreset}", "stems.drums.chain[0].state: no file"),
        ("{parallel: [[]]}", "must have at least 2 items, not 1"),
    ],
)  # fmt: skip
def test_bad_step_is_told(written, step, said):
    text = f"stems:\n  drums:\n    chain: [{step}]\n"
    assert said.replace("3:9", "3:13").replace("3:18", "3:22").replace("3:24", "3:28") in refusal(
        written(text)
    )


def test_all_errors_are_told_at_once_in_file_order(written):
    text = "serch: {}\nstems:\n  drums: {gain: 3}\noverflow: clip\n"
    lines = refusal(written(text)).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "3", "4"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("title: yes", "1:8: yes: write true or false, or put it in quotes"),
        ("title: OFF", "1:8: OFF: write true or false"),
        ("title: 1:30", "base 60"),
        ("title: 012", "leading zero"),
        ("title: 0x1F", "decimal"),
        ("title: 1_000", "underscores"),
        ("tail_seconds: 1e1", "write the number out"),
        ("tail_seconds: .inf", "finite"),
        ("title: 2024-01-02", "date"),
        ("title: 1999", "must be text; put it in quotes"),
        ("title: &a x", "anchor"),
        ("title: *a", "alias"),
        ("title: !!str x", "tag"),
        ("<<: {title: x}", "extends"),
        ("title: a\ntitle: b", "2:1: title stands here twice (first in line 1)"),
        ("1: a", "1:1: this key is no text"),
        ("? [a]\n: b", "this key is no text"),
        ("title: [", "rock.yaml:"),
        ("\ttitle: a", "rock.yaml:1:1"),
        ("a: 1\n---\nb: 2", "2:1: starts a second document"),
        ("title: \x07", "rock.yaml:1:1"),
        ("a: " + "[" * 60_000, "nested more than 32 levels"),
        ("# " + "x" * 70_000, "at most 65536"),
        ("name: ../etc", "must be a plain name"),
        ("naming: {template: '{title}'}", "needs {stem}"),
        ("naming: {template: '{title}/{stem}'}", "no folders"),
        ("naming: {template: '{tittle}_{stem}'}", "the fields are title"),
        ("naming: {template: '{stem.__class__}'}", "the fields are title"),
        ("output: {format: flac, depth: float32}", "flac holds 8, 16 or 24 bits"),
        ("residual: {into: vocals}", "no stem 'vocals' among drums"),
        ("extends: defualt", "extends: no preset is called 'defualt' (did you mean 'default'?)"),
        ("extends: [a]", "must be the name or the path"),
    ],
)
def test_trap_is_refused_with_its_place(written, line, said):
    assert said in refusal(written(f"{line}\n" if "stems" in line else f"{line}\n{STEMS}"))


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "# nothing\n"])
def test_file_without_keys_is_refused(written, text):
    assert "rock.yaml:1:1: must be a mapping" in refusal(written(text))


def test_bytes_that_are_no_text_are_refused(written):
    assert "rock.yaml:2:1: is not UTF-8" in refusal(written(b"name: a\ntitle: \xff\xfe\n"))


def test_residual_is_no_name_for_a_stem(written):
    assert "remainder's own name" in refusal(written("stems:\n  residual: {}\n"))


def test_byte_order_mark_and_crlf_are_fine(written):
    assert load_preset(written(b"\xef\xbb\xbfname: a\r\nstems:\r\n  drums: {}\r\n")).name == "a"


def test_quoted_traps_are_text(written):
    assert load_preset(written(f"title: 'no'\ndescription: \"012\"\n{STEMS}")).title == "no"


def test_name_is_the_files_own(written):
    assert load_preset(written(STEMS, "my-sound.yaml")).name == "my-sound"


def test_prior_is_named_like_its_stem(written):
    preset = load_preset(written("stems:\n  drums: {}\n  lead: {prior: vocals}\n"))
    assert [spec.prior for spec in preset.stems.values()] == ["drums", "vocals"]


def test_order_of_stems_is_kept(written):
    names = ["vocals", "bass", "drums", "alpha"]
    text = "stems:\n" + "".join(f"  {name}: {{}}\n" for name in names)
    assert list(load_preset(written(text)).stems) == names


def test_child_overrides_adds_and_removes(written):
    written("stems:\n  a: {gain_db: 1}\n  b: {}\n  c: {}\ntail_seconds: 3\n", "base.yaml")
    child = written("extends: base.yaml\nstems:\n  a: {when_absent: omit}\n  b: null\n  d: {}\n")
    preset = load_preset(child)
    assert list(preset.stems) == ["a", "c", "d"]
    assert preset.stems["a"].gain_db == 1 and preset.stems["a"].when_absent == "omit"
    assert preset.tail_seconds == 3 and preset.name == "rock"


def test_error_in_parent_is_told_with_the_parents_place(written):
    written("stems:\n  a: {gain_db: 100}\n", "base.yaml")
    message = refusal(written("extends: base.yaml\ntail_seconds: -1\n"))
    assert "base.yaml:2:16: stems.a.gain_db" in message and "rock.yaml:2:15" in message


def test_preset_may_extend_the_shipped_one_of_its_name(written):
    preset = load_preset(written("extends: default\ntail_seconds: 1\n", "default.yaml"))
    assert preset.tail_seconds == 1 and "vocals" in preset.stems


def test_circle_is_refused(written):
    written("extends: rock.yaml\n", "b.yaml")
    assert "leads back" in refusal(written("extends: b.yaml\n"))


def test_own_folder_comes_before_the_shipped_ones(written, monkeypatch):
    path = written(f"title: ours\n{STEMS}", "dry.yaml")
    monkeypatch.setenv("STEMWRIGHT_PRESETS", str(path.parent))
    assert load_preset("dry").title == "ours"


def test_unknown_name_is_told_with_a_near_one():
    with pytest.raises(StemwrightError, match="did you mean 'default'") as caught:
        load_preset("defualt")
    assert caught.value.code == "preset-not-found"


def test_name_is_no_way_out_of_the_folder():
    with pytest.raises(StemwrightError):
        load_preset("../presets/default")


def test_digest_ignores_place_and_words_but_no_sound(written, tmp_path):
    step = "{effect: Convolution, impulse_response_filename: ir.wav, mix: 1}"
    text = f"name: x\nstems:\n  drums:\n    chain: [{step}]\n"
    digests = []
    for folder, extra, content in (
        ("a", "", b"1"), ("b", "title: words\n", b"1"), ("c", "", b"2"),
        ("d", "tail_seconds: 1\n", b"1"),
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ir.wav").write_bytes(content)
        digests.append(load_preset(written(text + extra, f"{folder}/x.yaml")).digest())
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_damaged_files_are_told_and_never_crash(written):
    source = (presets.find_preset("rock")).read_bytes()
    generator = random.Random(11)
    for _ in range(250):
        raw = bytearray(source)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(raw))
            raw[at : at + generator.randint(0, 6)] = generator.choice(
                [b"", b": ", b"\n", b"  ", b"- ", b"{", b"]", b"&x ", b"*x", b"!!", b"\xff",
                 b"null", b"-1", b"1e9", b"'", b"\t", b"#", b"{a: {}}", b"[]", b"true", b"\x00"]
            )  # fmt: skip
        try:
            load_preset(written(bytes(raw)))
        except StemwrightError as error:
            assert "rock.yaml" in str(error)


def test_shown_preset_reads_back_as_itself(written):
    preset = load_preset("default")
    assert load_preset(written(presets.show(preset))).digest() == load_preset("default").digest()


def test_place_is_found_for_what_is_known_only_later(written):
    step = "{plugin: ZamComp, parameters: {ratio: 99}}"
    path = written(f"extends: default\nstems:\n  drums:\n    chain: [{step}]\n")
    message = presets.placed(
        path, "stems.drums.chain[0].parameters.ratio: must be 1 to 20, got 99"
    )
    assert message.startswith(f"{path}:4:44: stems.drums.chain[0].parameters.ratio: must be")
    assert presets.placed(path, "no plug-in 'ZamComp'") == "no plug-in 'ZamComp'"


def test_loading_leaves_the_front_door_light():
    import subprocess
    import sys

    code = (
        "import presets, sys; assert not {'pydantic', 'yaml'} & set(sys.modules); "
        "presets.load_preset('dry'); assert 'pedalboard' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=presets.__path__[0] + "/..")


def test_schema_is_json_and_names_every_effect():
    text = json.dumps(presets.json_schema())
    assert all(f'"{name}"' in text for name in presets.BUILT_IN)
