"""The networks of the benchmarks: convolutions and an encoder, trained in a minute or two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from variants_data import SEQUENCE, VOCABULARY, Rows

THREADS = 2
BATCH = 32

# --- convolutions --------------------------------------------------------------------------


def plain_convolutions(channels: int, classes: int) -> nn.Module:
    """Return convolutions, pooling and two dense layers, one after another, as in VGG."""
    layers: list[nn.Module] = []
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    dense = [nn.Linear(128 * 16, 256), nn.ReLU(), nn.Linear(256, classes)]
    return nn.Sequential(*layers, nn.Flatten(), *dense)


class Residual(nn.Module):
    """Two convolutions with BatchNorm, and a way around them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        same = stride == 1 and inside == outside
        around = (nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        self.around = nn.Identity() if same else nn.Sequential(*around)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways, without what is negative."""
        return functional.relu(self.body(x) + self.around(x))


def residual_convolutions(channels: int, classes: int) -> nn.Module:
    """Return a small ResNet: a stem that halves the image, and six residual blocks."""
    stem = [nn.Conv2d(channels, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    steps = [(32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    blocks = [Residual(*step) for step in steps]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes)]
    return nn.Sequential(*stem, *blocks, *head)


class Inverted(nn.Module):
    """MobileNetV2's block: widened, filtered channel by channel, narrowed."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inside
        self.body = nn.Sequential(
            nn.Conv2d(inside, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.same = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's answer, added to what came in where the shapes are equal."""
        return x + self.body(x) if self.same else self.body(x)


def depthwise_convolutions(channels: int, classes: int) -> nn.Module:
    """Return a small MobileNetV2."""
    stem = [nn.Conv2d(channels, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6()]
    steps = [(24, 24, 1), (24, 40, 2), (40, 40, 1), (40, 80, 2), (80, 80, 1), (80, 80, 1)]
    top = [nn.Conv2d(80, 320, 1, bias=False), nn.BatchNorm2d(320), nn.ReLU6()]
    blocks = [Inverted(*step) for step in steps]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(320, classes)]
    return nn.Sequential(*stem, *blocks, *top, *head)


# --- the encoder ---------------------------------------------------------------------------

_HIDDEN, _HEADS, _INNER, _LAYERS = 384, 12, 1536, 6


class Layer(nn.Module):
    """One layer of BERT: attention and two dense layers, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(_HIDDEN, _HIDDEN) for _ in range(4)
        )
        self.first, self.second = nn.LayerNorm(_HIDDEN), nn.LayerNorm(_HIDDEN)
        self.inner, self.outer = nn.Linear(_HIDDEN, _INNER), nn.Linear(_INNER, _HIDDEN)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return as many vectors as came in; what is ``hidden`` takes no part."""
        query, key, value = (
            part(x).reshape(-1, SEQUENCE, _HEADS, _HIDDEN // _HEADS).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) * (_HIDDEN // _HEADS) ** -0.5 + hidden
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(-1, SEQUENCE, _HIDDEN)
        x = self.first(x + self.out(mixed))
        return self.second(x + self.outer(functional.gelu(self.inner(x))))


class Encoder(nn.Module):
    """MiniLM's shape (L6, H384), mean pooling over what counts, and a dense head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, _HIDDEN, sparse=True)
        self.places = nn.Parameter(torch.randn(SEQUENCE, _HIDDEN) * 0.02)
        nn.init.normal_(self.words.weight, std=0.02)
        self.norm = nn.LayerNorm(_HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(_LAYERS))
        self.head = nn.Linear(_HIDDEN, classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return a score for each class."""
        counts = mask.to(torch.float32)
        hidden = (1 - counts)[:, None, None, :] * -10_000.0
        x = self.norm(self.words(ids) + self.places)
        for layer in self.layers:
            x = layer(x, hidden)
        return self.head((x * counts[:, :, None]).sum(1) / counts.sum(1, keepdim=True))


# --- training ------------------------------------------------------------------------------


def train(make: Callable[[], nn.Module], rows: Rows, *, epochs: int, rate: float) -> nn.Module:
    """Train a classifier; the rate rises over the first steps and falls to nothing."""
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    net = make().train()
    part = rows.part(slice(rows.learned))
    truth = torch.from_numpy(part.pop("y").astype(np.int64))
    inputs = [torch.from_numpy(array) for array in part.values()]
    steps = epochs * (len(truth) // BATCH)
    optimizers = _optimizers(net, rate)
    for step, chosen in zip(range(steps), _batches(len(truth), epochs), strict=True):
        share = min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps))
        loss = functional.cross_entropy(
            net(*(array[chosen] for array in inputs)), truth[chosen]
        )
        loss.backward()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate * share
            optimizer.step()
            optimizer.zero_grad()
    return net.eval()


def _optimizers(net: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    # A dense gradient of a whole vocabulary would take most of the time.
    sparse = [
        part.weight for part in net.modules() if isinstance(part, nn.Embedding) and part.sparse
    ]
    seen = {id(one) for one in sparse}
    dense = [one for one in net.parameters() if id(one) not in seen]
    found: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, rate)]
    return found + ([torch.optim.SparseAdam(sparse, rate)] if sparse else [])


def _batches(rows: int, epochs: int) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [
        torch.from_numpy(part[:BATCH])
        for _ in range(epochs)
        for part in np.array_split(rng.permutation(rows), rows // BATCH)
    ]


def accuracy(net: nn.Module, rows: Rows) -> float:
    """Return the share of right answers to the rows that judge."""
    part = rows.judge()
    truth = part.pop("y")
    with torch.no_grad():
        found = net(*map(torch.from_numpy, part.values())).argmax(1).numpy()
    return float((found.astype(str) == truth).mean())


def save(net: nn.Module, rows: Rows, path: Path) -> None:
    """Write it as a user would: ``torch.export`` with a batch of any length."""
    inputs = tuple(torch.from_numpy(array[:2]) for array in rows.columns.values())
    shapes = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    torch.export.save(torch.export.export(net, inputs, dynamic_shapes=shapes), path)
