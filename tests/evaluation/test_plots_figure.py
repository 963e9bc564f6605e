import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties
from PIL import Image

from mien.evaluation.plots import ACCENT, INK, THEME, as_png, as_svg, new_figure, plain


def draw():
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=ACCENT)
    axes.set_title("a title", color=INK)
    return figure


@pytest.fixture
def drawing():
    return draw()


def test_a_png_is_drawn_on_white(drawing):
    pixels = np.asarray(Image.open(io.BytesIO(as_png(drawing, dots_per_inch=100))).convert("RGB"))
    assert pixels.shape == (200, 300, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_an_svg_is_one_element_that_says_what_it_shows(drawing):
    element = ElementTree.fromstring(as_svg(drawing, 'what "it" shows < all'))
    assert element.tag == "{http://www.w3.org/2000/svg}svg"
    assert element.get("aria-label") == 'what "it" shows < all'
    assert (element.get("width"), element.get("height"), element.get("viewBox")) == ("288", "192", "0 0 216 144")


def test_its_colours_are_the_pages_and_its_text_stays_text(drawing):
    svg = as_svg(drawing, "")
    assert not any(colour in svg for colour in THEME)
    assert "stroke: var(--accent)" in svg
    assert re.search(r"<text [^>]*fill: var\(--ink\)[^>]*>a title</text>", svg)


def test_it_leaves_fonts_and_style_to_the_page(drawing):
    svg = as_svg(drawing, "")
    assert "<style" not in svg
    assert "font-family" not in svg
    assert "http://" not in svg.replace("http://www.w3.org", "")


def test_the_same_picture_gives_the_same_text():
    assert as_svg(draw(), "") == as_svg(draw(), "")


def test_letters_that_the_font_lacks_are_drawn_without_a_warning():
    figure = new_figure(2, 1)
    figure.text(0.1, 0.5, "喜", fontproperties=FontProperties(family="DejaVu Sans"))
    assert "喜" in as_svg(figure, "")
    assert as_png(figure).startswith(b"\x89PNG")


def test_a_name_is_shortened_and_its_dollars_are_no_formula():
    figure = new_figure(2, 1)
    figure.text(0.1, 0.5, plain("$\\frac$ a"))
    assert "$\\frac$ a" in as_svg(figure, "")
    assert plain("a" * 30, 10) == "a" * 9 + "…"
    assert plain("a" * 10, 10) == "a" * 10
