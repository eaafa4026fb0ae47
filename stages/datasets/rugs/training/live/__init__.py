"""The use of one event at a time: observations of a live game, and training data of events in memory.

- `messages`: an event in any of its forms -> numbers; `state`: the state of a game, event by event;
- `observation`: `ObservationBuilder`, `Observation`;
- `episodes`, `table`: `EpisodeSegmenter`, `Episode`, and the table that `encode` reads;
- `presses`, `files`, `generator`: `TrainingDataGenerator`.

The builder is the only second implementation of what `encode` does: it needs each event once and knows nothing of those
to come, so that its equality with `encode`, step by step, shows that the arrays do not look ahead.
"""

from stages.datasets.rugs.training.live.episodes import Episode, EpisodeSegmenter
from stages.datasets.rugs.training.live.generator import TrainingDataGenerator
from stages.datasets.rugs.training.live.observation import Observation, ObservationBuilder

__all__ = ["Episode", "EpisodeSegmenter", "Observation", "ObservationBuilder", "TrainingDataGenerator"]
