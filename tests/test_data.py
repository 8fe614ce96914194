"""The dataset in memory is the pinned files, split by numbers of params.yaml alone and normalised as numpy would."""

import hashlib
import struct
import tracemalloc

import numpy
import pytest
import torch

from oneshot.catalog import CATALOG, FilePin, KnownDataset, part_files
from oneshot.data import _load_split, _moments, load, load_split, load_test, verify_training_files
from oneshot.errors import BAD_DATA, MISSING_INPUT, OneshotError
from oneshot.params import Dataset

SIZES = {"train": 400, "t10k": 120}


def random_pixels(part):
    """As in the real files, the parts differ in brightness and not every grey is there."""
    return numpy.random.default_rng(SIZES[part]).integers(200 if part == "train" else 90, size=(SIZES[part], 28, 28))


def labels_of(part):
    return numpy.arange(SIZES[part]) % 10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small dataset of the IDX format, pinned as `mnist`."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    pins = {}
    for part, size in SIZES.items():
        contents = {
            "images": struct.pack(">4i", 2051, size, 28, 28) + random_pixels(part).astype(numpy.uint8).tobytes(),
            "labels": struct.pack(">2i", 2049, size) + labels_of(part).astype(numpy.uint8).tobytes(),
        }
        for kind, name in part_files(part).items():
            (folder / name).write_bytes(contents[kind])
            pins[name] = FilePin(len(contents[kind]), hashlib.sha256(contents[kind]).hexdigest())
    monkeypatch.setitem(CATALOG, "mnist", KnownDataset("MNIST", None, pins))
    _load_split.cache_clear()
    yield folder
    _load_split.cache_clear()


def split(folder, training_size=250, validation_size=150, split_seed=0, local=None):
    section = Dataset(folder=local, validation_size=validation_size, split_seed=split_seed)
    return load_split(folder, section, training_size)


def indices(examples, folder):
    """Where the examples stand in the file: no two of the random images are alike."""
    positions = {image.numpy().tobytes(): index for index, image in enumerate(load(folder, "train").images)}
    return [positions[image.numpy().tobytes()] for image in examples.images]


@pytest.mark.parametrize("part", SIZES)
def test_loaded_examples_are_those_of_the_files(folder, part):
    examples = load(folder, part)

    assert len(examples) == SIZES[part]
    assert examples.images.dtype == torch.uint8
    assert examples.labels.dtype == torch.int64
    assert numpy.array_equal(examples.images.numpy(), random_pixels(part))
    assert numpy.array_equal(examples.labels.numpy(), labels_of(part))


def test_loaded_examples_may_be_written_to(folder):
    examples = load(folder, "train")

    examples.images[0, 0, 0] = 255
    examples.labels[0] = 9

    assert (examples.images[0, 0, 0], examples.labels[0]) == (255, 9)
    assert numpy.array_equal(load(folder, "train").images.numpy(), random_pixels("train"))


def test_moments_are_those_of_numpy(folder):
    examples = load(folder, "train")

    scaled = random_pixels("train") / 255
    assert examples.mean == pytest.approx(scaled.mean(), rel=1e-12)
    assert examples.deviation == pytest.approx(scaled.std(), rel=1e-12)


def test_moments_take_less_memory_than_the_images():
    images = numpy.zeros((20_000, 28, 28), numpy.uint8)

    tracemalloc.start()
    _moments(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0 < peak < images.nbytes


def test_normalised_training_images_have_mean_0_and_deviation_1(folder):
    pixels = load(folder, "train").pixels()

    assert pixels.mean().item() == pytest.approx(0, abs=1e-5)
    assert pixels.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_parts_of_the_split_keep_the_moments_of_all_training_images(folder):
    everything = load(folder, "train")

    for part in split(folder):
        assert (part.mean, part.deviation) == (everything.mean, everything.deviation)


def test_test_images_are_normalised_as_the_training_images_are(folder):
    training, _ = split(folder)

    test = load_test(folder, training)

    assert (test.mean, test.deviation) == (training.mean, training.deviation)
    expected = (random_pixels("t10k") / 255 - training.mean) / training.deviation
    assert numpy.allclose(test.pixels().squeeze(1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("index", "count"),
    [(slice(None), 400), (slice(10, 17), 7), (slice(399, 900), 1), (torch.tensor([5, 3, 5]), 3)],
    ids=["all", "slice", "slice beyond the end", "index"],
)
def test_pixels_are_a_channels_last_batch_of_those_images(folder, index, count):
    examples = load(folder, "train")

    pixels = examples.take(index).pixels()

    assert (pixels.shape, pixels.dtype) == ((count, 1, 28, 28), torch.float32)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    expected = (random_pixels("train")[index] / 255 - examples.mean) / examples.deviation
    assert numpy.allclose(pixels.squeeze(1).numpy(), expected, atol=1e-5)


def test_pixels_leave_the_images_as_they_are(folder):
    examples = load(folder, "train")

    examples.pixels()

    assert numpy.array_equal(examples.images.numpy(), random_pixels("train"))


def test_chunks_are_all_examples_in_order(folder):
    examples = load(folder, "t10k")

    chunks = list(examples.chunks(50))

    assert [len(chunk) for chunk in chunks] == [50, 50, 20]
    assert torch.equal(torch.cat([chunk.images for chunk in chunks]), examples.images)
    assert torch.equal(torch.cat([chunk.labels for chunk in chunks]), examples.labels)


@pytest.mark.parametrize(("training_size", "validation_size"), [(250, 150), (100, 100), (300, 100), (120, 280)])
def test_split_is_disjoint_and_of_the_sizes_asked_for(folder, training_size, validation_size):
    training, validation = split(folder, training_size, validation_size)

    train, held_out = set(indices(training, folder)), set(indices(validation, folder))
    assert (len(training), len(validation)) == (len(train), len(held_out)) == (training_size, validation_size)
    assert train.isdisjoint(held_out)


def test_split_keeps_each_image_with_its_label(folder):
    for part in split(folder):
        assert numpy.array_equal(part.labels.numpy(), labels_of("train")[indices(part, folder)])


def test_split_is_in_the_order_of_the_file(folder):
    for part in split(folder):
        found = indices(part, folder)
        assert found == sorted(found)


def test_split_is_a_function_of_its_numbers_alone(folder):
    first = split(folder, split_seed=7)
    _load_split.cache_clear()
    torch.manual_seed(99)
    torch.rand(5)

    second = split(folder, split_seed=7, local="elsewhere")

    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_split_leaves_the_global_random_stream_alone(folder):
    torch.manual_seed(0)
    before = torch.get_rng_state()

    split(folder)

    assert torch.equal(torch.get_rng_state(), before)


def test_other_seed_gives_another_split(folder):
    validations = {tuple(indices(split(folder, split_seed=seed)[1], folder)) for seed in range(4)}

    assert len(validations) == 4


def test_validation_images_do_not_depend_on_the_training_size(folder):
    _, of_few = split(folder, training_size=100)
    _, of_many = split(folder, training_size=250)

    assert torch.equal(of_few.images, of_many.images)


def test_split_is_loaded_once_by_a_process_that_trains_several_networks(folder):
    first = split(folder)
    for path in folder.iterdir():
        path.unlink()

    for one, again in zip(first, split(folder), strict=True):
        assert one.images is again.images and one.labels is again.labels


def flip(content):
    return content[:20] + bytes([content[20] ^ 1]) + content[21:]


@pytest.mark.parametrize("read", [load, lambda folder, part: verify_training_files(folder)], ids=["load", "verify"])
@pytest.mark.parametrize("name", part_files("train").values())
@pytest.mark.parametrize(
    "damage",
    [flip, lambda content: content[:-1], lambda content: content + b"\0", lambda content: b""],
    ids=["flipped bit", "cut", "lengthened", "emptied"],
)
def test_damaged_file_is_refused_with_both_hashes(folder, damage, name, read):
    path = folder / name
    pinned = hashlib.sha256(path.read_bytes()).hexdigest()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)

    with pytest.raises(OneshotError) as caught:
        read(folder, "train")

    assert caught.value.exit_code == BAD_DATA
    assert str(caught.value).startswith(f"{path}: damaged: {len(damaged)} bytes")
    assert hashlib.sha256(damaged).hexdigest() in str(caught.value)
    assert pinned in str(caught.value)


@pytest.mark.parametrize("name", CATALOG["mnist"].files)
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(OneshotError) as caught:
        load(folder, "train" if name.startswith("train") else "t10k")

    assert caught.value.exit_code == MISSING_INPUT
    assert str(caught.value).startswith(f"{folder / name}: No such file or directory; ")


def test_test_files_are_not_opened_before_they_are_asked_for(folder):
    for name in part_files("t10k").values():
        (folder / name).unlink()

    training, validation = split(folder)
    hashes = verify_training_files(folder)

    assert (len(training), len(validation), set(hashes)) == (250, 150, set(part_files("train").values()))


def test_verification_gives_the_hashes_of_the_files(folder):
    names = part_files("train").values()

    assert verify_training_files(folder) == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names
    }


def test_pins_are_those_of_60000_and_10000_images():
    for dataset in CATALOG.values():
        sizes = {name: pin.size for name, pin in dataset.files.items()}
        assert sizes == {
            "train-images-idx3-ubyte": 47_040_016,
            "train-labels-idx1-ubyte": 60_008,
            "t10k-images-idx3-ubyte": 7_840_016,
            "t10k-labels-idx1-ubyte": 10_008,
        }
        assert all(len(bytes.fromhex(pin.sha256)) == 32 for pin in dataset.files.values())
