"""Which stored rows of a sweep are shown beside which others, and what is said of those that are not."""

import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.sweep import stored
from mlrpl_cli.core.sweep.grid import Grid
from tests.core.sweep.rows import row


def test_a_second_call_hides_no_row_of_the_first():
    first, second = [row("a"), row("a", 1)], [row("b")]
    assert stored.shown_rows([*first, *second], "d", second) == stored.Shown([*second, *first], [])
    assert stored.shown_rows([*first, *second], "d").rows == [*first, *second]
    assert stored.shown_rows([*first, *second], "d", chosen=["b"]).rows == second
    with pytest.raises(ConfigError, match="no stored row is of c; the stored rows are of a, b"):
        stored.shown_rows([*first, *second], "d", chosen=["c"])


def test_rows_of_other_code_or_data_are_kept_and_told_and_not_shown():
    rows = [row("a", code="old"), row("b", data_sha256="other"), row("c"), row("c", 1, fingerprint="other")]
    shown = stored.shown_rows([*rows, row("d")], "d")
    assert [each["variant"] for each in shown.rows] == ["c", "d"]
    assert shown.notes == [
        "rows kept and not shown, since the code was changed: a (1)",
        "rows kept and not shown, since they are of other data: b (1)",
    ]
    assert shown.settings[1:] == ["rows kept and not shown, of other settings (the backbone had other weights): c (1)"]


def test_of_two_settings_of_a_variant_that_of_the_call_is_shown_or_else_the_later():
    old, new = [row("a", lr=0.3, tuned=True), row("a", 1, lr=0.3, tuned=True)], [row("a", lr=0.2, tuned=True)]
    assert stored.shown_rows([*old, *new], "d").rows == new
    shown = stored.shown_rows([*old, *new], "d", old[:1])
    assert shown.rows == old
    assert shown.settings == ["rows kept and not shown, of other settings (lr was 0.2, not 0.3): a (1)"]


def test_a_row_that_does_not_say_its_data_is_compared_with_no_other():
    older = [
        {k: v for k, v in row("a", n).items() if k not in ("variant", "code", "setting", "data_sha256")} for n in (0, 1)
    ]
    note = "rows kept and not shown, since they do not say which data they are of: sarl (2)"
    assert stored.shown_rows(older, "d") == stored.Shown([], [note])
    assert stored.shown_rows([*older, row("sarl", 1)], "d") == stored.Shown([row("sarl", 1)], [note])
    asked = [row("b")]
    assert stored.shown_rows([*older, *asked], "d", asked) == stored.Shown(asked, [note])


def test_a_row_of_unknown_code_is_told_until_one_of_the_present_code_takes_its_place():
    unknown = row("sarl", code=None)
    shown = stored.shown_rows([unknown], "d")
    assert (shown.rows, shown.notes) == ([unknown], ["rows of unknown code: sarl (1)"])
    assert stored.shown_rows([row("sarl"), unknown], "d").rows == [row("sarl")]


def of(variant: str, config: dict, seed: int = 0, **more) -> dict:
    """A row with options of training."""
    return row(variant, seed, config={"batch_size": 32, "seed": seed, "device": "cpu"} | config, **more)


@pytest.mark.parametrize(
    ("other", "more", "told"),
    [
        ({"batch_size": 8}, {}, "batch_size was 8, not 32"),
        ({"weight_decay": 0.1, "views": 2}, {}, "weight_decay was 0.1, not 0; views was 2, not 1"),
        ({"image_size": 448}, {}, "image_size was 448, not 224"),
        ({}, {"epochs": 2}, "epochs was 2, not 5"),
        ({"attention_width": 8}, {}, "attention_width was 8, not 4"),
        ({"margin": 0.5}, {}, "margin was 0.5, not 0.1"),
        ({"backbone": "RN50"}, {"fingerprint": "g"}, "backbone was 'RN50', not 'RN101'"),
    ],
)
def test_only_rows_of_the_settings_of_those_asked_for_are_compared(other, more, told):
    """Whatever the seeds, the devices and the number of rows; without tuning, epochs are one of them."""
    base = {
        "weight_decay": 0,
        "views": 1,
        "image_size": 224,
        "attention_width": 4,
        "margin": 0.1,
        "backbone": "RN101",
    }
    others = [of("b", base | other, seed, **more) for seed in (0, 1)]
    same = [of("a", base | {"device": "cuda"}, seed) for seed in (0, 1)]
    asked = [of("c", base)]
    shown = stored.shown_rows([*same, *others, *asked], "d", asked)
    assert (shown.rows, shown.notes) == ([*asked, *same], [])
    assert shown.settings == [f"rows kept and not shown, of other settings ({told}): b (2)"]


def test_the_report_of_what_is_stored_is_of_the_newest_settings_and_says_so():
    old, new = [of("a", {"batch_size": 8}), of("b", {"batch_size": 8})], [of("a", {})]
    shown = stored.shown_rows([*old, *new], "d")
    assert shown.rows == new
    assert shown.settings == [
        "shown are rows of the newest settings, as a at 50% has them",
        "rows kept and not shown, of other settings (batch_size was 8, not 32): a (1), b (1)",
    ]
    assert stored.shown_rows([*new, *old], "d").rows == old
    assert stored.shown_rows([*old, *new], "d", chosen=["b"]) == stored.Shown([old[1]], [])


def test_options_that_one_of_two_methods_or_losses_does_not_use_keep_no_row_apart():
    linear = of("linear", {"context_tokens": 16, "margin": 0.5}, method="linear", loss="bce", tuned=True)
    four, sixteen = (of(f"sarl{n}", {"context_tokens": n, "margin": 0.1}, tuned=True) for n in (4, 16))
    present = [{**each, "code": None} for each in (four, linear)]
    assert stored.shown_rows(present, "d").rows == present
    shown = stored.shown_rows([sixteen, *present], "d", [present[1], four])
    assert [each["variant"] for each in shown.rows] == ["linear", "sarl4"]
    assert shown.settings == ["rows kept and not shown, of other settings (context_tokens was 16, not 4): sarl16 (1)"]


def test_what_the_grid_chose_is_each_variant_s_own_and_what_was_asked_for_is_not():
    chosen = [of("a", {}, lr=0.3, tuned=True), of("b", {}, epochs=10, tuned=True)]
    given = of("c", {}, tuned=False)
    shown = stored.shown_rows([given, *chosen], "d")
    assert shown.rows == chosen
    assert shown.settings[1:] == [
        "rows kept and not shown, of other settings (the grid did not choose learning rate, epochs and loss): c (1)"
    ]
    assert stored.shown_rows([*chosen, given], "d").rows == [given]


def test_rows_of_two_grids_are_not_shown_together_and_rows_that_name_none_are_of_the_default_one():
    older = of("a", {}, tuned=True)
    default = of("b", {}, lr=0.3, tuned=True, grid=Grid().row())
    small = of("c", {}, tuned=True, grid=Grid(lr=(0.1, 0.3), keeps=(0.5,)).row())
    shown = stored.shown_rows([small, older, default], "d", [default])
    assert shown.rows == [default, older]
    rates = "--tune-lr was 0.1,0.3, not 0.000125,0.0005,0.002,0.008,0.032"
    assert shown.settings == [
        f"rows kept and not shown, of other settings ({rates}; --tune-keep was 0.5, not 0.2,0.8): c (1)"
    ]
    assert stored.shown_rows([older, default, small], "d").rows == [small]


def test_where_nothing_was_tuned_a_grid_says_nothing():
    """What is compared then is learning rate, epochs and loss."""
    chosen = of("a", {}, tuned=True, grid=Grid(lr=(0.1,)).row())
    given = of("b", {}, tuned=False, grid=None)
    assert stored.shown_rows([chosen, given], "d").rows == [chosen, given]
