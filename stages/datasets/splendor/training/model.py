"""The network: a position's columns through two wide layers into one linear head for each part of a move."""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Sequence

from torch import Tensor, nn

from stages.datasets.splendor.schema import HEADS


class MoveNet(nn.Module):
    """A multi-layer perceptron with a head a label.

    Parameters
    ----------
    n_columns
        Of a position.
    widths
        Of the hidden layers, the first one first.
    dropout
        Share of a hidden layer that is left out in training.
    """

    def __init__(self, n_columns: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in zip((n_columns, *widths), widths, strict=False):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({head: nn.Linear(widths[-1], n_classes) for head, n_classes in HEADS.items()})

    def forward(self, columns: Tensor) -> dict[str, Tensor]:
        """Return logits of each head, (n, classes), for positions float32 (n, columns)."""
        seen = self.trunk(columns)
        return {head: layer(seen) for head, layer in self.heads.items()}
