"""A network over a window of bars: three convolutions with growing gaps, then the last bar beside the mean of all.

The convolutions see 3, 7 and 15 bars; the mean sees the whole window. 8 thousand weights for 13 columns.
"""

# mypy: disable-error-code="import-not-found, misc, no-any-return"

import torch
from torch import Tensor, nn

DILATIONS = (1, 2, 4)


class BarNet(nn.Module):
    """Forecasts of the bars after a window.

    Parameters
    ----------
    n_columns
        Of a bar.
    channels
        Of each convolution.
    dropout
        Share of what is forgotten before the last layer, in training.
    mean, scale
        float32 (2,): of return and log volatility in train. They are stored with the weights, so that a forecast is in
        the labels' own units wherever the weights are loaded.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_columns: int, channels: int, dropout: float, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        sizes = (n_columns, *[channels] * len(DILATIONS))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, channels, kernel_size=3, padding=dilation, dilation=dilation)
            for inputs, dilation in zip(sizes, DILATIONS, strict=False)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * channels, 2)
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())

    def forward(self, x: Tensor) -> Tensor:
        """Return log return and log volatility of the bars after windows (B, window, columns): (B, 2)."""
        hidden = x.transpose(1, 2)
        for convolution in self.convolutions:
            hidden = torch.relu(convolution(hidden))
        summary = torch.cat([hidden[:, :, -1], hidden.mean(dim=2)], dim=1)
        return self.head(self.dropout(summary)) * self.scale + self.mean
