"""Hex: `.trmph` files of self-play games -> bit boards, the next move and the winner.

One unit is a piece of a file, 500 lines by default, keyed `worker_0/games.trmph:000000501` by its first line; one row
of the arrays is one position; one group is one game.

- `schema`: the board, who has joined his edges (`connection`), the dataset's options; shared by all below.
- `reading`: the key of a unit.
- `find`: which pieces the files are cut into.
- `encode`: `grammar`, `lines`, `rules` and `games` read and judge lines; `positions` and `identity` make the arrays.
- `simulate`: self-play that writes such files.
- `training`: the four symmetries of a position, for a trainer.
- `report`: figures of the board.

README.md beside this file says more.
"""
