"""Market: CSV files of bars (open, high, low, close, volume) -> feature rows of which windows are views.

One unit is one calendar month (UTC) of one instrument, `NQ/2024-03`; one row of the arrays is one bar; one group is
the rows of one segment (bars without a hole) in one unit.

- `schema`: names of columns, how far features look back, the dataset's options; shared by all below.
- `reading`: `header`, `rows`, `times` and `zones` read the bytes of a CSV; `segments` puts bars in order.
- `find`: which units there are and which bytes each of them needs.
- `encode`: `bars` reads the bars of units with those that features look back to; `strategic`, `tactical` and `rolling`
  compute the features.
- `simulate`: seeded walks of prices in several dialects of CSV.
- `report`: figures of bars, gaps and windows.

README.md beside this file says more.
"""
