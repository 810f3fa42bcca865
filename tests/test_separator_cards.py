"""Cards: every mistake in one, and every file that is not what it says, is told with its line."""

import os

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

import separator_toys as toys
from engine.model.sessions import Device
from engine.separators.loading import find_card, list_cards, load_card
from engine.separators.network import Network
from presets import StemwrightError

GOOD = """\
card: 1
name: toy
licence: none
files:
  - path: toy.onnx
    sha256: {sha256}
stems: [vocals, drums]
segment: 65536
stft: {{n_fft: 4096, hop: 1024}}
inputs:
  - {{name: x, role: spec, axes: b (c r) f t}}
outputs:
  - {{name: y, role: spec, axes: b s (c r) f t}}
"""


def card_text(**changes):
    data = yaml.safe_load(GOOD.format(sha256="a" * 64)) | changes
    return yaml.safe_dump({k: v for k, v in data.items() if v is not None}, sort_keys=False)


def line_of(text, key):
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith(key))


def opened(path):
    with Network(load_card(path), Device.parse("cpu"), 1):
        pass


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"segmnet": 5}, "segmnet", "no such key.*did you mean 'segment'"),
        ({"licence": None}, "card", "licence: is missing"),
        ({"licence": ""}, "licence", "must not be empty"),
        ({"card": 2}, "card", "must be one of 1, got 2"),
        ({"commercial": "maybe"}, "commercial", "must be one of yes, no, unknown"),
        ({"segment": 100}, "segment", "at least 256, got 100"),
        ({"overlap": 0.9}, "overlap", "at most 0.75, got 0.9"),
        ({"gain": 9.0}, "gain", "at most 4, got 9"),
        ({"gain": [1.0, 1.0, 1.0]}, "gain", "or 2 for the stems, got 3"),
        ({"stems": ["vocals", "vocals"]}, "stems", "twice"),
        ({"use": ["guitar"]}, "use", "guitar is none of vocals, drums"),
        ({"rest": "drums"}, "rest", "one of the stems"),
        ({"discard": 40000}, "discard", "nothing is left"),
        ({"stft": None}, "card", "stft: is missing; role spec needs it"),
        ({"stft": {"n_fft": 4095, "hop": 1024}}, "  n_fft", "must be even"),
        ({"stft": {"n_fft": 4096, "hop": 1024, "dim_f": 3000}}, "  dim_f", "has 2049 bins"),
        ({"stft": {"n_fft": 4096, "hp": 1024}}, "  hp", "did you mean 'hop'"),
        ({"files": [{"path": "../x.onnx", "sha256": "a" * 64}]}, "- path", "leads elsewhere"),
        ({"files": [{"path": "/x.onnx", "sha256": "a" * 64}]}, "- path", "leads elsewhere"),
        ({"files": [{"path": "x.onnx", "sha256": "12"}]}, "  sha256", "64 hex digits"),
        ({"files": [{"path": "x.data", "sha256": "a" * 64}]}, "files", "no graph among them"),
        ({"inputs": [{"name": "x", "role": "spek", "axes": "b c f t"}]}, "  role", "'spec'"),
        ({"inputs": [{"name": "x", "role": "spec", "axes": "b (c r f t"}]}, "  axes", "pattern"),
        ({"inputs": [{"name": "x", "role": "spec", "axes": "b (c q) f t"}]}, "  axes", "no axis"),
        ({"inputs": [{"name": "x", "role": "spec", "axes": "b (c c) f t"}]}, "  axes", "twice"),
        ({"inputs": [{"name": "x", "role": "wave", "axes": "b c f"}]}, "  axes", "needs n"),
        ({"inputs": [{"name": "x", "role": "spec", "axes": "b s r f t"}]}, "  axes", "has no s"),
        ({"inputs": [{"name": "x", "role": "mag", "axes": "c k t f"}]}, "- name", "goes with"),
        ({"inputs": [{"name": "x", "role": "real", "axes": "b c f t"}]}, "inputs", "go together"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(changes, key, words, tmp_path):
    text = card_text(**changes)
    path = tmp_path / "toy.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StemwrightError, match=words) as caught:
        load_card(path)
    assert caught.value.code == "card-invalid"
    assert f"toy.yaml:{line_of(text, key)}:" in str(caught.value)


@pytest.mark.parametrize(
    ("written", "read"), [("yes", "yes"), ("no", "no"), ("true", "yes"), ("unknown", "unknown")]
)
def test_commercial_is_a_word_without_quotes(written, read, tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(GOOD.format(sha256="a" * 64) + f"commercial: {written}\n", encoding="utf-8")
    assert load_card(path).card.commercial == read


def test_a_card_of_ten_megabytes_is_refused_unread(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_bytes(b"card: 1\n" + b"# " + b"x" * 10_000_000)
    with pytest.raises(StemwrightError, match=r"10000010 bytes long.*Is this the model itself"):
        load_card(path)


@pytest.mark.parametrize("content", [b"\x08\x07\x12\x00model", b"- a\n- b\n", b"card: [1\n", b""])
def test_what_is_no_card_is_refused(content, tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_bytes(content)
    with pytest.raises(StemwrightError, match=r"toy\.yaml:"):
        load_card(path)


def spectral(folder, **changes):
    """A sound card and graph; changes go to the card."""
    return toys.mdx23c(folder, **changes)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"inputs": [toys.tensor("mix", "spec", "b (c r) f t")]}, "separator-tensor",
         r"inputs\[0\].name: mdx23c.onnx has no input 'mix'; it has input \[b, 4, 4096, 256\]"),
        ({"outputs": [toys.tensor("out", "spec", "b s (c r) f t")]}, "separator-tensor",
         r"has no output 'out'; it has output \[b, 2, 4, 4096, 256\]"),
        ({"outputs": [toys.tensor("output", "spec", "b s c r f t")]}, "separator-rank",
         r"outputs\[0\].axes: .* has 5 axes.*'b s c r f t' has 6"),
        ({"segment": 130048}, "separator-size", r"is 256; the card makes it 128. See segment"),
        ({"stft": toys.MDX23C | {"dim_f": 3072}}, "separator-size", "4096; the card makes it 307"),
        ({"stft": toys.MDX23C | {"hop": 512}}, "separator-size", "256; the card makes it 511"),
        ({"stft": toys.MDX23C | {"center": False}}, "separator-size", "the card makes it 248"),
        ({"channels": 1}, "separator-size", r"axis \(c r\) is 4; the card makes it 2"),
        ({"stems": ["low"]}, "separator-size", r"axis s is 2; the card makes it 1"),
        ({"max_ram_mib": 64}, "separator-memory", "max_ram_mib: the process uses|needs"),
    ],
)  # fmt: skip
def test_a_graph_that_is_not_what_the_card_says_is_refused(changes, code, words, tmp_path):
    card = spectral(tmp_path, **changes)
    loaded = load_card(card)
    silence = np.zeros((1, loaded.card.channels, loaded.card.segment), np.float32)
    with pytest.raises(StemwrightError, match=words) as caught:
        Network(loaded, Device.parse("cpu"), 1).run(silence)
    assert caught.value.code == code
    assert "toy.yaml:" in str(caught.value)


def test_a_changed_file_is_refused_by_its_hash(tmp_path):
    card = spectral(tmp_path)
    with (tmp_path / "mdx23c.onnx").open("ab") as file:
        file.write(b"\x00")
    with pytest.raises(StemwrightError, match=r"toy.yaml:\d+:.*sha256") as caught:
        opened(card)
    assert caught.value.code == "separator-hash"


def test_a_missing_file_and_a_link_out_of_the_folder_are_refused(tmp_path):
    (tmp_path / "cards").mkdir()
    card = spectral(tmp_path / "cards")
    model = tmp_path / "cards" / "mdx23c.onnx"
    model.rename(tmp_path / "elsewhere.onnx")
    with pytest.raises(StemwrightError, match="no file"):
        opened(card)
    model.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(StemwrightError, match="link out of the card's folder"):
        opened(card)


def resealed(card, model):
    """The card with the hash of a file that was exchanged."""
    data = yaml.safe_load(card.read_text())
    data["files"] = [{"path": model.name, "sha256": toys.sha256(model)}]
    card.write_text(yaml.safe_dump(data, sort_keys=False))
    return card


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", "cannot be loaded.*Is it a whole ONNX file"),
        ("empty", "cannot be loaded"),
        ("opset", "cannot be loaded.*opset"),
        ("operator", "cannot be loaded.*operators that ONNX Runtime does not have"),
    ],
)
def test_what_is_no_usable_graph_is_refused(kind, words, tmp_path):
    card, model = toys.echo(tmp_path), tmp_path / "echo.onnx"
    if kind == "text":
        model.write_text("weights to follow\n" * 20)
    elif kind == "empty":
        model.write_bytes(b"")
    elif kind == "opset":
        toys.Graph()
        graph = toys.Graph()
        graph.give(graph.op("Neg", graph.take("mix", [1, 2, 8])), "stem", [1, 2, 8])
        graph.save(model, opset=9999)
    else:
        node = helper.make_node("Wavelet", ["mix"], ["stem"], domain="com.example")
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, 8])
                for n in ("mix", "stem")]  # fmt: skip
        made = helper.make_model(
            helper.make_graph([node], "g", ends[:1], ends[1:]),
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)],
            ir_version=8,
        )
        model.write_bytes(made.SerializeToString())
    with pytest.raises(StemwrightError, match=words) as caught:
        opened(resealed(card, model))
    assert caught.value.code == "separator-graph"
    assert "toy.yaml:" in str(caught.value)


def external(folder, location):
    """The echo with its constant in a file outside the graph."""
    card, model = toys.echo(folder), folder / "echo.onnx"
    import onnx

    made = onnx.load(model)
    weights = np.zeros(2048, np.float32)
    made.graph.initializer.append(numpy_helper.from_array(weights, "big"))
    tensor = made.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    model.write_bytes(made.SerializeToString())
    (folder / "echo.data").write_bytes(weights.tobytes())
    return resealed(card, model)


@pytest.mark.parametrize("location", ["../echo.data", "/tmp/echo.data"])
def test_weights_outside_the_folder_are_never_read(location, tmp_path):
    with pytest.raises(StemwrightError, match="outside the card's folder") as caught:
        opened(external(tmp_path, location))
    assert caught.value.code == "separator-external-data"


def test_weights_beside_the_graph_must_be_listed_and_are_hashed(tmp_path):
    card = external(tmp_path, "echo.data")
    with pytest.raises(StemwrightError, match=r"echo.data.*does not list"):
        opened(card)
    data = yaml.safe_load(card.read_text())
    side = tmp_path / "echo.data"
    data["files"].append({"path": side.name, "sha256": toys.sha256(side)})
    card.write_text(yaml.safe_dump(data, sort_keys=False))
    opened(card)
    side.write_bytes(bytes(8192 - 1) + b"x")
    with pytest.raises(StemwrightError, match="sha256"):
        opened(card)


def test_a_graph_that_wants_more_than_the_card_feeds_is_refused(tmp_path):
    graph = toys.Graph()
    fed, state = graph.take("mix", ["b", 2, 4096]), graph.take("state", [1, 8])
    del state
    graph.give(graph.op("Neg", fed), "stem", ["b", 2, 4096])
    model = graph.save(tmp_path / "causal.onnx")
    card = resealed(toys.echo(tmp_path), model)
    with pytest.raises(StemwrightError, match="also wants state"):
        opened(card)


def test_cards_are_found_by_name_in_folders_and_one_level_down(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    toys.echo(tmp_path / "a", name="one")
    (tmp_path / "own").mkdir()
    toys.echo(tmp_path / "own", name="two").rename(tmp_path / "own" / "card.yaml")
    (tmp_path / "own" / "rock.yaml").write_text("name: rock\nstems: {}\n")  # a preset, no card
    monkeypatch.setenv("STEMWRIGHT_SEPARATORS", str(tmp_path / "own") + os.pathsep)
    assert set(list_cards([tmp_path])) == {"one", "two"}
    assert find_card("two").name == "two"
    with pytest.raises(StemwrightError, match="did you mean 'two'"):
        find_card("tow")


def test_the_digest_names_what_changes_a_sample(tmp_path):
    first = load_card(toys.echo(tmp_path)).digest
    assert load_card(toys.echo(tmp_path, licence="MIT", commercial="yes")).digest == first
    assert load_card(toys.echo(tmp_path, overlap=0.5)).digest != first
    assert load_card(toys.echo(tmp_path, bias=0.5)).digest != first
