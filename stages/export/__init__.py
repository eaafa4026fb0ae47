"""Parts as Parquet files for other tools, plain or as a folder that `datasets.load_dataset` of Hugging Face opens.

`columns.py` says which columns there are and of what type, `shards.py` writes them to files in bounded memory,
`card.py` writes the README of a folder for Hugging Face, `command.py` puts it together.
"""
