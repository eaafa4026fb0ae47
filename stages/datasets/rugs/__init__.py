"""Rugs: the Parquet event store of a recorder of a crash game -> steps and transitions of reinforcement learning.

One unit is one episode, all events of one game, keyed by its game id; one row of the arrays is one step, the first
frame of a tick; one group is one episode. `README.md` says how to use it and where each step lies.
"""
