"""The page: whole, well-formed, without script or network, and deaf to hostile names."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import reports
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.contract.bundle.manifest import FileEntry
from packager.report.facts import Effect
from packager.report.html import render_page, visible
from packager.variant import Measured, Skipped, Verdict

VOID = {"meta", "link", "br", "img", "input", "hr"}
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "footer",
    ),
    *("section", "div", "h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "pre", "br"),
    *("a", "bdi", "span", "code", "small", "i", "figure", "figcaption"),
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"),
    *("svg", "desc", "g", "path", "text", "tspan", "circle"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "rel", "href", "http-equiv", "class", "dir", "id"),
    *("aria-label", "aria-labelledby", "aria-hidden", "role", "tabindex", "scope", "colspan"),
    *("style", "viewbox", "d", "x", "y", "cx", "cy", "r", "text-anchor", "transform"),
    "data-name",
}


class Page(HTMLParser):
    """What a browser would make of a page: its elements, its texts, and its mistakes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.mistakes: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.mistakes += [f"{tag} stays open" for tag in self._open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.mistakes.append(f"{tag} closes something else")

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(text for _, text in self.texts).split())


@pytest.fixture(scope="module")
def source() -> str:
    return render_page(reports.rich_facts(), reports.rich_packed())


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


# --- what stands in it ---------------------------------------------------------------------


def test_the_verdict_of_each_target_comes_first(page):
    text = page.text
    first = text.index(
        "int8-static ships: 0.30 of float32's bytes, 0.61 of its time at batch 1"
    )
    assert first < text.index("What was built, and from what") < text.index("Every candidate")
    assert "balanced_accuracy 0.9534 → 0.9547 on cortex-a53, within noise." in text


def test_everything_it_was_built_from_stands_in_it(page):
    for words in (
        "tiny-1.4.0.oci.tar",
        "f" * 64,
        "5" * 64,
        "d" * 64,
        "customers-of-acme.csv",
        "1004000 for machines",
        "Apache-2.0",
        "onnxruntime 1.32.0+local",
        "added the exp that the Poisson loss needs",
        "--max-drop 0.01 --max-size 156.2 KiB --max-latency-ms 0.024 --max-memory 64.0 MiB",
    ):
        assert words in page.text


def test_every_candidate_has_a_row_a_mark_and_its_qualities(page):
    facts = reports.rich_facts()
    wide = [one for one in page.of("svg") if one.get("class") == "plot wide"]
    assert len(wide) == len(facts.targets)
    marks = [one for one in page.of("g") if (one.get("class") or "").startswith("mark ")]
    for item in facts.targets[0].measured:
        # once in each of two plots, for a desk and for a phone, of two targets
        assert [one["data-name"] for one in marks].count(item.name) == 4
    assert "0.9547 worst -0.0013 (-0.0071 to 0.0045)" in page.text
    assert "it crashed on Haswell: SIGILL" in page.text


def test_why_others_do_not_ship_and_were_not_tried_is_told_with_the_rule(page):
    assert "int8-static-percentile quality balanced_accuracy falls from 0.9534" in page.text
    assert "float16 not-in-profile the profile x86-64-cpu does not list float16" in page.text
    assert "int4-sparing tried in vain the tool refused it" in page.text


def test_what_was_not_checked_is_counted_at_the_top_and_listed(page):
    assert "3 things were not checked" in page.text
    assert "quality: nobody looked" in page.text
    assert "arm64-cpu : not measured: speed, as this host is another chip" in page.text


def test_files_digests_tolerances_and_commands_stand_in_it(page):
    assert f"golden.npz 18,204 18,204 {'4' * 64}" in page.text
    assert f"bom.cdx.json 9,120 1,803 {'2' * 64}" in page.text
    assert "variant probability label int8-static 3.1e-05 equal" in page.text
    assert "edge-runtime install tiny-1.4.0.oci.tar" in page.text
    assert "32 rows, drawn column by column" in page.text


def test_answers_before_and_after_are_shown_as_counts_and_as_bars(page):
    assert "131 float32 132, -1" in page.text
    assert "-1 to 0 96 90 -6" in page.text


def test_many_classes_are_shown_by_what_differs():
    names = [f"c{number}" for number in range(20)]
    before = [[1] * 20 for _ in names]
    after = [[2, *row[1:]] if number == 7 else row for number, row in enumerate(before)]
    for effect, words in (
        (Effect("confusion", "int8", names, before, after), "c7 c0 1 2 +1"),
        (Effect("confusion", "int8", names, before, before), "answered with the same class"),
    ):
        text = Page(page_of(reports.target(effect=effect))).text
        assert words in text


def test_an_unsigned_bundle_is_called_so_and_told_how_to_sign():
    text = Page(render_page(reports.facts(), reports.packed(signer=""))).text
    assert "packager sign tiny-1.4.0.oci.tar --key keys/release.key" in text
    assert "nobody yet" in text


def test_a_build_without_rows_says_what_is_missing():
    bare = reports.target(
        measured=[Measured("float32", "float32", 9, 9)], verdicts=(), notes=()
    )
    facts = reports.facts(bare, data=None, metric=None, parity=None, unchecked=[])
    page = Page(render_page(facts, reports.packed()))
    assert page.mistakes == []
    assert page.of("figure") == []
    assert "float32 ships: without rows nobody can say" in page.text
    assert "none: nothing was compared or measured" in page.text
    assert "Nothing was compared" in page.text
    assert "Everything that a build can check was checked." in page.text


def test_a_time_is_told_only_of_a_target_that_was_timed_here(source):
    here, away = source.split('id="target-2"')
    assert re.search(r"[\d.]+ [µm]s<", here)
    section = away.split('id="unchecked"')[0]
    assert not re.search(r"[\d.]+ ([µmn]s|s)\b", section)
    assert "batch" not in section


def test_values_of_rows_are_shown_only_where_they_are_told():
    facts = reports.rich_facts()
    kinds = [replace(facts.parity.kinds[0], row={"age": 41.5, "city": "Köln"})]
    told = replace(facts, parity=replace(facts.parity, kinds=kinds))
    assert "age = 41.5" in Page(render_page(told, reports.packed())).text
    assert "41.5" not in Page(render_page(facts, reports.packed())).text


def test_the_columns_of_a_wide_table_are_cut_and_counted():
    one = reports.facts().interface.columns[0]
    columns = tuple(replace(one, name=f"c{number}") for number in range(100))
    face = replace(reports.facts().interface, columns=columns)
    text = Page(render_page(reports.facts(interface=face), reports.packed())).text
    assert "c39 float; and 60 more" in text
    assert "c40 " not in text


# --- how it is made ------------------------------------------------------------------------


def test_it_is_well_formed_and_holds_nothing_that_acts(page):
    assert page.mistakes == []
    assert {tag for tag, _ in page.elements} <= TAGS
    assert {name for _, one in page.elements for name in one} <= ATTRIBUTES


def test_it_asks_for_nothing_from_anywhere(source, page):
    assert re.findall(r"\bsrc=|url\(|@import|https?:|//\w", source) == []
    targets = {one["href"] for one in page.of("a")}
    assert all(target.startswith("#") for target in targets)
    assert {target[1:] for target in targets} <= {one.get("id") for _, one in page.elements}
    (policy,) = (one["content"] for one in page.of("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_headings_descend_by_one_and_the_language_is_named(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.of("html") == [{"lang": "en"}]


def test_every_header_cell_has_a_scope_and_every_table_a_caption(page):
    assert all(one.get("scope") in ("col", "row") for one in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table")) > 10


def test_ids_are_unique_and_every_label_exists(page):
    ids = [one["id"] for _, one in page.elements if "id" in one]
    assert len(ids) == len(set(ids))
    wanted = {
        name for _, one in page.elements for name in (one.get("aria-labelledby") or "").split()
    }
    assert wanted <= set(ids)


def test_every_picture_has_a_title_and_words_or_is_decoration(page):
    for one in page.of("svg"):
        plot = one.get("role") == "img" and len((one["aria-labelledby"] or "").split()) == 2
        assert plot or one.get("aria-hidden") == "true"


def test_what_scrolls_can_be_reached_by_keyboard(page):
    boxes = [one for one in page.of("div") if one.get("class") == "scroll"]
    assert boxes
    assert all(one["tabindex"] == "0" and one["role"] == "region" for one in boxes)


def test_the_same_facts_are_the_same_page(source):
    assert render_page(reports.rich_facts(), reports.rich_packed()) == source


# --- attacks -------------------------------------------------------------------------------


def page_of(target, **changes) -> str:
    return render_page(reports.facts(target, **changes), reports.packed())


def hostile(word: str) -> str:
    """Return a page in which everything that anyone may name is named so."""
    facts = reports.rich_facts()
    target, face = facts.targets[0], facts.interface
    measured = [replace(target.measured[0])]
    measured += [replace(one, name=word + one.name) for one in target.measured[1:]]
    problem = reports.score("host", problem=word)
    measured += [Measured(word, "int8", 5, 5, [problem])]
    spoilt = replace(
        target,
        profile=replace(target.profile, description=word),
        measured=measured,
        ladder=[replace(one, name=word + one.name) for one in target.ladder],
        verdicts=[Verdict(word, False, word, word)],
        skipped=[Skipped(word, word, word)],
        notes=[word],
        effect=replace(reports.CONFUSION, variant=word, names=[word, word, word]),
    )
    row = {word: word}
    kinds = [replace(one, kind=word, column=word, row=row) for one in facts.parity.kinds]
    changed = replace(
        facts,
        identity=replace(
            facts.identity, name=word, version=word, description=word, license=word
        ),
        source=replace(
            facts.source, framework=word, kind=word, steps=(word,), containment=word
        ),
        interface=replace(
            face,
            labels=(word,),
            columns=tuple(replace(one, name=word) for one in face.columns),
            inputs=tuple(replace(one, name=word) for one in face.inputs),
        ),
        data=replace(facts.data, file=word, holdout_file=word, label=word),
        parity=replace(facts.parity, kinds=kinds, missing_refused=[word], largest={word: 1.0}),
        metric=replace(facts.metric, name=word),
        targets=[spoilt],
        unchecked=[word],
        versions={word: word},
        repairs=[word],
    )
    packed = reports.packed(
        bundle=word, contents={target.profile.name: [FileEntry(word, 1, "1" * 64)]}
    )
    return render_page(changed, packed)


ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% for x in y %}",
    "&lt;b&gt; &amp;amp; &#x3c;i&#62;",
    "<!-- -->]]><![CDATA[",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066",
    "a\x00b\x1b[31m\r\n\t",
    "\ud800",
]


@pytest.mark.parametrize("word", ATTACKS)
def test_a_hostile_name_is_text_and_nothing_else(word):
    text = hostile(word)
    page = Page(text)
    assert page.mistakes == []
    assert {tag for tag, _ in page.elements} <= TAGS
    assert {name for _, one in page.elements for name in one} <= ATTRIBUTES
    shown = str(visible(word))
    places = [one for tag, one in page.texts if shown in one.replace("\r\n", "\n")]
    assert len(places) > 30
    assert not any(shown in one for tag, one in page.texts if tag == "style")
    assert "\u202e" not in text
    assert "\x00" not in text
    text.encode()  # and a file can hold it


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.text(st.characters(), min_size=1, max_size=30))
def test_no_text_at_all_becomes_markup(word):
    page = Page(hostile(word))
    assert page.mistakes == []
    assert {tag for tag, _ in page.elements} <= TAGS
    assert {name for _, one in page.elements for name in one} <= ATTRIBUTES


@given(st.text(st.characters()))
def test_what_is_shown_hides_nothing_and_can_be_written(text):
    shown = visible(text)
    assert isinstance(shown, str)
    shown.encode()
    turning = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    assert not set(shown) & set(turning)
    assert not any(ord(letter) < 32 and letter != "\n" for letter in shown)


def test_scripts_that_join_or_run_from_the_right_stay_readable():
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    for word in ("Köln", persian, "שלום", "温度", "👩\u200d🔬", "a\u00a0b"):
        assert visible(word) == word
    assert visible("a\u202eb") == "a\\u202eb"
    assert visible(7) == 7
