from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fit_core import items
from fit_vis.drawing import embedding, heatmap, histogram, picture, rasterised, scatter
from fit_vis.numbers import binned, principal
from fit_vis.palette import CATEGORIES, MISSING, ink, shortened, style, thinned
from fit_vis.pixels import Pixels, as_bytes, grid


def share(pixels: Pixels, colour: str) -> float:
    """Return how much of a picture has a colour."""
    wanted = (np.array(to_rgb(colour)) * 255).round()
    return float((np.abs(pixels - wanted).max(axis=-1) <= 2).mean())


def overlapping(figure: Figure) -> list[str]:
    """Return the texts of a figure that lie on another one, or beyond its edge."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]
    boxes = [text.get_window_extent() for text in texts]
    ticks = {id(text) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in off_axis(axes, axis)}
    seen = [(text.get_text(), box) for text, box in zip(texts, boxes, strict=True) if id(text) not in ticks]
    whole = figure.bbox
    found = [text for text, box in seen if box.x0 < whole.x0 - 1 or box.x1 > whole.x1 + 1 or box.y0 < -1 or box.y1 > whole.y1 + 1]
    for place, (text, box) in enumerate(seen):
        found += [f"{text} on {other}" for other, rest in seen[:place] if box.shrunk(0.9, 0.8).overlaps(rest.shrunk(0.9, 0.8))]
    return found


def off_axis(axes: Axes, axis: mpl.axis.Axis) -> list[mpl.text.Text]:
    """Return labels of ticks that are not drawn since they lie beyond the axis."""
    low, high = sorted(axis.get_view_interval())
    late = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
    return [label for tick in late for label in (tick.label1, tick.label2)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


NAMES = [f"a name that is rather long, of class {number}" for number in range(100)]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_labels_of_a_matrix_do_not_overlap(count: int) -> None:
    values = torch.randint(0, 1000, (count, count))
    figure = heatmap(items.Heatmap(values, NAMES[:count], NAMES[:count], "truth", "prediction"))
    assert overlapping(figure) == []
    axes = figure.axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("truth", "prediction")
    assert axes.yaxis_inverted(), "the first row is above"


@pytest.mark.parametrize("shape", [(2, 500), (300, 3), (1, 40)])
def test_labels_of_a_matrix_that_is_far_from_square_do_not_overlap(shape: tuple[int, int]) -> None:
    assert overlapping(heatmap(items.Heatmap(torch.rand(shape)))) == []


def test_cells_have_their_numbers_as_long_as_there_is_room() -> None:
    figure = heatmap(items.Heatmap(torch.tensor([[48, 2], [3, 1000]])))
    assert [text.get_text() for text in figure.axes[0].texts] == ["48", "2", "3", "1000"]
    assert [text.get_color() for text in figure.axes[0].texts] == ["white", "white", "white", "black"]
    fractions = heatmap(items.Heatmap(torch.tensor([[0.5, 2 / 3], [float("nan"), 1e-9]])))
    assert [text.get_text() for text in fractions.axes[0].texts] == ["0.5", "0.667", "nan", "1e-09"]
    assert not heatmap(items.Heatmap(torch.rand(50, 50))).axes[0].texts


def test_what_is_not_finite_is_grey_in_a_matrix() -> None:
    values = torch.rand(4, 4)
    assert share(picture_of(items.Heatmap(values)), MISSING) < 0.001
    values[0] = float("nan")
    values[1] = float("-inf")
    assert share(picture_of(items.Heatmap(values)), MISSING) > 0.1
    assert share(picture_of(items.Heatmap(torch.full((2, 2), float("nan")))), MISSING) > 0.2


def picture_of(item: items.Item) -> Pixels:
    found = picture(item)
    assert found is not None
    return found


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_ink_can_be_read_on_any_colour(red: float, green: float, blue: float) -> None:
    def luminance(colour: tuple[float, float, float]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    lighter, darker = sorted([luminance((red, green, blue)), luminance(to_rgb(ink(red, green, blue)))], reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5, "level AA of WCAG 2"


def test_colours_are_told_apart_without_seeing_red_or_green() -> None:
    """By simulated dichromats (Viénot, Brettel and Mollon 1999), any two of the first seven differ."""
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    for matrix in (np.eye(3), protan, deutan):
        seen = [(matrix @ np.array(to_rgb(colour)) ** 2.2).clip(0, 1) ** (1 / 2.2) for colour in CATEGORIES]
        assert min(np.abs(a - b).max() for place, a in enumerate(seen) for b in seen[:place]) > 0.1


def test_classes_differ_by_colour_and_marker() -> None:
    assert len({style(number) for number in range(56)}) == 56
    points, labels = torch.randn(120, 2), torch.arange(120) % 12
    figure = scatter(points, labels)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [str(number) for number in range(12)]
    assert overlapping(figure) == []
    pixels = rasterised(figure)
    assert all(share(pixels, blended(colour)) > 1e-5 for colour in CATEGORIES)


def blended(colour: str) -> str:
    """Return a colour as it is on white when it hides 85 % of it."""
    return mpl.colors.to_hex([0.85 * part + 0.15 for part in to_rgb(colour)])


def test_a_legend_has_no_more_classes_than_it_can_hold() -> None:
    figure = scatter(torch.randn(300, 2), torch.arange(300) % 100)
    assert len(figure.legends[0].get_texts()) == 24
    assert figure.legends[0].get_title().get_text() == "24 of 100 classes"
    assert overlapping(figure) == []


def test_long_names_and_signs_of_formulas_are_written_as_they_are() -> None:
    figure = scatter(torch.randn(4, 2), ["$a$ and $b$", "$c$", NAMES[0], "\tx\n"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", r"\$a\$ and \$b\$", r"\$c\$", "a name that…, of class 0"]
    assert overlapping(figure) == []
    assert rasterised(scatter(torch.randn(2, 2), ["日本", "\u0007"])).any(), "letters that the font lacks are no reason to complain"


def test_points_that_are_not_finite_are_counted() -> None:
    figure = scatter(torch.tensor([[0.0, 1.0], [float("nan"), 1.0]]), None)
    assert figure.axes[0].get_title(loc="left") == "1 of 2 points are not finite"
    assert not scatter(torch.rand(2, 2), None).axes[0].get_title(loc="left")


def test_an_embedding_is_drawn_along_its_principal_components() -> None:
    far = torch.nn.functional.one_hot(torch.arange(30) % 2, 50) * 9.0
    figure = embedding(far + torch.rand(30, 50) * 0.1, ["a", "b"] * 15)
    one, other = (np.asarray(group.get_offsets())[:, 0] for group in figure.axes[0].collections)
    assert max(one) < min(other) or max(other) < min(one)
    assert embedding(torch.full((3, 4), float("nan")), None).axes[0].get_title(loc="left") == "3 of 3 points are not finite"


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_principal_components_are_those_of_the_singular_values(count: int, dimensions: int, seed: int) -> None:
    vectors = torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = principal(vectors)
    assert found.shape == (count, 2)
    u, s, _ = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    wanted = torch.nn.functional.pad((u * s)[:, :2], (0, 2 - min(2, min(count, dimensions))))
    assert torch.allclose(found.abs(), wanted.abs(), atol=1e-6)


VALUES = st.lists(st.floats(width=32) | st.sampled_from([float("nan"), float("inf"), 1e30, -1e30, 1e-40]), max_size=20)


@given(VALUES, st.integers(1, 9), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_bins_hold_every_finite_value(values: list[float], bins: int, dtype: torch.dtype) -> None:
    tensor = torch.tensor(values, dtype=dtype)
    counts, edges, left_out = binned(tensor, bins)
    finite = tensor[tensor.isfinite()].double()
    assert counts.sum() == len(finite)
    assert left_out == len(values) - len(finite)
    assert len(edges) == bins + 1 == len(counts) + 1
    assert (np.diff(edges) > 0).all()
    if len(finite):
        assert edges[0] <= finite.min() <= finite.max() <= edges[-1] * (1 + np.sign(edges[-1]) * 1e-12)


@pytest.mark.parametrize("values", [torch.randn(1000), torch.tensor([3.0]), torch.tensor([]), torch.full((5,), float("nan"))])
def test_a_histogram_of_anything_can_be_drawn(values: torch.Tensor) -> None:
    figure = histogram(values, 20)
    assert overlapping(figure) == []
    finite = int(values.isfinite().sum())
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == finite
    said = figure.axes[0].get_title(loc="left")
    assert said == ("no values" if not len(values) else "" if finite else "5 of 5 values are not finite")
    assert (share(rasterised(figure), CATEGORIES[0]) > 0.001) == bool(finite)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.none() | st.integers(1, 9), st.booleans())
def test_every_picture_is_in_the_grid(count: int, height: int, width: int, channels: int, columns: int | None, named: bool) -> None:
    pixels = torch.rand(count, channels, height, width)
    whole = picture_of(items.Images(pixels, ["x"] * count if named else (), columns))
    times = max(64 // max(height, width), 1)
    sheet = grid(as_bytes(pixels), ["x"] * count if named else (), columns)
    if max(height, width) > 8 * min(height, width) or min(height, width) * times < 8:
        assert whole.shape[0] >= sheet.shape[0]
        return
    first = as_bytes(pixels)[0].repeat(times, 0).repeat(times, 1)
    cell = whole[2 : 2 + height * times]
    places = [left for left in range(cell.shape[1] - first.shape[1] + 1) if (cell[:, left : left + first.shape[1]] == first).all()]
    assert places
    assert (whole[:2] == 255).all()
    assert (whole[:, :2] == 255).all()


def test_pixels_beyond_what_can_be_shown_are_cut_off() -> None:
    values = torch.tensor([[[-1.0, 0.0, 0.5, 1.0, 2.0, float("nan")]]])
    assert as_bytes(values)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0]
    assert as_bytes(values.bfloat16())[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0]


def test_captions_are_below_their_pictures_and_cut_if_they_are_too_long() -> None:
    plain, named = (picture_of(items.Images(torch.zeros(4, 1, 64, 64), captions, columns=2)) for captions in ((), ["one\ntwo"] * 4))
    assert plain.shape == (134, 134, 3)
    assert named.shape == (194, 134, 3)
    below = named[66:96]
    assert (below < 100).any(), "there are letters"
    wide = picture_of(items.Images(torch.zeros(4, 1, 64, 64), ["a caption that goes on and on " * 9] * 4, columns=2))
    assert wide.shape[1] < 500


def test_names_are_shortened_in_their_middle_and_thinned_evenly() -> None:
    assert shortened("a class", 7) == "a class"
    assert shortened("a class of things 12", 9) == "a cl…s 12"
    assert thinned(list("abcdefg"), 3) == ([0, 3, 6], ["a", "d", "g"])
    assert thinned(list("ab"), 0) == ([0], ["a"])


def test_a_figure_of_the_users_is_drawn_and_stays_as_it_is() -> None:
    figure = Figure((2, 1), dpi=50, facecolor="red")
    figure.add_subplot().plot([0, 1])
    canvas = figure.canvas
    found = picture_of(items.Figure(figure))
    assert found.shape == (50, 100, 3)
    assert (found[0] == 255).all(), "on white"
    assert figure.canvas is canvas
    assert figure.get_facecolor() == (1, 0, 0, 1)


def test_nothing_global_is_used_or_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it fails
    before = settings_of_matplotlib()
    for item in (
        items.Heatmap(torch.eye(2)),
        items.Histogram(torch.rand(9)),
        items.Scatter(torch.rand(9, 3)),
        items.Embedding(torch.eye(3)),
    ):
        assert picture_of(item).any()
    assert settings_of_matplotlib() == before


def settings_of_matplotlib() -> dict[str, object]:
    return {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}  # which is looked for when it is read
