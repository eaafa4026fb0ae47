"""What a trained model says of a raw file: `python -m stages.predict splendor 4_games/7.csv`.

A file goes the way that the pipeline goes, by the same functions, in a folder of its own that is removed afterwards:

- `raw_file`: where the file is, and a raw folder that holds nothing else;
- `arrays`: discover, process and merge of that folder, then the writers of split, with the normaliser of
  data/processed and windows wherever the file has one;
- `answers`: the loader's batches of these arrays, the model's answers, and the raw line of each;
- `__main__`: a table on a terminal, CSV elsewhere.
"""
