"""Charts and images by themselves."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pytest

from kaggle_digits.shell.report import charts
from kaggle_digits.shell.report.charts import Axis, Series
from kaggle_digits.shell.report.images import png
from kaggle_digits.shell.report.parts import Table, in_words

HOSTILE = "<script>alert('1')</script>&\"\u202e"


def every_kind() -> list[charts.Chart]:
    points = [(0.0, 1.0), (1.0, 3.0)]
    return [
        charts.plot(HOSTILE, Axis(HOSTILE), Axis(HOSTILE), [Series(HOSTILE, points)] * 2),
        charts.plot(
            HOSTILE, Axis("", names=[HOSTILE, "b"]), Axis("", is_log=True),
            [Series("", points, [(0.5, 2.0), (2.0, 4.0)], [HOSTILE, ""], is_line=True)],
        ),
        charts.intervals(HOSTILE, HOSTILE, [(HOSTILE, 0.5, -1.0, 2.0)]),
        charts.bars(HOSTILE, HOSTILE, [HOSTILE], [(HOSTILE, [1.0]), ("b", [2.0])]),
        charts.heat(HOSTILE, [HOSTILE, "b"], [[1.0, 0.5], [0.5, 1.0]]),
        charts.parallel(
            HOSTILE, [(HOSTILE, [(0.5, HOSTILE)]), ("b", [])], [(HOSTILE, [0.0, 1.0], 0)],
            Table("", ("",), []),
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", range(6))
def test_names_in_charts_are_text_and_nothing_else(kind):
    chart = every_kind()[kind]
    root = ElementTree.fromstring(chart.svg)
    assert {element.tag for element in root.iter()} <= {
        "svg", "line", "text", "title", "circle", "polyline", "polygon", "rect",
    }  # fmt: skip
    assert root.get("aria-label") == HOSTILE and root.get("role") == "img"
    assert "script>" in "".join(root.itertext()) and "<script" not in chart.svg


@pytest.mark.parametrize(
    "values",
    [[], [0.5], [0.0, 0.0], [1e-9, 1e9], [-5.0, 5.0], [float("inf"), 1.0], [1.0, 1.0000001]],
)
@pytest.mark.parametrize("is_log", [False, True])
def test_any_numbers_can_be_drawn(values, is_log):
    points = [(float(place), value) for place, value in enumerate(values)]
    chart = charts.plot("a", Axis("x"), Axis("y", is_log=is_log), [Series("", points)])
    root = ElementTree.fromstring(chart.svg)
    width, height = map(float, root.get("viewBox").split()[2:])
    for circle in root.iter("circle"):
        assert 0 <= float(circle.get("cx")) <= width and 0 <= float(circle.get("cy")) <= height
    assert len(chart.data.rows) == len(values)


def test_a_point_stands_where_its_numbers_say():
    chart = charts.plot(
        "a", Axis("x"), Axis("y"), [Series("", [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])]
    )
    first, last, middle = (
        (float(circle.get("cx")), float(circle.get("cy")))
        for circle in ElementTree.fromstring(chart.svg).iter("circle")
    )
    assert first[0] < middle[0] < last[0] and first[1] > middle[1] > last[1]
    assert middle[0] == pytest.approx((first[0] + last[0]) / 2, abs=0.2)


def test_whole_numbers_have_whole_ticks():
    chart = charts.plot(
        "a", Axis("epoch", is_whole=True), Axis("y"), [Series("", [(1, 10), (2, 30)])]
    )
    texts = [text.text for text in ElementTree.fromstring(chart.svg).iter("text")]
    assert "1" in texts and "2" in texts and "1.2" not in texts


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (3, 7)])
def test_a_png_is_what_was_given_with_dark_for_high(shape):
    from matplotlib.image import imread

    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    read = imread(io.BytesIO(png(image)))
    assert np.array_equal(255 - np.round(read * 255).astype(np.uint8), image)


def test_a_name_from_right_to_left_keeps_to_itself():
    assert in_words("4") == "4"
    assert in_words("\u202eabc") == "\u2068\u202eabc\u2069"
    assert in_words("w" * 90) == "\u2068" + "w" * 23 + "…\u2069"
