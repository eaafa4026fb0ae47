"""The features of a position against a plain-Python oracle, and the independence of games within a chunk.

The oracle follows specs/splendor.md section 4 with B4 and B6 corrected; it needs no reference data.
"""

import random
from collections import Counter

import numpy as np
import pytest

from stages.datasets.splendor import encode
from stages.datasets.splendor.encode.columns import NAMES
from stages.datasets.splendor.schema import COLOURS, GEMS, RAW_COLUMNS, TOKENS_PER_COLOUR
from tests.helpers.splendor_games import CARD_PARTS, arrays_of, number, numbers, read, rows_of, simulated

GAMES = [(12, 2), (49, 2), (15, 3), (58, 3), (59, 3), (33, 4), (58, 4)]
GROUP_ARRAYS = ("group_id", "group_offsets", "source")
STRATEGIC_COLLISIONS = {*(f"player{p}_vp" for p in range(4)), *(f"deck_level{level}_remaining" for level in (1, 2, 3))}


def card(row, prefix):
    return {part: number(row[f"{prefix}_{part}"]) for part in CARD_PARTS}


def five(found, part):
    """Return the five values of a card that `card` found."""
    return [found[f"{part}_{colour}"] for colour in COLOURS]


def seat_of(row, relative):
    """Return a player's state; `relative` counts from the player to move."""
    name = f"player{relative}"
    reserved = [card(row, f"{name}_reserved{slot}") for slot in range(3)]
    return {
        "vp": number(row[f"{name}_vp"]),
        "tokens": numbers(row, f"{name}_gems"),
        "gold": number(row[f"{name}_gems_gold"]),
        "bonuses": numbers(row, f"{name}_reduction"),
        "reserved": [found for found in reserved if found["level"]],
    }


NOBODY = {"vp": 0, "tokens": [0] * 5, "gold": 0, "bonuses": [0] * 5, "reserved": []}


def lacking(needed, *owned):
    """Return per colour what is missing of `needed` after each of the `owned` is used up."""
    for have in owned:
        needed = [max(0, need - part) for need, part in zip(needed, have, strict=True)]
    return needed


def ranks(values):
    order = sorted(range(4), key=lambda seat: (-values[seat], seat))
    return [order.index(seat) for seat in range(4)]


def raw_features(row, visible):
    """Return the raw columns and the positions of the cards."""
    features = {name: number(row[name]) for name in RAW_COLUMNS[4:383] if not name.endswith("_position")}
    nothing = dict.fromkeys(CARD_PARTS, 0)
    for slot, found in enumerate([*visible, *[nothing] * (12 - len(visible))]):
        features |= {f"card{slot}_{part}": value for part, value in found.items()}
        features[f"card{slot}_position"] = slot if slot < len(visible) else -1
    for p in range(4):
        for r in range(3):
            name = f"player{p}_reserved{r}"
            features[f"{name}_position"] = 12 + r if number(row[f"{name}_level"]) else -1
    return features


def token_features(row):
    features = {"max_tokens_pile_gold": 5}
    for colour in COLOURS:
        bank = number(row[f"gems_board_{colour}"])
        features[f"can_take2_{colour}"] = int(bank >= 4)
        features[f"tokens_left_if_take2_{colour}"] = bank - 2 if bank >= 4 else bank
        features[f"tokens_left_if_take1_{colour}"] = max(0, bank - 1)
        features[f"max_tokens_pile_{colour}"] = TOKENS_PER_COLOUR[int(row["num_players"])]
        features[f"maximum_takeable_this_turn_{colour}"] = min(2, bank)
    return features


def card_features(prefix, seat, found, nobles):
    """Return what one card would cost and bring one seat; `found` is None for an empty place."""
    names = ["can_build", "must_use_gold", *(f"distance_{c}" for c in COLOURS), "distance_total", "vp_if_buy"]
    names += ["nobles_after_buy", "closest_noble_distance_after_buy"]
    if found is None:
        return {f"{prefix}_{name}": 0 for name in names}
    short = lacking(five(found, "cost"), seat["bonuses"], seat["tokens"])
    after = [have + bonus for have, bonus in zip(seat["bonuses"], five(found, "bonus"), strict=True)]
    distances = [sum(lacking(noble, after)) for noble in nobles]
    can_build = sum(short) <= seat["gold"]
    values = [can_build, can_build and sum(short) > 0, *short, sum(short)]
    values += [seat["vp"] + found["vp"] + 3 * (0 in distances), distances.count(0), min(distances, default=0)]
    return {f"{prefix}_{name}": int(value) for name, value in zip(names, values, strict=True)}


def noble_features(prefix, seat, nobles, is_there):
    features, totals = {}, []
    for k in range(5):
        exists = is_there and k < len(nobles)
        distance = lacking(nobles[k], seat["bonuses"]) if exists else [0] * 5
        totals += [sum(distance)] if exists else []
        features |= {f"{prefix}_noble{k}_distance_{c}": value for c, value in zip(COLOURS, distance, strict=True)}
        features[f"{prefix}_noble{k}_distance_total"] = sum(distance)
        features[f"{prefix}_noble{k}_acquirable"] = int(exists and sum(distance) == 0)
    features[f"{prefix}_closest_noble_distance"] = min(totals, default=0)
    features[f"{prefix}_nobles_acquirable_count"] = totals.count(0)
    return features


def comparison_features(seats, n_players, nobles_acquired):
    vps, bonuses = [seat["vp"] for seat in seats], [sum(seat["bonuses"]) for seat in seats]
    features = {
        "max_vp_among_players": max(vps),
        "max_gems_reduction_among_players": max(bonuses),
        "distance_to_end_game": 15 - max(vps),
        "total_cards_bought": sum(bonuses),
    }
    for p, seat in enumerate(seats):
        values = {
            "total_gems_reduction": bonuses[p],
            "buying_capacity": sum(seat["tokens"]) + bonuses[p],
            "total_gems_possessed": sum(seat["tokens"]) + seat["gold"],
            "total_gem_colors_possessed": 5 - seat["tokens"].count(0),
            "num_reserved_cards": len(seat["reserved"]),
            "num_nobles_acquired": nobles_acquired[p],
            "num_cards_bought": bonuses[p],
            "distance_to_max_vp": max(vps) - vps[p],
            "vp_gap_to_leader": max(vps) - vps[p],
            "leaderboard_position": ranks(vps)[p],
            "gems_reduction_leaderboard_position": ranks(bonuses)[p],
            "vp_to_win": 15 - vps[p] if p < n_players else 0,
        }
        features |= {f"player{p}_{name}": value for name, value in values.items()}
    return features


def one_hot_features(row):
    features = {f"current_player_{seat}": int(row["current_player"] == str(seat)) for seat in range(4)}
    features |= {f"num_players_{count}": int(row["num_players"] == str(count)) for count in (2, 3, 4)}
    for p in range(4):
        features |= {f"player{p}_position_{seat}": int(row[f"player{p}_position"] == str(seat)) for seat in range(4)}
    return features


def oracle(row, nobles_acquired):
    """Return the 1,308 features of a row by name."""
    n_players, current = int(row["num_players"]), int(row["current_player"])
    seats = [seat_of(row, (p - current) % n_players) if p < n_players else NOBODY for p in range(4)]
    visible = [found for slot in range(12) if (found := card(row, f"card{slot}"))["level"]]
    nobles = [numbers(row, f"noble{k}_req") for k in range(5) if number(row[f"noble{k}_vp"])]
    features = raw_features(row, visible) | token_features(row) | one_hot_features(row)
    for p, seat in enumerate(seats):
        cards = [*visible, *seat["reserved"]] if p < n_players else []
        for j in range(15):
            features |= card_features(f"player{p}_card{j}", seat, cards[j] if j < len(cards) else None, nobles)
        features |= noble_features(f"player{p}", seat, nobles, p < n_players)
    return features | comparison_features(seats, n_players, nobles_acquired)


def nobles_before_each_row(log):
    acquired = Counter()
    for row in log:
        yield [acquired[str(seat)] for seat in range(4)]
        acquired[row["current_player"]] += int(row["noble_selection"]) >= 0


@pytest.fixture(scope="module")
def chunk(tmp_path_factory):
    return arrays_of(tmp_path_factory.mktemp("raw"), *(simulated(*game) for game in GAMES))


@pytest.fixture(scope="module")
def positions():
    """Return (row, nobles acquired before it) for every row of the chunk."""
    logs = [rows_of(simulated(*game)) for game in GAMES]
    return [pair for log in logs for pair in zip(log, nobles_before_each_row(log), strict=True)]


def is_short(row):
    return any(number(row[f"card{slot}_level"]) == 0 for slot in range(12))


def test_oracle_has_every_feature_once(positions):
    assert set(oracle(*positions[0])) == set(NAMES)
    assert len(NAMES) == len(set(NAMES)) == 1308
    assert set(NAMES) >= STRATEGIC_COLLISIONS


def test_features_equal_the_oracle(chunk, positions):
    """A game's last rows, 100 random rows, and rows with short levels, reserved cards or a noble about to come."""
    rng = random.Random(3)
    chosen = {*rng.sample(range(len(positions)), 100), *(chunk["group_offsets"][1:] - 1).tolist()}
    short = [i for i, (row, _) in enumerate(positions) if is_short(row)]
    holding = [i for i, (row, _) in enumerate(positions) if number(row["player0_reserved0_level"])]
    both = sorted(set(short) & set(holding))
    assert short
    assert both
    chosen |= {*short[::4], *holding[::6], *both[:6]}
    for index in sorted(chosen):
        expected = oracle(*positions[index])
        found = dict(zip(NAMES, chunk["X"][index].tolist(), strict=True))
        different = {name: (found[name], expected[name]) for name in NAMES if found[name] != expected[name]}
        assert different == {}, (positions[index][0]["game_id"], index)


def test_features_fit_int8(positions):
    """The oracle's numbers have no width; none of them would wrap around."""
    values = [value for row, acquired in positions[::25] for value in oracle(row, acquired).values()]
    assert min(values) >= -128
    assert max(values) <= 127


def test_arrays_are_as_their_fields_say(chunk):
    n_rows = int(chunk["group_offsets"][-1])
    assert set(chunk) == {*encode.FIELDS, *GROUP_ARRAYS}
    for name, field in encode.FIELDS.items():
        assert chunk[name].dtype == field.dtype, name
        assert chunk[name].shape == (n_rows, *field.shape), name
        if field.names and field.shape:
            assert len(field.names) == field.shape[-1], name


def test_a_chunk_is_its_games_one_after_another(chunk, tmp_path):
    """The bytes of a game do not depend on which games share its chunk."""
    alone = [arrays_of(tmp_path, simulated(*game)) for game in GAMES]
    for name in encode.FIELDS:
        assert np.concatenate([arrays[name] for arrays in alone]).tobytes() == chunk[name].tobytes(), name
    assert chunk["group_id"].tolist() == [arrays["group_id"][0] for arrays in alone]
    sizes = [len(arrays["X"]) for arrays in alone]
    assert chunk["group_offsets"].tolist() == np.cumsum([0, *sizes]).tolist()
    assert chunk["source"].tolist() == list(range(len(GAMES)))


def test_the_order_of_a_chunk_is_that_of_its_units(chunk, tmp_path):
    backwards = arrays_of(tmp_path, *(simulated(*game) for game in reversed(GAMES)))
    assert backwards["group_id"].tolist() == chunk["group_id"].tolist()[::-1]
    last = chunk["group_offsets"][-2]
    np.testing.assert_array_equal(backwards["X"][: len(chunk["X"]) - last], chunk["X"][last:])


def test_encoding_leaves_the_table_as_it_is(tmp_path):
    table = read(tmp_path, simulated(58, 4))
    before = table.values.tobytes()
    encode.encode(table, {})
    assert table.values.tobytes() == before


def test_keys_say_game_round_seat_and_move(chunk, positions):
    assert chunk["game_id"].tolist() == [int(row["game_id"]) for row, _ in positions]
    assert chunk["turn_number"].tolist() == [int(row["turn_number"]) for row, _ in positions]
    assert chunk["current_player"].tolist() == [int(row["current_player"]) for row, _ in positions]
    expected = [i for start, stop in zip(*offsets(chunk), strict=True) for i in range(stop - start)]
    assert chunk["row_in_game"].tolist() == expected


def offsets(arrays):
    return arrays["group_offsets"][:-1].tolist(), arrays["group_offsets"][1:].tolist()


def test_a_row_names_its_line():
    """Row 0 is below the header, which is line 1."""
    assert [encode.line(0), encode.line(41)] == [2, 43]


def test_labels_are_the_moves(chunk, positions):
    """Heads that need no repair, from the text of the row."""
    tokens = [tuple(number(row[f"gems_removed_{gem}"]) for gem in GEMS) for row, _ in positions]
    names = encode.FIELDS["label_gems_removed"].names
    assert [names[label] for label in chunk["label_gems_removed"]] == [" ".join(map(str, six)) for six in tokens]
    taken = [" ".join(c for c in COLOURS if number(row[f"gem_take3_{c}"])) for row, _ in positions]
    names = encode.FIELDS["label_gem_take3"].names
    assert [names[label] if label >= 0 else "" for label in chunk["label_gem_take3"]] == taken
    doubled = [[i for i, c in enumerate(COLOURS) if number(row[f"gem_take2_{c}"]) == 2] for row, _ in positions]
    assert [[label] if label >= 0 else [] for label in chunk["label_gem_take2"]] == doubled
    names = encode.FIELDS["label_action_type"].names
    assert [names[label] for label in chunk["label_action_type"]] == [row["action_type"] for row, _ in positions]
    built = [number(row["card_selection"]) if row["card_selection"] != "nan" else -1 for row, _ in positions]
    assert chunk["label_card_selection"].tolist() == built
    assert chunk["label_noble"].tolist() == [int(row["noble_selection"]) for row, _ in positions]
