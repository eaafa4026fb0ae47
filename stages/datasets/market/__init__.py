"""Market: CSV files of bars (open, high, low, close, volume) -> feature rows of which windows are views.

One unit is one calendar month (UTC) of one instrument, `NQ/2024-03`; one row of the arrays is one bar; one group is
the rows of one segment (bars without a hole) in one unit.

- `schema`: columns and their aliases, how far features look back, the dataset's options; shared by all below.
- `times`: the text of a time -> nanoseconds on the wall clock; `zones`: wall clock -> UTC.
- `rows`: the bytes of a CSV -> its rows with what is wrong with each.
- `segments`: rows -> bars in order, and where a segment begins.
- `find`: which units there are and which bytes each of them needs.
- `bars`: the bars of a chunk of units, own ones and those before that features look back to.
"""
