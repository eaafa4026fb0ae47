"""Play against a trained network: `make play`, in the terminal or for another program.

No stage of a pipeline reads this folder, so that an edit here makes no model stale. `game.py` holds a game, names and
draws what is in it, `opponent.py` chooses the network's moves, `htp.py` is the protocol of Hex programs, `person.py`
the talk with a person, `__main__.py` the command.
"""
