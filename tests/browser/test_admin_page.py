"""The page of statistics as people meet it: in both themes, by keyboard, on a telephone, with a reader of screens."""

from __future__ import annotations

import itertools
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

IN_ADMIN = "/admin/ormcache_admin/statistics/"
ALONE = "/ormcache/"
PAGES = [IN_ADMIN, ALONE]
LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}
NARROW = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WITHOUT_SCRIPTS = {"java_script_enabled": False}

#: Of every text in the page: its contrast with what is behind it, as WCAG reckons
CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const channels = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (colour) => {
        const [r, g, b] = colour.map((v) => v / 255)
            .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = channels(getComputedStyle(one).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const found = [];
    const walker = document.createTreeWalker(document.getElementById("ormcache"), NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const shown = element.checkVisibility() && !element.closest("svg, .oc-hidden");
        if (!walker.currentNode.data.trim() || !shown) continue;
        const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data.trim()]);
    }
    return found;
}"""

#: Drawn things against the page: the colour of a line, the colour of a bar
DRAWN = """() => [...document.querySelectorAll(".oc-line, .oc-bars rect")].map((one) => {
    const style = getComputedStyle(one);
    return one.classList.contains("oc-line") ? style.stroke : style.fill;
})"""


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("visitor", [LIGHT, DARK, NARROW], ids=["light", "dark", "narrow"], indirect=True)
def test_nothing_goes_wrong_and_nobody_else_is_asked(visitor, path):
    """The site's policy allows nothing inline and nothing from elsewhere: the browser would complain."""
    page = visitor.open(path)

    assert page.locator("#ormcache .oc-working").count() == 1
    assert visitor.complaints == []
    assert {urlsplit(url).netloc for url in visitor.requests} == {urlsplit(visitor.address).netloc}


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("visitor", [LIGHT, DARK, NARROW], ids=["light", "dark", "narrow"], indirect=True)
def test_axe_finds_nothing(visitor, path):
    page = visitor.open(path)
    for details in page.locator("#ormcache details").all():
        details.evaluate("one => { one.open = true }")

    found = Axe().run(page, context="#ormcache").response

    assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    assert found["passes"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("visitor", [LIGHT, DARK], ids=["light", "dark"], indirect=True)
def test_every_text_can_be_read(visitor, path):
    page = visitor.open(path)
    for details in page.locator("#ormcache details").all():
        details.evaluate("one => { one.open = true }")

    contrasts = page.evaluate(CONTRASTS)

    assert len(contrasts) > 200
    assert [(round(contrast, 2), text) for contrast, text in contrasts if contrast < 4.5] == []


@pytest.mark.parametrize("path", PAGES)
def test_pages_fragments_and_functions_are_a_table(visitor, path):
    page = visitor.open(path)
    table = page.locator("table:has(caption:text('Pages, fragments and functions'))")

    assert table.locator("tbody tr").count() == 4
    row = table.locator("tbody tr", has_text="/lucky/")
    assert row.locator("dl").is_visible() is False
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    assert "random: 40" in row.locator("dl").inner_text()


@pytest.mark.parametrize("path", PAGES)
def test_the_themes_differ(visitor, path):
    page = visitor.open(path)
    seen = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        drawn = sorted(set(page.evaluate(DRAWN)))
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        seen[theme] = (background, drawn, page.screenshot())

    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))


def test_the_toggle_of_the_admin_is_followed(visitor):
    """Against what the system prefers."""
    page = visitor.open(IN_ADMIN)
    page.emulate_media(color_scheme="light")
    before = page.evaluate(DRAWN)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = page.evaluate(DRAWN)
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.documentElement.dataset.theme = 'light'")

    assert before != dark
    assert page.evaluate(DRAWN) == before


@pytest.mark.parametrize("visitor", [NARROW], ids=["narrow"], indirect=True)
@pytest.mark.parametrize("path", PAGES)
def test_a_narrow_screen_does_not_scroll_sideways(visitor, path):
    page = visitor.open(path)
    for details in page.locator("#ormcache details").all():
        details.evaluate("one => { one.open = true }")

    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth") == 360


@pytest.mark.parametrize("path", PAGES)
def test_all_of_it_is_reached_by_keyboard(visitor, path):
    page = visitor.open(path)
    within = page.locator("#ormcache :is(a, button, summary, [tabindex='0'])")
    expected = within.evaluate_all("all => all.filter(one => one.checkVisibility()).length")
    page.locator("#oc-again").focus()
    order, seen = [], 0
    while page.evaluate("document.activeElement.closest('#ormcache') !== null"):
        seen += 1
        order.append(page.evaluate("document.activeElement.getBoundingClientRect().top + scrollY"))
        style = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert style == ["solid", "2px"], "the focus is not to be seen"
        page.keyboard.press("Tab")
        assert seen <= expected, "the focus goes round in a circle"

    assert seen == expected
    assert expected > 10


def test_a_chart_has_its_numbers_as_a_table(visitor):
    page = visitor.open(IN_ADMIN)
    charts = page.locator("figure.oc-chart")

    assert charts.count() == 3
    for chart in charts.all():
        assert len(chart.locator("svg[role=img]").get_attribute("aria-label")) > 30
        summary = chart.locator("summary")
        summary.focus()
        page.keyboard.press("Enter")
        table = chart.locator("table")
        assert table.is_visible()
        assert table.locator("caption").inner_text()
        assert table.locator("thead th[scope=col]").count() >= 2
        assert table.locator("tbody tr").count() > 100
        assert table.locator("tbody tr").count() == chart.locator(".oc-strip").count()


def test_headings_and_tables_are_in_order(visitor):
    page = visitor.open(IN_ADMIN)
    levels = page.locator("#content :is(h1, h2, h3)").evaluate_all("all => all.map(one => Number(one.tagName[1]))")

    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for table in page.locator("#ormcache table").all():
        assert table.locator("caption").count() or table.get_attribute("aria-labelledby")
        assert table.locator("th:not([scope])").count() == 0


@pytest.mark.parametrize("visitor", [WITHOUT_SCRIPTS], ids=["without scripts"], indirect=True)
@pytest.mark.parametrize("path", PAGES)
def test_it_is_read_without_scripts(visitor, path):
    page = visitor.open(path)

    assert page.locator("figure.oc-chart svg path.oc-line").first.is_visible()
    assert page.locator("#oc-again").is_visible()
    assert not page.locator("#oc-auto").is_visible()
    page.locator("#oc-order-misses").click()
    assert page.locator("#oc-order-misses").get_attribute("aria-current") == "true"


def test_it_is_read_anew_only_if_somebody_wants_that(visitor):
    page = visitor.page
    page.clock.install()
    visitor.open(IN_ADMIN)
    del visitor.requests[:]
    page.clock.run_for(60_000)
    assert visitor.requests == []

    page.locator("#oc-auto").click()
    assert page.locator("#oc-auto").get_attribute("aria-pressed") == "true"
    page.locator("#oc-data-rate > summary").click()
    before = page.locator("#oc-again").element_handle()
    page.locator("#oc-data-rate > summary").focus()
    with page.expect_response("**/statistics/"):
        page.clock.run_for(10_000)
    page.wait_for_function("before => !before.isConnected", arg=before)

    assert page.evaluate("document.activeElement.closest('details').id") == "oc-data-rate"
    assert page.locator("#oc-data-rate").get_attribute("open") is not None
    assert page.locator("#oc-auto").get_attribute("aria-pressed") == "true"
    assert visitor.complaints == []


def test_nothing_changes_while_somebody_selects(visitor):
    page = visitor.page
    page.clock.install()
    visitor.open(IN_ADMIN)
    page.locator("#oc-auto").click()
    page.locator(".oc-state p").last.select_text()
    del visitor.requests[:]
    page.clock.run_for(60_000)

    assert visitor.requests == []


def test_it_is_quick_to_read(visitor):
    """A day of history, and no more than a picture."""
    page = visitor.open(IN_ADMIN)

    assert len(page.content().encode()) < 250_000
