"""Hex: `.trmph` files of self-play games -> bit boards, the next move and the winner.

One unit is a piece of a file, 500 lines by default, keyed `worker_0/games.trmph:000000501` by its first line; one row
of the arrays is one position; one group is one game.

- `schema`: the board, the dataset's options; shared by all below.
  - `grammar`: one line -> cells and winner, or why it is refused; `lines`: the same for many plain lines at once.
  - `connection`: who has joined his edges; `rules`: what is wrong with a game, and what is done about it.
  - `games`: the games of a chunk of units, with what was refused.
- `find`: which pieces the files are cut into.
"""
