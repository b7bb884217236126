"""The zhou2021 page on made-up frames: verdicts follow the planted numbers, figures hold what they must."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

import pytest

from analyses.table import Row, Table
from reports.entries import entries_of
from reports.page import render, write_report
from reports.studies.zhou2021 import curves, embeddings, figures
from reports.studies.zhou2021.answer import answer
from reports.studies.zhou2021.claims import CLAIMS
from reports.studies.zhou2021.judgements import judgements
from reports.studies.zhou2021.measurements import gains
from reports.studies.zhou2021.page import build_page
from reports.studies.zhou2021.study_table import ZhouTable
from tests.test_report_page import checked
from tests.zhou_frames import CHECKPOINTS, DOMAINS, VIEWS, how_made, learners, zhou_frame
from trainers.errors import MetaprobeError

HELD = {claim: "not measured" if claim in ("Z5", "Z6") else "holds" for claim in CLAIMS}
FIGURES = (
    figures.accuracy, figures.usage, figures.agreement, figures.sweep, embeddings.embeddings, curves.step_curves,
    curves.bound,
)  # fmt: skip


def table_of(frame, seeds=(0,), keys=tuple(CHECKPOINTS)):
    return ZhouTable(entries_of(frame), learners(seeds, keys), 5, 5, 0.05)


def verdicts(frame, **options):
    return {j.claim.id: j.verdict for j in judgements(table_of(frame, **options))}


def without(frame, column, *values):
    return frame[~frame[column].isin(values)].reset_index(drop=True)


def changed(frame, measure, change, **columns):
    """Return a frame whose rows of a measure, with some values, have other numbers."""
    frame = frame.copy()
    rows = frame["measure"] == measure
    for name, value in columns.items():
        rows &= frame[name] == value
    assert rows.any()
    for name in ("value", "low", "high"):
        frame.loc[rows, name] = change(frame.loc[rows, name].astype(float))
    return frame


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_what_was_planted_holds(seeds):
    assert verdicts(zhou_frame(seeds), seeds=seeds) == HELD


M3 = "c0" * 6
STEP = "estimated_first_term"
CONTRARY = {
    "no gain over MAML continued": (
        zhou_frame(above={"m3": 0.0, "large": -9.0}),
        {"Z1": "does not hold", "Z7": "does not hold"},
    ),
    "a small gain": (
        zhou_frame(above={"m3": 1.2, "m5": 1.3, "large": -9.0}),
        {"Z1": "undecided", "Z7": "undecided"},
    ),
    "one domain loses": (
        changed(zhou_frame(), "accuracy_gain_over_m1", lambda v: v - 5, checkpoint=M3, group="shapes"),
        {"Z1": "does not hold"},
    ),
    "features show the domains too": (zhou_frame(views={"features": 0.9}), {"Z2": "does not hold"}),
    "parameters show nothing": (zhou_frame(views={"all": 0.1}), {"Z2": "does not hold"}),
    "parameters undecided": (zhou_frame(views={"all": 0.51}), {"Z2": "undecided"}),
    "the loss does not rise": (
        changed(zhou_frame(), "query_loss", lambda v: v * 0 + 1.0, checkpoint=M3),
        {"Z3": "does not hold"},
    ),
    "TSA-MAML's loss above": (
        changed(zhou_frame(), "query_loss", lambda v: v + 0.5, checkpoint=M3),
        {"Z3": "does not hold"},
    ),
    "tasks are spread": (zhou_frame(confused=0.3), {"Z4": "does not hold"}),
    "tasks nearly together": (zhou_frame(confused=0.1), {"Z4": "undecided"}),
    "another m is worse": (zhou_frame(above={"m5": 1.5}), {"Z7": "does not hold"}),
    "a larger network does it": (zhou_frame(above={"large": 6.0}), {"Z8": "does not hold"}),
    "a larger network nearly does it": (zhou_frame(above={"large": 3.9}), {"Z8": "undecided"}),
    "farther from one optimum": (
        changed(zhou_frame(), "estimated_squared_distance_to_common_optimum", lambda v: v + 9, checkpoint=M3),
        {"Z9": "does not hold"},
    ),
    "the first term shrinks": (changed(zhou_frame(), STEP, lambda v: -v), {"Z10": "does not hold"}),
}


@pytest.mark.parametrize("case", CONTRARY)
def test_a_verdict_turns_with_its_numbers(case):
    frame, expected = CONTRARY[case]
    assert verdicts(frame) == HELD | expected


@pytest.mark.parametrize(
    ("claims", "measures"),
    [
        (("Z1", "Z7"), ("accuracy_gain_over_base", "accuracy_gain_over_m1")),
        (("Z2",), ("adjusted_rand",)),
        (("Z3",), ("query_loss",)),
        (("Z4",), ("usage_frequency",)),
        (("Z8",), ("accuracy_gain_over_first",)),
        (("Z9",), ("estimated_squared_distance", "estimated_squared_distance_to_common_optimum")),
        (("Z10",), ("estimated_first_term",)),
    ],
)
def test_what_was_not_measured_has_no_verdict(claims, measures):
    found = verdicts(without(zhou_frame(), "measure", *measures))
    assert {claim: found[claim] for claim in claims} == dict.fromkeys(claims, "not measured")


def test_a_page_without_any_rows_says_of_everything_that_it_is_missing():
    page = render(build_page(zhou_frame().iloc[:0], how_made(), learners(), 0.05))
    checked(page)
    for what in ("Accuracy by domain", "Usage of the initialisations", "Tasks in the plane", "Sweep over m"):
        assert f"{what}: not measured." in re.sub(r"</?b>", "", page)
    assert "Whether an initialisation for each cluster helps was not measured" in page


def test_two_domains_on_one_initialisation_fail_however_clear():
    frame = zhou_frame()
    frame["cluster"] = frame["cluster"].where(~frame["group"].isin(DOMAINS[1:]), (frame["cluster"] - 1) % 3)
    frame.loc[(frame["group"] == "patterns") & frame["cluster"].notna(), "cluster"] %= 3
    found = table_of(frame)
    assert not found.favourites_differ()
    assert verdicts(frame)["Z4"] == "does not hold"
    assert "are not the domains" in answer(found, "data", "task").headline


def test_the_headline_follows_the_two_verdicts():
    def headline(**planted):
        return answer(table_of(zhou_frame(**planted)), "data", "5-way 5-shot").headline

    assert headline() == "An initialisation for each cluster helps, and the clusters are the domains"
    assert headline(above={"m3": -2.0}) == (
        "An initialisation for each cluster does not help; the clusters are the domains"
    )
    assert headline(confused=0.4) == "An initialisation for each cluster helps; the clusters are not the domains"
    assert headline(above={"m3": 1.1}).startswith("Whether an initialisation for each cluster helps is undecided")


def test_the_page_is_whole_and_small_and_cites_and_tells_its_rules(tmp_path):
    path = write_report(build_page(zhou_frame(), how_made(), learners(), 0.05), tmp_path)
    page = path.read_text(encoding="utf-8")
    checked(page)
    assert not re.search(r"(?i)https?:|<script|url\((?!#)", re.sub(r'xmlns(:\w+)?="[^"]+"', "", page))
    for claim in CLAIMS.values():
        assert claim.rule in html.unescape(page).replace("\N{WORD JOINER}", "")
    assert "Task Similarity Aware Meta Learning" in page
    assert "treat the two as independent" in page
    assert "3.5 times the parameters" in page
    assert "distances between groups and sizes of groups mean" in page
    assert {p.stem for p in (tmp_path / "figures").glob("*.svg")} >= {"usage-heatmap", "embeddings", "step-curves"}
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 2_000_000


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_every_figure_draws_and_without_rows_is_none(figure):
    drawn = figure(table_of(zhou_frame()))
    assert drawn is not None
    assert drawn.pdf.startswith(b"%PDF")
    assert "data:image" not in drawn.svg  # all of it drawn, nothing a picture
    assert len(drawn.svg) < 250_000
    assert figure(table_of(zhou_frame().iloc[:0])) is None


def texts(drawing):
    return [e.text or "" for e in ElementTree.fromstring(drawing.svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_heatmap_names_rows_and_columns_and_writes_share_and_count_in_every_cell():
    found = texts(figures.usage(table_of(zhou_frame(confused=0.5))))
    assert [text for text in found if text.startswith("initialisation")] == [f"initialisation {i}" for i in range(3)]
    assert set(DOMAINS) <= set(found)
    assert found.count("(1,000 tasks)") == 3
    assert found.count("500") == 3 and found.count("250") == 6
    # The colours run from 0 to 1 whatever the values: with shares of 0.25 and 0.5 only, both ends are on the bar.
    assert found.count("0.25") == 6 + 1 and found.count("0.50") == 3 + 1
    assert {"0.00", "1.00"} <= set(found)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0])
def test_numbers_in_the_heatmap_can_be_read_on_their_colour(share):
    colour = figures._cell_map()(share)[:3]
    ink = figures._ink_on(colour)
    inks = {figures.INK: (0.2, 0.2, 0.2), "#ffffff": (1.0, 1.0, 1.0)}
    light, dark = sorted((_luminance(colour), _luminance(inks[ink])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3.5


def _luminance(colour):
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_embeddings_have_nine_panels_with_a_trustworthiness_each_and_one_legend():
    found = texts(embeddings.embeddings(table_of(zhou_frame())))
    assert found.count("trustworthiness 0.90") == 9
    assert [found.count(domain) for domain in DOMAINS] == [1, 1, 1]
    assert {"UMAP", "t-SNE", "PCA", "Mean features"} <= set(found)
    assert not [text for text in found if re.fullmatch(r"[−-]?[\d.]+", text)]  # no numbers at axes that mean nothing


def test_an_embedding_that_is_undefined_says_so():
    frame = without(zhou_frame(), "measure", *(f"{m}_{axis}" for m in ("umap", "tsne", "pca") for axis in "xy"))
    trust = frame["measure"].str.endswith("_trustworthiness") & (frame["view"] == "all")
    frame.loc[trust, ["value", "status", "reason"]] = [None, "undefined", "all tasks have the same vector"]
    assert texts(embeddings.embeddings(table_of(frame))).count("undefined") == 6


def test_views_are_told_apart_in_the_figure_of_agreement():
    found = texts(figures.agreement(table_of(zhou_frame())))
    assert {"body", "head", "features", "adjusted Rand index"} <= set(found)
    assert len(VIEWS) == 5


# --- paired gains ---


def accuracies(checkpoint, values, group="a"):
    mean = Row(checkpoint=checkpoint, algorithm="x", seed=0, measure="accuracy", value=0.0, group=group)
    tasks = [
        Row(checkpoint=checkpoint, algorithm="x", seed=0, measure="accuracy", value=v, group=group, task=i)
        for i, v in enumerate(values)
    ]
    return Table.of([mean, *tasks])


def test_gains_are_means_of_differences_task_by_task():
    tables = {"base": accuracies("b", [50, 90, 10, 70]), "m3": accuracies("c", [53, 93, 14, 74])}
    rows = {(row.checkpoint, row.measure): row for row in gains(tables, "m3").rows}
    assert set(rows) == {("c", "accuracy_gain_over_base"), ("b", "accuracy_gain_over_first")}
    gain = rows["c", "accuracy_gain_over_base"]
    assert (gain.value, gain.n, gain.group) == (3.5, 4, "a")
    half = 3.182446 * 0.5773503 / 2  # t of 3 degrees of freedom, sd of 3, 3, 4, 4
    assert (gain.low, gain.high) == pytest.approx((3.5 - half, 3.5 + half), abs=1e-5)
    assert rows["b", "accuracy_gain_over_first"].value == -3.5


def test_gains_refuse_learners_with_other_tasks():
    tables = {"base": accuracies("b", [50, 90]), "m3": accuracies("c", [53, 93, 14])}
    with pytest.raises(MetaprobeError, match="learners c and b were tested on 3 and 2 tasks of a"):
        gains(tables, "m3")
