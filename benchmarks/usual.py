"""The usual recipe, as the two projects behind this one have it: images decoded and normalised one by one in a
DataLoader, float32, contiguous tensors, `loss.item()` each step, one evaluation pass per subnet.

Written from their descriptions. The kernels' unchosen branch is computed and multiplied by zero, in standalones too,
which they train as a supernet whose choice is fixed; of the depths they compute the chosen layers alone.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, relu
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, ToTensor

from oneshot.data import Examples
from oneshot.params import Recipe
from oneshot.training import schedule_factor

Choice = tuple[int, int]
Batches = DataLoader[tuple[Tensor, int]]


class Images(Dataset[tuple[Tensor, int]]):
    """As torchvision.datasets.MNIST gives them."""

    def __init__(self, examples: Examples):
        self.examples = examples
        self.transform = Compose([ToTensor(), Normalize((examples.mean,), (examples.deviation,))])

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.examples.images[index].numpy())
        return self.transform(image), int(self.examples.labels[index])


class KernelsNet(nn.Module):
    """Two choices of a 3x3 (0) or a 5x5 convolution (1); the outputs are added."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.conv1_3, self.conv1_5 = nn.Conv2d(1, channels, 3, padding=1), nn.Conv2d(1, channels, 5, padding=2)
        self.conv2_3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2_5 = nn.Conv2d(channels, channels, 5, padding=2)
        self.hidden, self.classifier = nn.Linear(channels * 49, 64), nn.Linear(64, 10)

    def forward(self, images: Tensor, choice: Choice) -> Tensor:
        first, second = choice
        features = self.conv1_3(images) * (1 - first) + self.conv1_5(images) * first
        features = max_pool2d(relu(features), 2)
        features = self.conv2_3(features) * (1 - second) + self.conv2_5(features) * second
        features = max_pool2d(relu(features), 2).flatten(1)
        logits: Tensor = self.classifier(relu(self.hidden(features)))
        return logits


class DepthsNet(nn.Module):
    """Two blocks of one to three layers; a deeper choice runs the same first layers, as the project's own does."""

    def __init__(self, first: int = 16, second: int = 16) -> None:
        super().__init__()
        self.stem, self.down = _layer(1, first, 1), _layer(first, second, 2)
        self.block1 = nn.ModuleList(_layer(first, first, 1) for _ in range(3))
        self.block2 = nn.ModuleList(_layer(second, second, 1) for _ in range(3))
        self.pool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(second, 10)

    def forward(self, images: Tensor, choice: Choice) -> Tensor:
        features = self.stem(images)
        for layer in self.block1[: choice[0]]:
            features = layer(features)
        features = self.down(features)
        for layer in self.block2[: choice[1]]:
            features = layer(features)
        logits: Tensor = self.classifier(self.pool(features).flatten(1))
        return logits


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


NETWORKS: dict[str, tuple[Callable[..., nn.Module], Callable[[str], int]]] = {
    "kernels-sum": (KernelsNet, ("3", "5").index),
    "depths": (DepthsNet, int),
}
"""Of each study the network, given channels or with its own, and by which number that knows a choice."""


def load(examples: Examples, batch_size: int, workers: int, training: bool = True) -> Batches:
    """Of training images shuffled whole batches, else all."""
    return DataLoader(Images(examples), batch_size, shuffle=training, drop_last=training, num_workers=workers)


def build_optimizer(model: nn.Module, recipe: Recipe, steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """The recipe's own, as PyTorch builds them by default, and its schedule."""
    kinds: dict[str, type[torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adadelta": torch.optim.Adadelta}
    section = recipe.optimizer
    optimizer = kinds[section.name](model.parameters(), **section.model_dump(exclude={"name"}))
    # Never zero, so that steps beyond the last one still compute.
    return optimizer, LambdaLR(optimizer, lambda step: max(1e-3, schedule_factor(recipe.schedule, step, steps)))


class Training:
    """One network's training, `steps` long by its schedule; `choose` says what each step trains."""

    def __init__(self, model: nn.Module, choose: Callable[[int], Choice], recipe: Recipe, steps: int):
        self.model, self.choose, self.step = model, choose, 0
        self.optimizer, self.scheduler = build_optimizer(model, recipe, steps)

    def train(self, batches: Iterator[tuple[Tensor, Tensor]], steps: int | None = None) -> float:
        """The mean loss of so many steps, or of all batches."""
        self.model.train()
        losses = []
        for images, labels in itertools.islice(batches, steps):
            self.optimizer.zero_grad()
            loss = cross_entropy(self.model(images, self.choose(self.step)), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.item())
            self.step += 1
        return sum(losses) / len(losses)


@torch.no_grad()
def evaluate(model: nn.Module, choice: Choice, batches: Batches) -> float:
    """The accuracy of one subnet."""
    model.eval()
    correct = sum(int((model(images, choice).argmax(1) == labels).sum()) for images, labels in batches)
    return correct / len(batches.dataset)  # type: ignore[arg-type]
