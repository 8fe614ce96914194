"""Scoring many subnets with recalibrated batch norm: the tree of shared prefixes against one network after another."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from torch import nn

from benchmarks.measure import Ratio, Side, Work, alternate
from benchmarks.settings import DATASET, Settings
from benchmarks.table import Row, ratio_row
from oneshot.blocks import ClassifierLayer, ConvLayer, DepthBlock, GlobalAveragePoolLayer
from oneshot.cost import count_macs
from oneshot.data import Examples
from oneshot.evaluation import Node, build_tree, calibrated_tree, score_paths
from oneshot.machine import Machine
from oneshot.params import Evaluate
from oneshot.space import Architecture, SearchSpace
from oneshot.supernet import SuperNet

BLOCKS = (2, 3, 4, 5)
"""Depth blocks of the spaces that show the growth: 9, 27, 81 and 243 architectures."""
CHANNELS = 8
Score = Callable[[SuperNet], Mapping[Architecture, float]]


@dataclass(frozen=True)
class Scorer:
    training: Examples
    validation: Examples
    evaluate: Evaluate
    machine: Machine

    @classmethod
    def prepare(cls, settings: Settings, evaluate: Evaluate, images: int) -> "Scorer":
        """images: of validation."""
        machine = Machine.resolve("cpu", "auto", settings.threads)
        machine.claim()
        training, validation = (part.to(machine.device) for part in settings.examples())
        return cls(training, validation.take(slice(images)), evaluate, machine)

    def tree(self, supernet: SuperNet) -> Mapping[Architecture, float]:
        return self._score(supernet.paths)

    def one_by_one(self, supernet: SuperNet) -> Mapping[Architecture, float]:
        scores: dict[Architecture, float] = {}
        for architecture in supernet.paths:
            scores |= self._score({architecture: tuple(supernet.extract(architecture))})
        return scores

    def _score(self, paths: Mapping[Architecture, Sequence[nn.Module]]) -> Mapping[Architecture, float]:
        tree = calibrated_tree(paths, self.training, self.evaluate, self.machine)
        return score_paths(tree, self.validation, self.evaluate, self.machine)


def make_scoring(settings: Settings, as_tree: bool) -> Work:
    study = settings.study("depths")
    evaluate = study.evaluate
    calibration_images = settings.amount(evaluate.calibration_images, evaluate.batch_size)
    evaluate = evaluate.model_copy(update={"calibration_images": calibration_images})
    images = settings.amount(settings.params.datasets[DATASET].validation_size, 2 * evaluate.batch_size)
    scorer = Scorer.prepare(settings, evaluate, images)
    supernet = scorer.machine.place(SuperNet(study.search_space(), seed=0))
    return lambda: scorer.tree(supernet) if as_tree else scorer.one_by_one(supernet)


def scoring_rows(settings: Settings) -> list[Row]:
    sides = [Side("tree", make_scoring, (settings, True)), Side("one by one", make_scoring, (settings, False))]
    measured = alternate(sides, settings.amount(7, 2))
    tree, single = measured["tree"], measured["one by one"]
    if tree.results[-1] != single.results[-1]:
        raise AssertionError("the tree scores otherwise than each network alone")
    work = "scoring the 9 subnets of `depths`, recalibrated"
    against = f"one network after the other: {single.median:.2f} s"
    space = settings.study("depths").search_space()
    operations = _path_macs(space) / _tree_macs(space)
    return [
        ratio_row(work, f"{tree.median:.2f} s", against, Ratio.of(single.seconds, tree.seconds), at_least=3),
        Row(f"{work}, MACs", f"{_tree_macs(space):,}", f"{_path_macs(space):,}", operations),
    ]


def _path_macs(space: SearchSpace) -> int:
    return sum(count_macs(space.path(architecture), space.input_shape) for architecture in space.architectures)


def _tree_macs(space: SearchSpace) -> int:
    """Each prefix of names once."""
    macs = dict[tuple[str, ...], int]()
    for architecture in space.architectures:
        shape, prefix = space.input_shape, tuple[str, ...]()
        for step in space.path(architecture):
            prefix += (step.name,)
            macs[prefix] = step.operation.macs(shape)
            shape = step.operation.output_shape(shape)
    return sum(macs.values())


@dataclass(frozen=True)
class Growth:
    """Of one space. Modules count where they are computed: once a node in the tree, once a path one by one."""

    architectures: int
    nodes: int
    path_modules: int
    tree_seconds: float
    single_seconds: float | None


def growing_space(blocks: int) -> SearchSpace:
    """Every block at one size, so that every node costs the same."""
    stem = ConvLayer(layer="conv", channels=CHANNELS, kernel=(3, 3), stride=2, batch_norm=True)
    block = DepthBlock(layer="depth_block", depths=(1, 2, 3), kernel=(3, 3), sharing="prefix", batch_norm=True)
    pool = GlobalAveragePoolLayer(layer="global_average_pool")
    classifier = ClassifierLayer(layer="classifier", classes=10)
    return SearchSpace((stem, *[block] * blocks, pool, classifier), (1, 28, 28))


def make_growth(settings: Settings, singles: int) -> Work:
    """Seconds of each space as a tree, and, of the first `singles` spaces, one by one."""
    images = settings.amount(2000, 500)
    scorer = Scorer.prepare(settings, Evaluate(batch_size=500, calibration_images=images), images)
    nets = [scorer.machine.place(SuperNet(growing_space(blocks), seed=0)) for blocks in BLOCKS]
    scorer.tree(nets[0])  # a warm-up of every space would take long

    def seconds(score: Score, net: SuperNet) -> float:
        started = time.perf_counter()
        score(net)
        return time.perf_counter() - started

    def grow() -> list[tuple[float, float | None]]:
        return [
            (seconds(scorer.tree, net), seconds(scorer.one_by_one, net) if place < singles else None)
            for place, net in enumerate(nets)
        ]

    return grow


def measure_growth(settings: Settings) -> list[Growth]:
    side = Side("growth", make_growth, (settings, settings.amount(3, 1)))
    rounds = alternate([side], settings.amount(3, 1), warmups=0)["growth"].results
    growths = []
    for place, blocks in enumerate(BLOCKS):
        paths = SuperNet(growing_space(blocks), seed=0).paths
        trees, singles = zip(*(results[place] for results in rounds), strict=True)
        single = None if singles[0] is None else median(singles)
        modules = sum(map(len, paths.values()))
        growths.append(Growth(len(paths), _count(build_tree(paths)), modules, median(trees), single))
    return growths


def _count(nodes: Iterable[Node]) -> int:
    return sum(1 + _count(node.children) for node in nodes)


def growth_rows(settings: Settings) -> list[Row]:
    growths = measure_growth(settings)
    first = growths[0]
    rows = []
    if settings.whole:
        from benchmarks.figure import draw_growth  # imports matplotlib, which no measuring process should

        settings.figure.write_bytes(draw_growth(growths))
    for growth in growths:
        per_node = growth.tree_seconds / growth.nodes
        rows.append(
            Row(
                f"scoring {growth.architectures} subnets, milliseconds a node of the tree",
                f"{growth.tree_seconds:.2f} s, {growth.nodes:,} nodes, {1000 * per_node:.2f} ms each",
                f"{growth.path_modules:,} modules one network after the other"
                + (f": {growth.single_seconds:.2f} s" if growth.single_seconds else ""),
                per_node / (first.tree_seconds / first.nodes),
                " of 9's",
            )
        )
    return rows
