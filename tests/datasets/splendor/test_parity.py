"""The arrays of 60 real games equal those of the earlier system, but for the faults corrected on purpose.

The exempted columns (specs/splendor.md section 9: B1, B4, B6) are each compared with their own rule, written here in
plain Python over the CSV rows.
"""

import json
from itertools import pairwise

import numpy as np
import pytest

from stages.datasets.splendor import encode
from stages.datasets.splendor.find import find
from stages.datasets.splendor.schema import ACTION_TYPES, COLOURS, HEADS, RAW_COLUMNS, REMOVED_CLASSES, TAKE3_CLASSES
from stages.splitting.moments import EXACT_ROWS, Moments
from tests.helpers.splendor_games import CARD_PARTS, REFERENCE, is_missing, number, rows_of

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference games are not beside the repository")

NOBLES_ACQUIRED = [f"player{seat}_num_nobles_acquired" for seat in range(4)]
CARDS_BOUGHT = [*(f"player{seat}_num_cards_bought" for seat in range(4)), "total_cards_bought"]
FIRST_POSITION = [f"player{player}_position_0" for player in range(4)]
EXEMPT = [*NOBLES_ACQUIRED, *CARDS_BOUGHT, *FIRST_POSITION]
FIRST_EXEMPT_RESERVATION = 11


def read_json(name):
    return json.loads((REFERENCE / name).read_text())


@pytest.fixture(scope="module")
def names():
    return read_json("names.json")


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE / "reference.npz") as arrays:
        return {name: arrays[name] for name in arrays}


@pytest.fixture(scope="module")
def arrays(names):
    units = {unit.key: unit for unit in find(REFERENCE / "games", {})}
    assert set(units) == set(names["files"])
    return encode.encode(encode.read(REFERENCE / "games", [units[file] for file in names["files"]], {}), {})


@pytest.fixture(scope="module")
def logs(names):
    return [rows_of((REFERENCE / "games" / file).read_bytes()) for file in names["files"]]


def columns(arrays, names, wanted):
    return arrays["X"][:, [names["X_columns"].index(name) for name in wanted]]


def test_raw_columns_are_those_of_the_logs():
    assert list(RAW_COLUMNS) == read_json("raw_columns.json")


def test_feature_names_and_their_order_are_the_references(names):
    assert list(encode.FIELDS["X"].names) == names["X_columns"]


def test_normalised_columns_are_the_references(reference):
    assert list(encode.FIELDS["X"].normalise) == reference["norm_mask"].tolist()


def test_class_tables_are_the_references(names):
    mappings = read_json("label_mappings.json")
    assert {name: index for index, name in enumerate(ACTION_TYPES)} == mappings["action_type"]
    take3 = {str(index): [COLOURS[c] for c in chosen] for index, chosen in enumerate(TAKE3_CLASSES)}
    assert take3 == mappings["gem_take3_classes"]
    assert {str(index): list(tokens) for index, tokens in enumerate(REMOVED_CLASSES)} == mappings["gem_removal_classes"]
    assert list(HEADS) == names["heads"]


def test_every_feature_but_the_corrected_ones_equals_the_reference(arrays, reference, names):
    assert len(EXEMPT) == 13
    compared = ~np.isin(names["X_columns"], EXEMPT)
    different = (arrays["X"] != reference["X"])[:, compared].any(0)
    assert np.array(names["X_columns"])[compared][different].tolist() == []


@pytest.mark.parametrize("head", [head for head in HEADS if head != "card_reservation"])
def test_labels_and_masks_equal_the_reference(arrays, reference, head):
    np.testing.assert_array_equal(arrays[f"label_{head}"], reference[f"label_{head}"])
    np.testing.assert_array_equal(arrays[f"mask_{head}"], reference[f"mask_{head}"])


@pytest.mark.parametrize("key", ["game_id", "turn_number", "current_player", "row_in_game"])
def test_keys_equal_the_reference(arrays, reference, key):
    np.testing.assert_array_equal(arrays[key], reference[key])


def test_groups_are_the_games_in_file_order(arrays, logs):
    sizes = [len(log) for log in logs]
    assert arrays["group_offsets"].tolist() == [0, *np.cumsum(sizes).tolist()]
    assert arrays["source"].tolist() == list(range(60))
    assert len(set(arrays["group_id"].tolist())) == 60


def test_nobles_acquired_counts_earlier_visits_to_the_seat(arrays, logs, names):
    """B4: the original wrote 0."""
    expected = []
    for log in logs:
        acquired = [0, 0, 0, 0]
        for row in log:
            expected.append(list(acquired))
            if int(row["noble_selection"]) >= 0:
                acquired[int(row["current_player"])] += 1
    assert columns(arrays, names, NOBLES_ACQUIRED).tolist() == expected
    assert np.max(expected) >= 2


def test_cards_bought_is_the_sum_of_bonuses(arrays, logs, names):
    """B4: the original wrote 0; every card bought gives one bonus."""
    expected = []
    for row in (row for log in logs for row in log):
        bought = [0, 0, 0, 0]
        for relative in range(int(row["num_players"])):
            seat = int(row[f"player{relative}_position"])
            bought[seat] = sum(int(row[f"player{relative}_reduction_{colour}"]) for colour in COLOURS)
        expected.append([*bought, sum(bought)])
    assert columns(arrays, names, CARDS_BOUGHT).tolist() == expected


def test_absent_players_have_no_position(arrays, logs, names):
    """B6: the original filled the missing position with 0 and set position_0."""
    rows = [row for log in logs for row in log]
    expected = [[int(row[f"player{player}_position"] == "0") for player in range(4)] for row in rows]
    assert columns(arrays, names, FIRST_POSITION).tolist() == expected


def test_the_reference_has_the_faults_that_exempt_its_columns(reference, names):
    """Otherwise the exemptions would hide something."""
    assert not columns(reference, names, [*NOBLES_ACQUIRED, *CARDS_BOUGHT]).any()
    is_two_player = reference["num_players"] == 2
    assert (columns(reference, names, FIRST_POSITION[2:])[is_two_player] == 1).all()
    assert not reference["mask_card_reservation"][:, 14].any()


def card_of(row, prefix):
    return [row[f"{prefix}_{part}"] for part in CARD_PARTS]


def repaired_reservation(log, index):
    """Apply the repair rule, which looks at the mover's own next position."""
    row = log[index]
    if is_missing(row["card_reservation"]):
        return -1
    written = int(row["card_reservation"])
    if written != 11:
        return {12: 13, 13: 14}.get(written, written)
    following = log[index + int(row["num_players"])]
    newest = [f"player0_reserved{r}" for r in range(3) if not is_missing(following[f"player0_reserved{r}_level"])][-1]
    is_short = any(is_missing(row[f"card{slot}_level"]) for slot in range(12))
    return 12 if is_short or card_of(following, newest) != card_of(row, "card11") else 11


def test_blind_reservations_have_the_class_of_their_deck(arrays, reference, logs):
    """B1: the original wrote 10 + L for the deck of level L, now 11 + L."""
    expected = [repaired_reservation(log, index) for log in logs for index in range(len(log))]
    assert arrays["label_card_reservation"].tolist() == expected
    old = reference["label_card_reservation"]
    is_card = old < FIRST_EXEMPT_RESERVATION
    np.testing.assert_array_equal(arrays["label_card_reservation"][is_card], old[is_card])
    blind = [label for label in expected if label > 10]
    assert [blind.count(label) for label in (11, 12, 13, 14)] == [4, 0, 0, 1]


def test_reservation_mask_has_the_classes_of_the_decks(arrays, reference, logs):
    """B1: classes 11..14 by rule, the others as in the reference."""
    mask = arrays["mask_card_reservation"]
    np.testing.assert_array_equal(mask[:, :11], reference["mask_card_reservation"][:, :11])
    rows = [row for log in logs for row in log]
    for row, is_legal, found in zip(rows, reference["mask_action_type"][:, 1], mask[:, 11:].tolist(), strict=True):
        has_twelve = not any(is_missing(row[f"card{slot}_level"]) for slot in range(12))
        decks = [number(row[f"deck_level{level}_remaining"]) > 0 for level in (1, 2, 3)]
        assert found == [int(is_legal and there) for there in (has_twelve, *decks)]


def test_moments_of_the_train_rows_are_the_reference_scalers(arrays, reference, names):
    """Exact in chunks of at most 1,024 rows; the corrected columns stand in for the reference's by its own values."""
    x = arrays["X"].copy()
    exempt = np.isin(names["X_columns"], EXEMPT)
    x[:, exempt] = reference["X"][:, exempt]
    train = x[reference["split"] == 0]
    moments = Moments((train.shape[1],), train.dtype, EXACT_ROWS)
    for first, stop in pairwise([0, 1, 1000, *range(2024, len(train), EXACT_ROWS), len(train)]):
        moments.add(train[first:stop])
    normalise = reference["norm_mask"]
    mean, variance = moments.mean()[normalise], moments.std()[normalise] ** 2
    np.testing.assert_allclose(mean, reference["scaler_mean"], rtol=1e-12, atol=0)
    np.testing.assert_allclose(variance, reference["scaler_var"], rtol=1e-12, atol=0)
    assert (reference["scaler_var"] == 0).any()


def test_the_three_dialects_give_the_same_bytes():
    """A (CRLF, nan), B (LF, empty) and C (LF, empty, 1.0) of the same three games."""
    results = []
    for dialect in "ABC":
        raw_dir = REFERENCE / "dialects" / dialect
        units = find(raw_dir, {})
        assert len(units) == 3
        results.append(encode.encode(encode.read(raw_dir, units, {}), {}))
    for other in results[1:]:
        assert {name: array.tobytes() for name, array in other.items()} == {
            name: array.tobytes() for name, array in results[0].items()
        }
