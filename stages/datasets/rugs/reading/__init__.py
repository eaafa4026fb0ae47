"""What find and encode share of reading the store.

- `store`: Parquet files -> rows; `payload`: the JSON of a row -> a typed struct; `games`: the game that a row names.
- `order`: canonical order, duplicates, the owner of each row, pseudonyms of players.
"""
