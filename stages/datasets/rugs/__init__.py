"""Rugs: the Parquet event store of a recorder of a crash game -> steps and transitions of reinforcement learning.

One unit is one episode, all events of one game, keyed by its game id; one row of the arrays is one step, the first
frame of a tick; one group is one episode.

- `schema`: names, the dataset's options, and what `find` and `encode` share of the reading of the store.
- `find`: which episodes the store holds, and which files each of them needs.
- `encode`: events -> steps, all of a chunk at once.
- `streaming`: the same, an event at a time.
- `transitions`: pairs of steps from the arrays; `features`: groups of features, and which a policy should see.
- `export`: Minari and D4RL.
- `simulate`: a store without anybody's data.
"""
