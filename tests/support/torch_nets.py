"""PyTorch nets of the kinds that people have, small and of fixed seed.

Each function makes one net; the file itself serves as a ``module.py:function``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

ROWS = torch.export.Dim("rows")


class ConvNet(nn.Module):
    """Convolutions with batch normalisation whose statistics are not the initial ones."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Linear(6 * 4 * 4, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image).flatten(1)).softmax(1)


class Separable(nn.Module):
    """Depthwise and pointwise convolutions, as in mobile nets."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.point = nn.Conv2d(4, 8, 1)
        self.act = nn.Hardswish()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.act(self.point(self.depth(image)))).flatten(1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.GroupNorm(3, 3)
        self.second = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = self.second(nn.functional.gelu(self.norm(self.first(image))))
        return (image + inner).mean((2, 3))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(4, 6, num_layers=2, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(series)[0][:, -1])


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(4, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 2)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(series)[0].amax(1))


class Encoder(nn.Module):
    """A transformer over token ids with a mask of 1 where there is a token."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.layers(self.words(ids), src_key_padding_mask=mask == 0)
        weight = mask.unsqueeze(-1).float()
        return self.head((hidden * weight).sum(1) / weight.sum(1))


class Attention(nn.Module):
    """Attention over as many steps as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        mixed, _ = self.attend(steps, steps, steps, need_weights=False)
        return self.norm(steps + mixed)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 12), nn.Sigmoid())

    def forward(self, signal: torch.Tensor) -> dict[str, torch.Tensor]:
        back = self.inner(signal)
        return {"reconstruction": back, "error": ((back - signal) ** 2).mean(1)}


class ManyInputs(nn.Module):
    """Numbers, an id and a flag, each an input of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.numbers = nn.Linear(3, 4)

    def forward(
        self, numbers: torch.Tensor, place: torch.Tensor, night: torch.Tensor
    ) -> torch.Tensor:
        mixed = self.numbers(numbers) + self.table(place).squeeze(1)
        return torch.where(night, -mixed, mixed)


class ManyOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(5, 4)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.body(rows)
        return hidden.softmax(1), hidden.argmax(1), hidden > 0


class Upsampler(nn.Module):
    """An image from an image, as in segmentation."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        small = nn.functional.leaky_relu(self.down(image))
        resized = nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
        return self.up(small) + resized[:, :2]


def _seeded(made: nn.Module) -> nn.Module:
    """Give batch normalisation statistics as training would leave them."""
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    return made.eval()


def perceptron() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1)
    return _seeded(nn.Sequential(*layers))


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    return _seeded(kind())


def saved(directory: Path, net: nn.Module, inputs: tuple[Any, ...], axes: Any = None) -> Path:
    """Export a net for any number of rows, or as ``axes`` says, and save it."""
    shapes = tuple({0: ROWS} for _ in inputs) if axes is None else axes
    program = torch.export.export(net, inputs, dynamic_shapes=shapes or None)
    path = directory / "net.pt2"
    torch.export.save(program, path)
    return path


def conv_net() -> nn.Module:
    return made(ConvNet)


# --- nets that no graph can stand for -------------------------------------------------------


class Counting(nn.Module):
    """Answers one row otherwise than many; exporting bakes one of both in."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows * 2 if rows.shape[0] == 1 else rows * 3


class Mixing(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows - rows.mean(0)


class Chance(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows + torch.randn_like(rows)


class Deciding(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows * 2 if rows.sum() > 0 else rows * 3


class TwoFaced(nn.Module):
    """Answers otherwise while it is exported."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows * 2 if torch.compiler.is_exporting() else rows * 3


class StateOut(nn.Module):
    """Returns the cells' state, whose first axis is the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(3, 4, batch_first=True)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out, (state, _) = self.cells(rows)
        return out, state


class Eigen(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(rows @ rows.transpose(1, 2))


def counting() -> nn.Module:
    return Counting()


def mixing() -> nn.Module:
    return Mixing()


def deciding() -> nn.Module:
    return Deciding()


def two_faced() -> nn.Module:
    return TwoFaced()


def no_module() -> str:
    return "a net"
