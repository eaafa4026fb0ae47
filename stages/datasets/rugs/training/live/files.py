"""Files of the store -> events in memory, their payloads read and forgotten."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.rugs.reading.store import DOCS, FOREIGN, Reader, Rows, files
from stages.datasets.rugs.training.live.messages import Message, read


def read_files(folder: str | Path) -> list[Message]:
    """Return the events of all files below a folder, in no order.

    Rows without session, number or time, and those of doc types without a use, are left out.

    Raises
    ------
    ExpectedError
        When there are no files, or one cannot be read.
    """
    root = Path(folder)
    paths = files(root) if root.is_dir() else []
    if not paths:
        raise ExpectedError(f"{root}: no Parquet files, expected those of an event store; correct the folder")
    reader, found = Reader(root), list[Message]()
    for rows in reader.pieces(paths):
        found += _messages(rows, list(reader.sessions), list(reader.games))
    for fault in reader.faults.values():
        raise ExpectedError(fault)
    return found


def _messages(rows: Rows, sessions: Sequence[str], games: Sequence[str]) -> list[Message]:
    docs = {code: name for name, code in DOCS.items()}
    found = list[Message]()
    for kind in np.unique(rows.kind[rows.kind != FOREIGN]).tolist():
        own = rows.take((rows.kind == kind) & (rows.session >= 0))
        columns = (own.session, own.game, own.seq, own.ts_ns, own.doc)
        envelopes = [
            {
                "session": sessions[session],
                "game_id": games[game] if game >= 0 else "",
                "seq": seq,
                "ts_ns": ts_ns,
                "doc_type": docs[doc],
            }
            for session, game, seq, ts_ns, doc in zip(*(column.tolist() for column in columns), strict=True)
        ]
        found += read(kind, own.raw.to_pylist(), envelopes)
    return found
