"""params.yaml: what it may hold, what it means, and where a fault is said to be."""

import copy
import datetime
import json
import math
import os
import random
import re
import tracemalloc
from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from oneshot import blocks, params
from oneshot.documents import MAX_BYTES, MAX_DEPTH, MAX_SCALAR, load_document
from oneshot.errors import USAGE, OneshotError
from oneshot.params import load_params
from oneshot.schema import Section

COMMITTED = Path(__file__).parents[1] / "params.yaml"
DOCUMENT = load_document(COMMITTED)
MISSING = "every number is in params.yaml, none has a default; add the key"
DEPTHS, KERNELS = "studies.depths.space", "studies.kernels-sum.space"


def subclasses(section):
    return [below for child in section.__subclasses__() for below in (child, *subclasses(child))]


SECTIONS = [section for section in subclasses(Section) if section.__module__ in (params.__name__, blocks.__name__)]
FIELDS = [(section, name) for section in SECTIONS for name in section.model_fields]


def small_document():
    """The committed file with one study of each kind, so that a test of it is quick."""
    document = copy.deepcopy(DOCUMENT)
    studies = {name: document["studies"][name] for name in ("kernels-sum", "depths")}
    return document | {"run": {name: document["run"][name] for name in studies}, "studies": studies}


def nodes(value, place=""):
    """Every (place, value) of a document, as error lines write the place."""
    if place:
        yield place, value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in entries:
        yield from nodes(below, f"{place}[{key}]" if isinstance(value, list) else f"{place}.{key}".removeprefix("."))


def keys(place):
    return [int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[]+", place)]


def edited(document, place, edit):
    """The document after `edit(container, key)` at that place."""
    *above, last = keys(place)
    container = document
    for key in above:
        container = container[key]
    edit(container, last)
    return document


def replace(value):
    return lambda container, key: container.__setitem__(key, value)


def remove(container, key):
    del container[key]


@pytest.fixture
def faults(tmp_path):
    """The lines that loading a document gives, without the file's name; JSON is YAML, and quick to write."""

    def load(document):
        path = tmp_path / "params.yaml"
        path.write_text(json.dumps(document))
        with pytest.raises(OneshotError) as caught:
            load_params(path)
        return [fault.removeprefix("params.yaml: ") for fault in caught.value.faults]

    return load


@pytest.fixture
def load_text(tmp_path):
    def load(text):
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return load_document(path)

    return load


NODES = dict(nodes(small_document()))
LEAVES = [place for place, value in NODES.items() if not isinstance(value, dict | list)]
# The key that says which kind of layer or optimizer a mapping is: without it, nothing else of the mapping is checked.
KINDS = [place for place in LEAVES if place.endswith((".layer", "optimizer.name"))]
NUMBERS = [place for place in LEAVES if type(NODES[place]) in (int, float)]
CONTAINERS = [place for place in NODES if place not in LEAVES]
# A study or a dataset may be left out.
NAMED = [place for place in NODES if re.fullmatch(r"(run|studies|datasets)\.[^.]*", place)]
SECTION_PLACES = [
    place for place in CONTAINERS if isinstance(NODES[place], dict) and place not in ("run", "studies", "datasets")
]


def test_committed_file_is_valid():
    loaded = load_params(COMMITTED)

    assert set(loaded.run) <= set(loaded.studies)
    assert all(len(study.search_space().architectures) > 1 for study in loaded.studies.values())


@pytest.mark.parametrize(("section", "name"), FIELDS, ids=[f"{section.__name__}.{name}" for section, name in FIELDS])
def test_no_field_has_a_default(section, name):
    assert section.model_fields[name].is_required()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_sections_are_strict_closed_and_frozen(section):
    config = section.model_config

    assert config["strict"] and config["frozen"] and config["extra"] == "forbid" and not config["allow_inf_nan"]


def test_loaded_params_cannot_be_changed():
    loaded = load_params(COMMITTED)

    with pytest.raises(ValidationError, match="frozen"):
        loaded.compute.workers = 3


def test_every_key_is_required(faults):
    kept = {*KINDS, *NAMED}
    leaves = [place for place in LEAVES if place not in kept and not place.endswith("]")]
    document = small_document()
    for place in leaves:
        edited(document, place, remove)

    lines = faults(document)

    assert sorted(lines) == sorted(f"{place}: missing; {MISSING}" for place in leaves)


@pytest.mark.parametrize("place", [place for place in (*KINDS, *CONTAINERS) if place not in NAMED and place[-1] != "]"])
def test_every_section_and_kind_is_required(faults, place):
    (line,) = faults(edited(small_document(), place, remove))

    assert line.startswith(f"{place}: missing; ")


def test_no_section_takes_a_key_that_is_not_its_own(faults):
    document = small_document()
    for place in SECTION_PLACES:
        edited(document, f"{place}.unknown_to_all", replace(1))

    lines = faults(document)

    assert sorted(line.partition("; ")[0] for line in lines) == sorted(
        f"{place}.unknown_to_all: unknown key" for place in SECTION_PLACES
    )


def test_no_leaf_may_be_a_list(faults):
    leaves = [place for place in LEAVES if place not in KINDS]
    document = small_document()
    for place in leaves:
        edited(document, place, replace([[]]))

    lines = faults(document)

    assert sorted(line.partition(": got ")[0] for line in lines) == sorted(leaves)


@pytest.mark.parametrize("place", [*KINDS, *CONTAINERS])
def test_no_section_list_or_kind_may_be_a_number(faults, place):
    (line,) = faults(edited(small_document(), place, replace(2)))

    assert line.startswith(f"{place}: got 2; ")


@pytest.mark.parametrize("wrong", [-(10**12), 10**12, True, "1", None, math.nan, math.inf, -math.inf], ids=str)
def test_every_number_is_a_finite_number_within_bounds(tmp_path, wrong):
    path = tmp_path / "params.yaml"
    document = small_document()
    for place in NUMBERS:
        edited(document, place, replace(wrong))
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)

    with pytest.raises(OneshotError) as caught:
        load_params(path)

    assert sorted(fault.partition(": got ")[0] for fault in caught.value.faults) == sorted(
        f"params.yaml: {place}" for place in NUMBERS
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E+2", 100.0),
        ("5e-4", 0.0005),
        (".5", 0.5),
        ("010", 10),
        ("0o10", 8),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("~", None),
        ("True", True),
    ],
)
def test_yaml_is_read_as_1_2(load_text, text, value):
    read = load_text(f"key: {text}")["key"]

    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: re.sub(r"(?m)(^|\s)#.*$", "", text),
        lambda text: "# A comment.\n\n" + text.replace("\n", "  # so\n\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: json.dumps(YAML(typ="safe", pure=True).load(text), indent=3),
        lambda text: "---\n" + text + "...\n",
    ],
    ids=["no comments", "comments", "CRLF", "byte order mark", "JSON", "document marks"],
)
def test_layout_of_the_file_means_nothing(tmp_path, rewrite):
    path = tmp_path / "params.yaml"
    text = COMMITTED.read_text()
    path.write_bytes(rewrite(text).encode())

    assert path.read_bytes() != text.encode()
    assert load_params(path) == load_params(COMMITTED)


def test_kernel_size_is_a_square_pair():
    document = small_document()
    pairs = edited(small_document(), f"{KERNELS}[0].kernels", replace([[3, 3], [5, 5]]))

    assert params.Params.model_validate(pairs) == params.Params.model_validate(document)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (f"{DEPTHS}[1].depths[0]", 0),
        (f"{DEPTHS}[1].depths[2]", "3"),
        (f"{DEPTHS}[0].kernel", 4),
        (f"{DEPTHS}[0].stride", 9),
        (f"{KERNELS}[2].kernels[1]", [3, 4]),
        (f"{KERNELS}[2].sharing", "add"),
        ("studies.depths.seeds[0]", -1),
        ("studies.depths.supernet.optimizer.momentum", 1.0),
        ("studies.kernels-sum.standalone.optimizer.rho", 2.0),
        ("studies.kernels-sum.standalone.schedule.warmup", 1.0),
    ],
)
def test_place_is_where_the_file_has_it_whatever_union_it_is_in(faults, place, value):
    lines = faults(edited(small_document(), place, replace(value)))

    assert [line.startswith(f"{place}: got ") for line in lines] == [True]


@pytest.mark.parametrize("key", ["conv", "kernel_block", "layer2", "[key]x", "a.b", "a\nb: c", "\x1b[31mred", "é", ""])
def test_no_key_is_mistaken_for_a_place_or_breaks_a_line(faults, key):
    document = small_document()
    document["studies"]["depths"]["space"][0][key] = 1

    (line,) = faults(document)

    shown = key if re.fullmatch(r"\w+", key, re.ASCII) else json.dumps(key)
    assert line.startswith(f"{DEPTHS}[0].{shown}: unknown key; ")
    assert line.isprintable()


@pytest.mark.parametrize(
    ("place", "value", "suggestion"),
    [
        ("dataset", {}, "datasets"),
        ("compute.worker", 2, "workers"),
        ("studies.depths.supernet.optimiser", {}, "optimizer"),
        ("studies.depths.supernet.batchsize", 1, "batch_size"),
        (f"{DEPTHS}[0].kernels", [3], "kernel"),
        (f"{KERNELS}[0].kernel", 3, "kernels"),
        (f"{DEPTHS}[0].layer", "convs", "conv"),
        ("studies.depths.supernet.optimizer.name", "sdg", "sgd"),
        ("studies.depths.supernet.schedule.name", "cosin", "cosine"),
        ("studies.depths.supernet.sampler", "cycles", "cycle"),
        ("studies.depths.supernet.sampler", "strictly_fair", "strict_fair"),
        ("studies.depths.supernet.distilation", True, "distillation"),
        ("studies.depths.compare.finetune_step", 0, "finetune_steps"),
        ("run.depth", "mnist", "depths"),
        ("run.depths", "mnits", "mnist"),
    ],
)
def test_slip_of_the_pen_gets_a_suggestion(faults, place, value, suggestion):
    lines = faults(edited(small_document(), place, replace(value)))

    assert [(line.startswith(f"{place}: "), line.endswith(f"; did you mean `{suggestion}`?")) for line in lines] == [
        (True, True)
    ]


@pytest.mark.parametrize("place", ["compute.xyz", "studies.depths.compare.xyz"])
def test_nothing_is_suggested_for_a_key_that_is_like_no_other(faults, place):
    (line,) = faults(edited(small_document(), place, replace(1)))

    assert line.endswith("; remove it")


def test_unknown_key_is_told_the_keys_of_its_own_section(faults):
    (line,) = faults(edited(small_document(), f"{DEPTHS}[4].size", replace(2)))

    assert "the keys here are layer;" in line


def test_every_fault_has_a_line_of_its_own(faults):
    wrong = {
        "compute.workers": 0,
        "datasets.mnist.split_seed": None,
        f"{DEPTHS}[0].kernel": 2,
        f"{KERNELS}[0].sharing": "concatenate",
        "studies.depths.evaluate.size": 3,
    }
    document = small_document()
    for place, value in wrong.items():
        edited(document, place, replace(value))

    lines = faults(document)

    assert sorted(line.partition(": ")[0] for line in lines) == sorted(wrong)


def test_faults_between_sections_are_all_told_at_once(faults):
    document = small_document()
    document["run"] |= {"absent": "mnist", "missing": "fashion_mnist"}
    document["studies"]["depths"]["supernet"]["batch_size"] = 50_000
    document["studies"]["depths"]["training_size"] = 40_000

    lines = faults(document)

    places = ["run.absent", "run.missing", "run.missing", "studies.depths.supernet.batch_size"]
    assert [line.partition(": ")[0] for line in lines] == places


def test_file_is_read_up_to_its_greatest_length(load_text):
    assert load_text("key: 1\n#".ljust(MAX_BYTES)) == {"key": 1}
    with pytest.raises(OneshotError, match="65537 bytes; at most 65536 are read; shorten it"):
        load_text("key: 1\n#".ljust(MAX_BYTES + 1))


def test_file_that_is_too_long_is_told_without_reading_it(tmp_path):
    path = tmp_path / "params.yaml"
    path.touch()
    os.truncate(path, 1 << 28)
    tracemalloc.start()
    try:
        with pytest.raises(OneshotError, match=r"^params.yaml: 268435456 bytes; at most 65536 are read; shorten it$"):
            load_document(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_file_is_read_down_to_its_greatest_depth(load_text):
    deepest = MAX_DEPTH - 3  # below the stream, the document and the mapping

    assert load_text(f"key: {'[' * deepest}{']' * deepest}").keys() == {"key"}
    with pytest.raises(OneshotError, match=r"^params.yaml:1: too deep; at most 20 levels are read; flatten it$"):
        load_text(f"key: {'[' * (deepest + 1)}{']' * (deepest + 1)}")


def test_value_is_read_up_to_its_greatest_length(load_text):
    assert load_text(f"key: {'9' * MAX_SCALAR}") == {"key": 10**MAX_SCALAR - 1}
    with pytest.raises(OneshotError, match=r"^params.yaml:1: a value of 1001 characters; at most 1000 are read"):
        load_text(f"key: {'9' * (MAX_SCALAR + 1)}")


# Values that YAML can hold and nobody means.
ODD = [
    *(None, True, False, 0, -1, 2**31, 2**64, 10**999, -(10**999), 0.0, -0.0, 1e-320, 1e308, math.nan, math.inf),
    *("", " ", "0", "null", "nan", "1e3", "{gt}", "{0}", "%s", "[/b]", "a\nb: c", "\x1b[2J", "\u202e", "é" * 999),
    *([], {}, [[]], [None], {"layer": None}, {"layer": []}, {"layer": "conv"}, {"name": {}}, {"name": "sgd"}),
    *(datetime.date(2001, 1, 1), datetime.datetime(2001, 1, 1, 12), b"bytes", {1, 2}, {None: 1}, {1.5: {True: []}}),
]


def repeat(container, key, value):
    container[key] = [container[key]] * 2


def nest(container, key, value):
    container[key] = {key: container[key]}


def add(container, key, value):
    if isinstance(container, dict):
        container |= {f"{key}	{{x}}": value, str(value): value, 7: value, None: value}
    else:
        container.insert(key, value)


def scale(container, key, value):
    if type(container[key]) in (int, float):
        container[key] *= 1000 if value else -1


EDITS = [lambda container, key, value: container.__setitem__(key, value)] * 4 + [repeat, nest, add, scale]
EDITS += [lambda container, key, value: container.__delitem__(key)]


def slots(value):
    """Every container and key of a document."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from slots(value[key])


def hurt(seed):
    """Params after one to four edits that no one would make: odd values, and values from elsewhere in the file."""
    generator, document = random.Random(seed), small_document()  # noqa: S311
    for _ in range(generator.randint(1, 4)):
        all_slots = list(slots(document))
        if not all_slots:
            break
        other, other_key = generator.choice(all_slots)
        value = copy.deepcopy(generator.choice([generator.choice(ODD), other[other_key]]))
        generator.choice(EDITS)(*generator.choice(all_slots), value)
    return document


@pytest.mark.faults
@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_whatever_params_hold_they_are_valid_or_told_line_by_line(monkeypatch, first, record_property):
    """A failure names the seed, from which `hurt(seed)` makes the document again."""
    valid = 0
    for seed in range(first, first + 250):
        monkeypatch.setattr(params, "load_document", lambda _, seed=seed: hurt(seed))
        try:
            loaded = load_params(Path("params.yaml"))
        except OneshotError as error:
            assert error.exit_code == USAGE and error.faults, seed
            for line in error.faults:
                assert line.startswith("params.yaml: ") and line.isprintable() and line.count("; ") >= 2, (seed, line)
        except Exception as error:
            pytest.fail(f"seed {seed}: {error!r}")
        else:
            assert params.Params.model_validate(loaded.model_dump()) == loaded, seed
            valid += 1
    assert 0 < valid < 125
    record_property("params.yaml mutated", 250)
