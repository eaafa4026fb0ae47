"""The masks of legal moves: a plain-Python oracle, and every label is in its mask."""

import random
from itertools import combinations

import numpy as np
import pytest

from stages.datasets.splendor import encode
from stages.datasets.splendor.find import find
from stages.datasets.splendor.schema import GEMS, HEADS, REMOVED_CLASSES, TAKE3_CLASSES
from tests.helpers.splendor_games import REFERENCE, Log, arrays_of, number, numbers, rows_of, simulated

GAMES = [(game_id, n_players) for n_players in (2, 3, 4) for game_id in range(40, 60)]


@pytest.fixture(scope="module")
def simulated_arrays(tmp_path_factory):
    contents = [simulated(*game) for game in GAMES]
    return arrays_of(tmp_path_factory.mktemp("raw"), *contents)


@pytest.fixture(scope="module")
def simulated_rows() -> Log:
    return [row for game in GAMES for row in rows_of(simulated(*game))]


def assert_masks_hold_labels(arrays):
    for head in HEADS:
        label, mask = arrays[f"label_{head}"], arrays[f"mask_{head}"]
        rows = np.flatnonzero(label >= 0)
        assert len(rows), head
        outside = rows[mask[rows, label[rows]] != 1]
        assert outside.tolist() == [], head


def test_masks_hold_every_label_of_simulated_games(simulated_arrays):
    """Head by head, gems_removed included: returning exactly the surplus is always in its marginal mask."""
    assert_masks_hold_labels(simulated_arrays)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference games are not beside the repository")
def test_masks_hold_every_label_of_real_games():
    """Head by head, gems_removed included."""
    raw_dir = REFERENCE / "games"
    assert_masks_hold_labels(encode.encode(encode.read(raw_dir, find(raw_dir, {}), {}), {}))


def test_returning_nothing_is_in_the_mask_even_where_tokens_must_be_returned(simulated_arrays, simulated_rows):
    """B19: the masks are marginal, so class 0 stays legal although no take is possible without a return."""
    held = np.array([sum(number(row[f"player0_gems_{gem}"]) for gem in GEMS) for row in simulated_rows])
    label = simulated_arrays["label_gems_removed"]
    is_take3 = simulated_arrays["label_action_type"] == 3
    is_compulsory = (held == 10) & is_take3
    assert is_compulsory.any()
    assert (label[is_compulsory] > 0).all()
    assert (simulated_arrays["mask_gems_removed"][:, 0] == 1).all()


def test_masks_hold_zeros_and_ones_and_some_action(simulated_arrays):
    for head, n_classes in HEADS.items():
        mask = simulated_arrays[f"mask_{head}"]
        assert mask.shape[1] == n_classes
        assert np.isin(mask, (0, 1)).all()
    assert simulated_arrays["mask_action_type"].any(1).all()


def hand_and_table(row):
    """Return the mover's view of a row: lists by colour, cards as (cost, bonus)."""

    def card(prefix):
        if not number(row[f"{prefix}_level"]):
            return None
        return numbers(row, f"{prefix}_cost"), numbers(row, f"{prefix}_bonus").index(1)

    return {
        "tokens": numbers(row, "player0_gems", GEMS),
        "bonuses": numbers(row, "player0_reduction"),
        "bank": numbers(row, "gems_board", GEMS),
        "visible": [found for slot in range(12) if (found := card(f"card{slot}"))],
        "reserved": [found for slot in range(3) if (found := card(f"player0_reserved{slot}"))],
        "decks": [number(row[f"deck_level{level}_remaining"]) for level in (1, 2, 3)],
        "nobles": [numbers(row, f"noble{k}_req") for k in range(5) if number(row[f"noble{k}_vp"])],
    }


def can_pay(view, card):
    lacking = [
        max(0, max(0, price - bonus) - held)
        for price, bonus, held in zip(card[0], view["bonuses"], view["tokens"], strict=False)
    ]
    return sum(lacking) <= view["tokens"][5]


def attracts(view, card, noble):
    owned = [bonus + (colour == card[1]) for colour, bonus in enumerate(view["bonuses"])]
    return all(have >= need for have, need in zip(owned, noble, strict=True))


def legal_takes(view, cards):
    """Return the classes of gem_take3 and the colours of gem_take2 that may be taken."""
    filled = [colour for colour in range(5) if view["bank"][colour] > 0]
    if sum(view["tokens"]) >= 10 and cards:
        return [], []
    combos = list(combinations(filled, min(3, len(filled)))) if filled else []
    return [TAKE3_CLASSES.index(combo) for combo in combos], [c for c in range(5) if view["bank"][c] >= 4]


def legal_returns(view, take3, take2, reserve_ok):
    tokens, total = view["tokens"], sum(view["tokens"])
    taken = [[int(gem in TAKE3_CLASSES[index]) for gem in range(6)] for index in take3]
    taken += [[2 * (gem == colour) for gem in range(6)] for colour in take2]
    result = {0}
    for vector in taken:
        hand = [held + new for held, new in zip(tokens, vector, strict=True)]
        result |= {
            index
            for index, returned in enumerate(REMOVED_CLASSES)
            if 0 < sum(returned) == sum(hand) - 10 and all(r <= h for r, h in zip(returned, hand, strict=True))
        }
    if reserve_ok and total == 10 and view["bank"][5] > 0:
        result |= {REMOVED_CLASSES.index(tuple(int(gem == i) for i in range(6))) for gem in range(6) if tokens[gem]}
    return result


def expected_masks(row):
    """Return per head the set of legal classes, from specs/splendor.md section 3."""
    view = hand_and_table(row)
    slots = {**dict(enumerate(view["visible"])), **dict(enumerate(view["reserved"], 12))}
    cards = {slot: card for slot, card in slots.items() if can_pay(view, card)}
    take3, take2 = legal_takes(view, cards)
    reserve_ok = not (take3 or take2 or cards) and len(view["reserved"]) < 3
    reserve_ok = reserve_ok and bool(view["visible"] or any(view["decks"]))
    reservations = {*range(len(view["visible"])), *(11 + level for level in (1, 2, 3) if view["decks"][level - 1])}
    actions = [bool(cards), reserve_ok, bool(take2), bool(take3)]
    return {
        "action_type": {index for index, is_legal in enumerate(actions) if is_legal},
        "card_selection": set(cards),
        "card_reservation": reservations if reserve_ok else set(),
        "gem_take3": set(take3),
        "gem_take2": set(take2),
        "noble": {k for k, n in enumerate(view["nobles"]) if any(attracts(view, c, n) for c in cards.values())},
        "gems_removed": legal_returns(view, take3, take2, reserve_ok),
    }


def test_masks_equal_the_oracle(simulated_arrays, simulated_rows):
    """300 random rows, all rows in which something is reserved or a noble comes, and some with a full hand."""
    chosen = set(random.Random(1).sample(range(len(simulated_rows)), 300))
    for index, row in enumerate(simulated_rows):
        if row["action_type"] == "reserve" or row["noble_selection"] != "-1":
            chosen.add(index)
    full = [i for i, row in enumerate(simulated_rows) if sum(number(row[f"player0_gems_{gem}"]) for gem in GEMS) >= 9]
    chosen |= set(full[::5])
    for index in sorted(chosen):
        expected = expected_masks(simulated_rows[index])
        found = {head: set(np.flatnonzero(simulated_arrays[f"mask_{head}"][index]).tolist()) for head in HEADS}
        assert found == expected, simulated_rows[index]["game_id"]
