"""One short game whose arrays were worked out by hand from its CSV, and small edits of it for the corrected faults.

golden/2_games/1.csv is a simulated game of 54 moves in dialect B. The rows used here, a card written as
level, bonus, points and cost W B G R K, the tokens W B G R K and gold:

row 0   seat 0, bank 444445; card0 1B0:01310, nobles 40004, 00044, 04400; takes W, G, K
row 3   seat 1, bank 242135; seat 0 holds 202110, seat 1 000200; card1 1R0:20020, card5 2R1:20023; takes W, R, K
row 8   seat 0, bank 000005; holds 323020 and can pay for nothing; reserves card0, returns one white
row 16  seat 0, bank 430405; holds 013010, bonuses 00110, reserved 1B0:01310; seat 1 has 1 vp, bonuses 11001
row 53  seat 1, bank 023145; 13 vp, holds 010000, bonuses 52133; builds card3 1K0:12110, noble 0 comes
"""

import hashlib

import numpy as np
import pytest

from stages.datasets.splendor import encode
from stages.datasets.splendor.find import find
from stages.datasets.splendor.schema import HEADS
from tests.helpers.splendor_games import (
    GOLDEN,
    arrays_of,
    card_values,
    column,
    content_of,
    no_card,
    rows_of,
    set_fields,
    simulated,
)

SHA256 = "c039c85767edc2b5717f0a61c60f3e2b571eacfc0ae59e2c6fcde4444c9ffc5d"
NOTHING_TAKEN = {f"gem_take{n}_{c}": "nan" for n in (2, 3) for c in ("white", "blue", "green", "red", "black")}
SOME_CARD = {1: ("red", 0, "20020"), 2: ("blue", 2, "53000"), 3: ("black", 5, "00073")}


@pytest.fixture(scope="module")
def golden():
    return encode.encode(encode.read(GOLDEN, find(GOLDEN, {}), {}), {})


@pytest.fixture(scope="module")
def log():
    """Return the golden game, to be edited, in the exporter's dialect."""
    return content_of(rows_of((GOLDEN / "2_games" / "1.csv").read_bytes()))


def assert_features(arrays, row, expected):
    assert {name: column(arrays, name)[row] for name in expected} == expected


def legal(arrays, row, head):
    return np.flatnonzero(arrays[f"mask_{head}"][row]).tolist()


def labels(arrays, row):
    """Return the heads that apply to a row."""
    found = {head: int(arrays[f"label_{head}"][row]) for head in HEADS}
    return {head: label for head, label in found.items() if label >= 0}


def test_empty_hands_at_the_start(golden):
    """Row 0: nobody has anything, all distances are costs and requirements, ranks go by seat."""
    expected = {"player0_card0_distance_white": 0, "player0_card0_distance_blue": 1, "player0_card0_distance_green": 3}
    expected |= {"player0_card0_distance_red": 1, "player0_card0_distance_total": 5, "player0_card0_can_build": 0}
    expected |= {"can_take2_white": 1, "tokens_left_if_take2_white": 2, "tokens_left_if_take1_white": 3}
    expected |= {"max_tokens_pile_white": 4, "maximum_takeable_this_turn_white": 2, "max_tokens_pile_gold": 5}
    expected |= {"player0_closest_noble_distance": 8, "player1_closest_noble_distance": 8}
    expected |= {"player2_closest_noble_distance": 0, "player2_vp_to_win": 0, "distance_to_end_game": 15}
    expected |= {f"player{seat}_leaderboard_position": seat for seat in range(4)}
    expected |= {f"player0_noble{k}_distance_total": total for k, total in enumerate([8, 8, 8, 0, 0])}
    assert_features(golden, 0, expected)
    assert legal(golden, 0, "action_type") == [2, 3]
    assert legal(golden, 0, "gem_take3") == list(range(16, 26))
    assert legal(golden, 0, "gem_take2") == [0, 1, 2, 3, 4]
    assert legal(golden, 0, "gems_removed") == [0]
    assert labels(golden, 0) == {"action_type": 3, "gem_take3": 20, "gems_removed": 0}


def test_seats_and_relative_players(golden):
    """Row 3: in raw columns player0 is the mover, seat 1; in strategic ones player0 is seat 0."""
    expected = {"player0_gems_red": 2, "player1_gems_white": 2, "player0_total_gems_possessed": 6}
    expected |= {"player1_total_gems_possessed": 2, "player1_total_gem_colors_possessed": 1}
    expected |= {"player0_card1_distance_red": 1, "player0_card1_distance_total": 1, "player0_card1_can_build": 0}
    expected |= {"player1_card5_distance_white": 2, "player1_card5_distance_red": 0, "player1_card5_distance_black": 3}
    expected |= {"player1_card5_distance_total": 5, "can_take2_blue": 1, "can_take2_black": 0}
    expected |= {"tokens_left_if_take2_blue": 2, "tokens_left_if_take2_red": 1, "tokens_left_if_take1_red": 0}
    expected |= {"maximum_takeable_this_turn_red": 1, "current_player_0": 0, "current_player_1": 1}
    expected |= {"player0_position_1": 1, "player1_position_0": 1, "player0_position_0": 0}
    assert_features(golden, 3, expected)
    assert legal(golden, 3, "gem_take2") == [1]
    assert labels(golden, 3) == {"action_type": 3, "gem_take3": 21, "gems_removed": 0}


def test_a_reservation_with_a_full_hand(golden):
    """Row 8: no token to take and nothing to build; the gold makes eleven, so one of W, B, G, K goes back."""
    assert legal(golden, 8, "action_type") == [1]
    assert legal(golden, 8, "card_reservation") == list(range(15))
    assert legal(golden, 8, "card_selection") == legal(golden, 8, "gem_take3") == legal(golden, 8, "noble") == []
    assert legal(golden, 8, "gems_removed") == [0, 4, 20, 35, 56]
    assert labels(golden, 8) == {"action_type": 1, "card_reservation": 0, "gems_removed": 56}
    after = {"player1_reserved0_cost_green": 3, "player1_reserved0_position": 12, "player0_num_reserved_cards": 1}
    assert_features(golden, 9, after | {"player1_gems_gold": 1, "player1_gems_white": 2, "gems_board_gold": 4})


def test_no_gold_is_taken_from_an_empty_bank(log, tmp_path):
    """Row 8 without gold in the bank: the reservation brings no eleventh token, so nothing need go back."""
    arrays = arrays_of(tmp_path, set_fields(log, 10, {"gems_board_gold": 0}))
    assert legal(arrays, 8, "action_type") == [1]
    assert legal(arrays, 8, "gems_removed") == [0]


def test_nothing_is_legal_when_nothing_can_be_done(log, tmp_path):
    """Row 8 with three reserved cards: no room for a fourth."""
    cards = [card_values(f"player0_reserved{slot}", 3, "black", 5, "00073") for slot in range(3)]
    arrays = arrays_of(tmp_path, set_fields(log, 10, cards[0] | cards[1] | cards[2]))
    assert {head: legal(arrays, 8, head) for head in HEADS} == {head: [] for head in HEADS} | {"gems_removed": [0]}


def test_an_empty_deck_cannot_be_drawn_from(log, tmp_path):
    """Row 8 with an empty deck of level 2 and a short level 1."""
    arrays = arrays_of(tmp_path, set_fields(log, 10, {"deck_level2_remaining": 0} | no_card("card3")))
    assert legal(arrays, 8, "card_reservation") == [*range(11), 12, 14]


def test_a_reserved_card_that_can_be_built(golden):
    """Row 16: 1B0:01310 less bonuses 00110 is 01200, and 013010 are in hand; no face-up card can be paid for."""
    assert legal(golden, 16, "card_selection") == [12]
    assert legal(golden, 16, "action_type") == [0, 2, 3]
    assert legal(golden, 16, "gem_take2") == [0, 3]
    assert legal(golden, 16, "gem_take3") == [17]
    assert labels(golden, 16) == {"action_type": 2, "gem_take2": 0, "gems_removed": 0}
    expected = {"player0_card12_can_build": 1, "player0_card12_must_use_gold": 0, "player0_card12_distance_total": 0}
    expected |= {"player1_card12_can_build": 0, "player1_card9_vp_if_buy": 5, "player0_card9_vp_if_buy": 4}
    expected |= {f"player0_noble{k}_distance_total": total for k, total in enumerate([8, 7, 7, 0, 0])}
    expected |= {"player0_closest_noble_distance": 7, "player1_closest_noble_distance": 6}
    expected |= {"player0_card12_closest_noble_distance_after_buy": 6, "player0_card12_nobles_after_buy": 0}
    expected |= {f"player{seat}_leaderboard_position": rank for seat, rank in enumerate([1, 0, 2, 3])}
    expected |= {"player0_num_cards_bought": 2, "player1_num_cards_bought": 3, "total_cards_bought": 5}
    expected |= {"player1_buying_capacity": 7, "distance_to_end_game": 14, "player0_vp_gap_to_leader": 1}
    assert_features(golden, 16, expected)


def test_the_move_that_ends_the_game(golden):
    """Row 53: black is the bonus that noble 40004 still lacks, so card3 is worth 13 + 0 + 3."""
    assert legal(golden, 53, "card_selection") == [0, 1, 3]
    assert legal(golden, 53, "noble") == [0]
    assert legal(golden, 53, "gem_take3") == [22, 23, 24, 25]
    assert legal(golden, 53, "gem_take2") == [4]
    assert labels(golden, 53) == {"action_type": 0, "card_selection": 3, "noble": 0, "gems_removed": 0}
    expected = {"player1_card3_vp_if_buy": 16, "player1_card3_nobles_after_buy": 1, "player1_card0_vp_if_buy": 13}
    expected |= {"player1_card3_closest_noble_distance_after_buy": 0, "player1_closest_noble_distance": 1}
    expected |= {"player1_card0_closest_noble_distance_after_buy": 1, "player1_noble0_distance_black": 1}
    expected |= {"player1_card2_distance_total": 1, "player1_card2_can_build": 0, "player1_card0_can_build": 1}
    expected |= {"player1_vp_to_win": 2, "player0_vp_to_win": 9, "player0_distance_to_max_vp": 7}
    expected |= {"player2_distance_to_max_vp": 13, "max_vp_among_players": 13, "distance_to_end_game": 2}
    assert_features(golden, 53, expected)


def test_arrays_have_not_changed(golden):
    """A guard for all values, most of which no other line here looks at: a change must be meant, and then said."""
    digest = hashlib.sha256()
    for name in encode.FIELDS:
        digest.update(name.encode() + golden[name].tobytes())
    assert digest.hexdigest() == SHA256


def test_gold_pays_for_what_is_missing(log, tmp_path):
    """Row 16 with a gold in place of the blue: the reserved card now needs it."""
    edited = set_fields(log, 18, {"player0_gems_blue": 0, "player0_gems_gold": 1})
    expected = {"player0_card12_can_build": 1, "player0_card12_must_use_gold": 1, "player0_card12_distance_total": 1}
    assert_features(arrays_of(tmp_path, edited), 16, expected | {"player0_card12_distance_blue": 1})


def test_a_short_row_moves_cards_to_the_front(log, tmp_path):
    """Row 16 without slots 2, 3 and 7: nine cards, then at once the reserved card, which stays class 12."""
    edited = set_fields(log, 18, no_card("card2") | no_card("card3") | no_card("card7"))
    arrays = arrays_of(tmp_path, edited)
    expected = {"card1_level": 1, "card2_level": 2, "card2_cost_white": 5, "card5_level": 3, "card9_level": 0}
    expected |= {"card8_position": 8, "card9_position": -1, "card8_cost_red": 7, "player0_reserved0_position": 12}
    expected |= {"player0_card9_can_build": 1, "player0_card9_closest_noble_distance_after_buy": 6}
    expected |= {"player0_card12_can_build": 0, "player1_card9_distance_total": 0, "player1_card9_vp_if_buy": 0}
    assert_features(arrays, 16, expected)
    assert legal(arrays, 16, "card_selection") == [12]


def test_absent_nobles_count_for_nothing(log, tmp_path):
    """Row 16 without nobles: no distance, none acquirable."""
    gone = {f"noble{k}_{part}": "nan" for k in range(3) for part in ("vp", *(f"req_{c}" for c in colours()))}
    expected = {"player0_closest_noble_distance": 0, "player0_nobles_acquirable_count": 0, "noble0_req_white": 0}
    expected |= {"player0_noble0_acquirable": 0, "player0_card12_nobles_after_buy": 0, "player0_card12_vp_if_buy": 0}
    expected |= {"player1_card9_closest_noble_distance_after_buy": 0, "player1_noble0_distance_total": 0}
    arrays = arrays_of(tmp_path, set_fields(log, 18, gone))
    assert_features(arrays, 16, expected)
    assert legal(arrays, 16, "noble") == []


def colours():
    return [name.removeprefix("gem_take2_") for name in NOTHING_TAKEN if name.startswith("gem_take2_")]


@pytest.mark.parametrize(("game", "absent"), [((52, 2), (2, 3)), ((58, 3), (3,)), ((58, 4), ())])
def test_only_absent_players_have_no_position(game, absent, tmp_path):
    """B6: one of the four columns is set for a player who is there, none otherwise."""
    arrays = arrays_of(tmp_path, simulated(*game))
    for player in range(4):
        total = np.sum([column(arrays, f"player{player}_position_{seat}") for seat in range(4)], axis=0)
        assert set(total.tolist()) == {int(player not in absent)}


def test_nobles_are_counted_from_the_row_after_the_visit_and_for_each_game_anew(log, tmp_path):
    """B4: two visits to seat 0 and one to seat 1, in games of one chunk."""
    builds = [i for i, row in enumerate(rows_of(log)) if row["action_type"] == "build"]
    by_seat = [[i for i in builds if i % 2 == seat] for seat in (0, 1)]
    visits = sorted([*by_seat[0][:2], by_seat[1][0]])
    edited = log
    for row in visits:
        edited = set_fields(edited, row + 2, {"noble_selection": 0})
    arrays = arrays_of(tmp_path, edited, edited)
    for seat in range(4):
        expected = [sum(v < row and v % 2 == seat for v in visits) for row in range(54)]
        assert column(arrays, f"player{seat}_num_nobles_acquired") == expected * 2
    assert column(arrays, "player0_num_nobles_acquired")[53] == 2


def reserving(log, row, written, newest=None, held=(), n_players=2):
    """Make the move of a row a reservation, and the mover's last reserved card in the next row `newest`."""
    move = {"action_type": "reserve", "card_selection": "nan", "card_reservation": written, "noble_selection": -1}
    edited = set_fields(log, row + 2, move | NOTHING_TAKEN)
    for slot, level in enumerate(held):
        edited = set_fields(edited, row + 2, card_values(f"player0_reserved{slot}", level, *SOME_CARD[level]))
    for slot, level in enumerate([*held, newest] if newest else []):
        prefix = f"player{n_players - 1}_reserved{slot}"
        edited = set_fields(edited, row + 3, card_values(prefix, level, *SOME_CARD[level]))
    return edited


BLIND = [(11, 1, 12), (12, 2, 13), (13, 3, 14), (12, 1, 12), (13, 2, 13), (14, 3, 14)]


@pytest.mark.parametrize(("written", "level", "expected"), BLIND)
@pytest.mark.parametrize("held", [(), (3,), (2, 1)])
def test_a_blind_reservation_has_the_class_of_the_level_drawn(log, tmp_path, written, level, expected, held):
    """B1: the old exporter's 11..13 and the right 12..14, told apart by the newest card of the next row."""
    arrays = arrays_of(tmp_path, reserving(log, 4, written, level, held))
    assert labels(arrays, 4)["card_reservation"] == expected


@pytest.mark.parametrize(("written", "level", "expected"), BLIND)
def test_the_reserved_card_is_found_with_three_players(tmp_path, written, level, expected):
    edited = reserving(simulated(15, 3), 5, written, level, n_players=3)
    assert labels(arrays_of(tmp_path, edited), 5)["card_reservation"] == expected


def test_the_last_of_twelve_face_up_cards_is_told_from_a_draw(log, tmp_path):
    """B1: 11 is the face-up card when that card (3K5:00073 here) is in the next row, else the deck of level 1."""
    arrays = arrays_of(tmp_path, reserving(log, 4, 11, 3), reserving(log, 4, 11, 1))
    assert arrays["label_card_reservation"][[4, 58]].tolist() == [11, 12]


def test_eleven_is_a_draw_where_a_row_is_short(log, tmp_path):
    """B1: with fewer than twelve face-up cards, 11 names none of them, also in the last row."""
    middle = set_fields(reserving(log, 4, 11, 1), 6, no_card("card11"))
    last = set_fields(reserving(log, 53, 11), 55, no_card("card3"))
    assert labels(arrays_of(tmp_path, middle), 4)["card_reservation"] == 12
    assert labels(arrays_of(tmp_path, last), 53)["card_reservation"] == 12


@pytest.mark.parametrize(("written", "expected"), [(0, 0), (10, 10), (11, 11), (12, 13), (13, 14), (14, 14)])
def test_in_the_last_row_the_old_exporters_numbers_hold(log, tmp_path, written, expected):
    """B1: no next row tells what was drawn; that of another game in the chunk must not be asked."""
    other = set_fields(log, 2, card_values("player1_reserved0", 1, *SOME_CARD[1]))
    arrays = arrays_of(tmp_path, reserving(log, 53, written), other)
    assert labels(arrays, 53)["card_reservation"] == expected
