"""The use of one event at a time: observations of a live game, and training data of events in memory.

- `messages`: an event in any of its forms -> numbers; `table`: events of episodes -> the table that `encode` reads;
- `moment`: the encoder's numbers after the last event; `observation`: `ObservationBuilder`, `Observation`;
- `episodes`: `EpisodeSegmenter`, `Episode`;
- `presses`, `files`, `generator`: `TrainingDataGenerator`.

There is one implementation of the formulas, that of `encode`: the builder calls it on the events of a game so far.
"""

from stages.datasets.rugs.training.live.episodes import Episode, EpisodeSegmenter
from stages.datasets.rugs.training.live.generator import TrainingDataGenerator
from stages.datasets.rugs.training.live.observation import Observation, ObservationBuilder

__all__ = ["Episode", "EpisodeSegmenter", "Observation", "ObservationBuilder", "TrainingDataGenerator"]
