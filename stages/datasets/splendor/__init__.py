"""Splendor: CSV logs of games -> features, seven label heads and their legal-action masks.

One unit is one CSV file, `{2,3,4}_games/<game id>.csv`: one game, one row per move (the position before the
move, and the move). One row of the arrays is one move; one group is one game.

- `schema`: the 403 CSV columns, the 90 cards, the 10 nobles and the class tables; shared by all below.
- `find`: where the games lie.
- `encode`: `parse` and `validate` read CSV bytes; `features`, `labels` and `masks` make the arrays.
- `simulate`: an independent rules engine with seeded players that writes such files.

README.md beside this file says more.
"""
