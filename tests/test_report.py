"""The page of all studies: what is on it, what it refuses, and that a real browser shows it without a fault."""

import html
import itertools
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy
import pytest
from conftest import SPACES
from project import Project
from report_data import SETTINGS, WEIGHTS, make_project, make_results, wide_space, write_results

from oneshot.documents import load_document, write_document
from oneshot.errors import BAD_DATA, MISSING_INPUT, OneshotError
from oneshot.params import load_params
from oneshot.report.image import LINES, PALETTE, svg
from oneshot.report.page import FILTERS, MISSING, StudyResults, render
from oneshot.report.pareto import pareto_front
from oneshot.report.scatter import draw_scatter
from oneshot.tables import read_csv
from pipeline.layout import Layout
from pipeline.report import run

STUDIES = ("kernels-sum", "depths")
FIGURES = ("curves", "oneshot_vs_standalone", "pareto", "gap_ledger", "supernet")
HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"&{{ 7 * 7 }}"


def results_of(space, name="study", **changes) -> StudyResults:
    files = make_results(space)
    content = {
        "name": name,
        "dataset": "mnist",
        "digests": {"train": "abc"},
        "seeds": (0,),
        "space": space,
        "standalone_epochs": 5,
        "warmup_epochs": 1.0,
        "params": "seeds: [0]\n",
        "rows": files["comparison.csv"],
        "summary": files["comparison.json"],
        "timing": files["timing.json"],
        "supernet_curves": files["supernet/curves.csv"],
        "standalone_curves": files["standalone_curves.csv"],
        "sampling": files["supernet/sampling.csv"],
        "inputs": [{"path": "results/study/oneshot.csv", "md5": "abc"}],
        "settings": SETTINGS,
        "weights": WEIGHTS,
    }
    return StudyResults(**content | changes)


def rendered(*studies: StudyResults) -> str:
    return render(studies, {"oneshot": "1"})


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    return make_project(tmp_path, STUDIES)


def draw(layout: Layout) -> str:
    run(load_params(layout.params), layout)
    return layout.page.read_text()


class Outline(HTMLParser):
    """Tags, ids, headings, and whatever would reach beyond the page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src", "action"):
                self.targets.append(value)


def test_page_shows_every_study_of_run_with_every_figure_and_verdict(project):
    page = draw(project)
    for study in STUDIES:
        assert f'<section class="study" id="{study}"' in page
        assert all(f'id="{study}.{name}"' in page for name in FIGURES)
        summary = json.loads(project.study(study).comparison.read_text())
        for row in read_csv(project.study(study).comparison_table):
            assert f"{float(row['oneshot_test_accuracy']):.2%}" in page
        _, opening, reasons = re.split("(Supported|Not supported|Cannot be decided)", summary["verdict"], maxsplit=1)
        assert page.count(f"{opening}</strong>{html.escape(reasons)}") == 2


def test_same_inputs_give_the_same_bytes_whatever_the_users_matplotlib(project):
    before = draw(project)
    with matplotlib.rc_context({"svg.fonttype": "path", "axes.facecolor": "red", "font.size": 30, "axes.grid": False}):
        assert draw(project) == before


def test_a_study_that_run_no_longer_names_is_not_on_the_page(project):
    document = load_document(project.params)
    del document["run"]["depths"]
    write_document(project.params, document)

    assert "depths" not in re.sub("depths: \\[|depth_block", "", draw(project))


@pytest.mark.parametrize(
    "name", ["comparison.csv", "comparison.json", "supernet/curves.csv", "supernet/sampling.csv", "oneshot.csv"]
)
def test_an_input_that_changed_is_refused(project, name):
    with (project.study("depths").folder / name).open("a") as file:
        file.write("\n")

    with pytest.raises(
        OneshotError, match=rf"{name}: changed since `compare`.*; run `dvc repro -f compare@depths`"
    ) as error:
        draw(project)
    assert error.value.exit_code == BAD_DATA
    assert not project.page.exists()


@pytest.mark.parametrize("name", ["results/depths/timing.json", "report/inputs/depths.json"])
def test_a_missing_input_is_refused(project, name):
    (project.root / name).unlink()

    with pytest.raises(OneshotError, match=rf"{name}: .*; run `dvc repro`") as error:
        draw(project)
    assert error.value.exit_code == MISSING_INPUT


def test_results_of_other_params_are_refused(project):
    Project(project.root).edit("studies.depths.standalone.epochs", 99)

    with pytest.raises(OneshotError, match="another dataset or other params") as error:
        draw(project)
    assert error.value.exit_code == BAD_DATA
    assert not project.page.exists()


def test_results_of_another_dataset_are_refused(project):
    manifest = json.loads(project.manifest("depths").read_text())
    manifest["settings"][0][1] = "fashion_mnist"
    project.manifest("depths").write_text(json.dumps(manifest))

    with pytest.raises(OneshotError, match="another dataset or other params"):
        draw(project)


@pytest.mark.parametrize(
    ("manifest", "what"),
    [
        ({}, "damaged"),
        ({"inputs": [], "study": []}, "damaged"),
        ({"inputs": 3}, "damaged"),
        ({"inputs": [{"path": "results/depths/timing.json"}]}, "damaged"),
        ({"inputs": [{"path": "params.yaml", "md5": ""}]}, "names params.yaml"),
        ({"inputs": [{"path": "results/depths/../kernels-sum/timing.json", "md5": ""}]}, "names results/depths/.."),
        ({"inputs": [], "settings": 3}, "damaged"),
        ({"inputs": [], "weights": []}, "does not name results/depths/comparison.csv"),
        ({"inputs": [], "weights": 3}, "damaged"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(project, manifest, what):
    whole = json.loads(project.manifest("depths").read_text())
    of_study = {key: whole[key] for key in ("settings", "study", "weights")} if manifest else {}
    project.manifest("depths").write_text(json.dumps(of_study | manifest))

    with pytest.raises(OneshotError, match=re.escape(what)) as error:
        draw(project)
    assert error.value.exit_code == BAD_DATA


def test_hostile_text_of_results_and_params_is_shown_not_run():
    summary = make_results(SPACES["sum"])["comparison.json"] | {"verdict": HOSTILE, "noise_ceiling_reason": HOSTILE}
    summary["rankings"] = [{"predictor": HOSTILE, "kendall_tau": None, "kendall_tau_reason": HOSTILE}]
    timing = {"processor": HOSTILE, "latency": {"architectures": [{"architecture": HOSTILE}], "device": HOSTILE}}
    page = rendered(results_of(SPACES["sum"], summary=summary, timing=timing, params=HOSTILE))

    assert Outline(page).tags.count("script") == 1 and "img" not in Outline(page).tags
    assert html.escape(HOSTILE, quote=False)[:40] in page


def test_hostile_text_in_a_figure_is_shown_not_run():
    rows = [row | {"architecture": HOSTILE} for row in make_results(SPACES["sum"])["comparison.csv"]]
    drawn = svg(draw_scatter(HOSTILE.replace("$", ""), rows, {"kendall_tau": 0.5}), "figure", HOSTILE)

    assert {"script", "img"}.isdisjoint(Outline(drawn).tags)


def without_numbers(rows, keep=("architecture", "params", "macs", "seed", "epoch", "kind", "name", "trained")):
    return [{key: value if key in keep else None for key, value in row.items()} for row in rows]


def test_missing_values_are_drawn_as_missing():
    files = make_results(SPACES["sum"])
    whole = rendered(results_of(SPACES["sum"]))
    page = rendered(
        results_of(
            SPACES["sum"],
            rows=without_numbers(files["comparison.csv"]),
            summary={"kendall_tau": None, "kendall_tau_reason": "all tie", "rankings": None},
            timing={},
            supernet_curves=without_numbers(files["supernet/curves.csv"]),
            standalone_curves=without_numbers(files["standalone_curves.csv"]),
            sampling=[],
        )
    )

    assert "all tie" in page and all(f'id="study.{name}"' in page for name in FIGURES)
    assert not re.search(r"\b(nan|None|Undefined)\b", page.partition("</header>")[2])
    assert page.count(MISSING) > whole.count(MISSING) + 20


def captions(page):
    return re.findall(r"<(?:caption|figcaption)>(.*?)</", page.replace("<span>", ""), re.S)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_no_caption_has_an_empty_value(seeds):
    shown = captions(rendered(results_of(SPACES["sum"], seeds=seeds)))

    assert any("threads: 1; device: cpu; precision: fp32." in caption for caption in shown)
    assert not [caption for caption in shown if re.search(r"(^|[:,;(] *)[,.;)]|  |None|nan", caption)]


def test_cost_by_macs_is_everywhere_that_cost_by_seconds_is():
    files = make_results(SPACES["sum"])
    summary = files["comparison.json"] | {"supernet_cost_in_standalone_trainings_macs": 71.5}
    timing = files["timing.json"] | {"supernet_cost_in_standalone_trainings": 62.5}
    page = rendered(results_of(SPACES["sum"], summary=summary, timing=timing))

    text = re.sub(r"<svg.*?</svg>|<[^>]*>", " ", page, flags=re.DOTALL)

    assert text.count(" 71.5") == text.count(" 62.5") == 3


def test_a_whole_number_has_no_decimals():
    assert [FILTERS["brief"](value) for value in (4, 4.0, 3.96, 3.9, None)] == ["4", "4", "4", "3.9", MISSING]


def test_an_interval_without_width_is_left_out():
    bounds = {"regret_at_1": 0.0, "regret_at_1_low": 0.0, "regret_at_1_high": 0.001}
    summary = make_results(SPACES["sum"])["comparison.json"] | bounds

    assert "0.00 to 0.00" not in rendered(results_of(SPACES["sum"], summary=summary))


@pytest.mark.parametrize(("seeds", "words"), [((0,), "not the luck of training"), ((0, 1), "and of training")])
def test_intervals_say_what_they_cover_near_the_first_table_and_in_the_study(seeds, words):
    assert rendered(results_of(SPACES["sum"], seeds=seeds)).count(words) == 2


@pytest.mark.parametrize(("warmup", "words"), [(1.0, "lies within the warm-up"), (0.5, "is part of the same training")])
def test_first_epochs_are_no_free_predictor(warmup, words):
    page = rendered(results_of(SPACES["sum"], warmup_epochs=warmup))

    assert words in page and "all of them together cost 4 epochs" in page


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ("Supported within these seeds: yes", "supported"),
        ("Not supported: no", "not-supported"),
        ("Cannot be decided with 4 architectures: few.", "undecided"),
        ("Something else", "undecided"),
    ],
)
def test_a_verdict_is_marked_by_its_first_words(verdict, status):
    study = results_of(SPACES["sum"], summary={"kendall_tau": None, "verdict": verdict})

    assert (study.status, study.opening + study.reasons) == (status, verdict)


def test_without_batch_norm_the_ledger_does_not_speak_of_it():
    rows = [row | {"gap_batch_norm": 0.0, "gap_under_training": None} for row in results_of(SPACES["sum"]).rows]
    summary = results_of(SPACES["sum"]).summary | {"finetune_steps": 0}
    study = results_of(SPACES["sum"], rows=rows, summary=summary)

    assert list(study.ledger_columns.values()) == ["subnet", "standalone", "rest"]
    assert "fine-tuning is off (compare.finetune_steps: 0)" in study.ledger_caption
    assert "batch norm" not in study.ledger_caption and "batch-norm" not in study.ledger_caption
    assert "fine-tuned for 100 steps" in results_of(SPACES["sum"]).ledger_caption


def test_equal_macs_are_said_and_not_drawn():
    rows = [row | {"macs": 2_000_000} for row in results_of(SPACES["sum"]).rows]
    page = rendered(results_of(SPACES["sum"], rows=rows))

    assert '<p id="study.pareto">Every architecture of this space takes 2.00 M MACs' in page


def test_settings_and_weights_of_the_manifest_are_among_the_conditions(project):
    page = draw(project)

    assert "params: split seed</dt><dd>0</dd>" in page and "params: validation size</dt><dd>10000</dd>" in page
    assert all(page.count(f"<li>{file['path']}: <code>{file['md5']}</code></li>") == 2 for file in WEIGHTS)


def test_the_last_epoch_of_every_line_is_in_a_table():
    study = results_of(SPACES["sum"])
    last = [row for row in study.supernet_curves if row["epoch"] == 15]

    assert [row["subnet"] for row in study.last_epoch] == [row["val_accuracy"] for row in last]
    assert all(f"{row['standalone']:.2%}" in rendered(study) for row in study.last_epoch)


def test_columns_that_a_run_did_not_write_are_missing_values():
    rows = [dict(list(row.items())[:8]) for row in make_results(SPACES["prefix"])["comparison.csv"]]

    assert 'id="study.gap_ledger"' in rendered(results_of(SPACES["prefix"], rows=rows))


def test_81_architectures_are_all_there_and_the_page_stays_small():
    page = rendered(results_of(wide_space(), "shapes"))

    titles = re.findall(r"<title>standalone (\S+), seed 0", page)
    assert len(set(titles)) == 81
    assert len(page) < 1_000_000


def test_page_is_one_file_with_unique_ids_and_ordered_headings():
    page = rendered(results_of(SPACES["sum"], "a"), results_of(SPACES["prefix"], "b"))
    outline = Outline(page)

    assert len(outline.ids) == len(set(outline.ids))
    assert all(target.startswith("#") or target == "data:," for target in outline.targets)
    assert {target[1:] for target in outline.targets if target.startswith("#")} <= set(outline.ids)
    assert {reference[5:-1] for reference in re.findall(r"url\(#[^)]*\)", page)} <= set(outline.ids)
    levels = [int(tag[1]) for tag in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"|http-equiv', "", page)


def linear(color: str) -> list[float]:
    """Red, green and blue without the gamma of sRGB."""
    parts = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(color: str) -> float:
    red, green, blue = linear(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# What linear RGB becomes to an eye without one kind of cones (Machado, Oliveira and Fernandes, 2009).
EYES = {
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
# Linear RGB to the perceptually even space Oklab (Ottosson, 2020), by way of cones.
CONES = [[0.41222147, 0.53633254, 0.05144599], [0.2119035, 0.68069955, 0.10739696], [0.08830246, 0.28171884, 0.6299787]]
OKLAB = [
    [0.21045426, 0.79361778, -0.00407205],
    [1.9779985, -2.42859221, 0.45059371],
    [0.02590404, 0.78277177, -0.80867577],
]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("eye", EYES)
def test_colour_blind_readers_can_tell_any_two_lines_apart(eye, scheme):
    seen = [numpy.clip(EYES[eye] @ numpy.array(linear(PALETTE[name][scheme])), 0, 1) for name in LINES]
    places = [OKLAB @ numpy.cbrt(CONES @ color) for color in seen]

    assert min(numpy.linalg.norm(one - other) for one, other in itertools.combinations(places, 2)) > 0.05


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "muted", "link", "oneshot", "standalone", "rest", "tier-1"])
@pytest.mark.parametrize("ground", ["page", "soft"])
def test_text_has_the_contrast_of_wcag_aa(ground, name, scheme):
    dark, light = sorted((luminance(PALETTE[name][scheme]), luminance(PALETTE[ground][scheme])))

    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_colours_of_the_palette_are_told_apart_in_an_svg():
    assert len({light for light, _ in PALETTE.values()}) == len(PALETTE)


def test_pareto_front_holds_what_nothing_cheaper_reaches():
    assert pareto_front([3, 1, 2, 2, 4], [0.9, 0.5, 0.8, 0.7, float("nan")]) == [1, 2, 0]
    assert pareto_front([1, 1], [0.5, 0.5]) == [0]


# In a real browser.

CHROMIUM = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--force-prefers-reduced-motion",  # the page jumps where it would glide
    "--window-size=1280,900",
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    layout = make_project(tmp_path_factory.mktemp("page"), STUDIES)
    write_results(layout, "depths", make_results(load_params(layout.params).studies["depths"].search_space(), (0, 1)))
    draw(layout)
    return layout.page


@pytest.fixture(scope="module")
def chromium():
    # Not at the top: the other tests of this file need no browser.
    from selenium import webdriver

    browser, control = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and control):
        missing = (
            "chromium and chromedriver: not found; the page is tested in them; apt-get install chromium chromium-driver"
        )
        # Where the browser is a must, as in the gate, it is never passed over in silence.
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in CHROMIUM:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(control))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium, page_file):
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.get("about:blank")
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(page_file.as_uri())
    return chromium


def test_browser_has_no_complaint_and_asks_for_nothing_else(browser, page_file):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    assert browser.get_log("browser") == []
    assert page_file.as_uri() in asked
    assert [url for url in asked if url != page_file.as_uri() and not url.startswith("data:")] == []


def test_browser_runs_no_script_but_the_pages_own(browser):
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.foreign = 1';"
        "document.body.append(script); const image = new Image(); image.src = 'other.png'; document.body.append(image)"
    )

    assert browser.execute_script("return window.foreign") is None
    assert all("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("study", STUDIES)
def test_browser_gives_every_figure_a_size(browser, study):
    for name in FIGURES:
        size = browser.execute_script(
            "const box = document.getElementById(arguments[0]).querySelector('svg').getBoundingClientRect();"
            "return [box.width, box.height]",
            f"{study}.{name}",
        )
        assert min(size) > 50, name


def column(browser, number):
    cells = "[...document.querySelector('#depths table.sortable').tBodies[0].rows].map(row => row.cells[arguments[0]]"
    return browser.execute_script(f"return {cells}.dataset.value ?? row.cells[arguments[0]].textContent)", number)


def test_browser_sorts_a_table_by_click_and_by_key(browser):
    from selenium.webdriver.common.keys import Keys

    head = browser.find_elements("css selector", "#depths table.sortable thead th")[5]
    before = column(browser, 5)
    head.find_element("tag name", "button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(browser, 5) == sorted(before, key=float) != before

    head.find_element("tag name", "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert column(browser, 5) == sorted(before, key=float, reverse=True)
    assert column(browser, 0) != sorted(column(browser, 0))


def test_browser_reaches_a_study_by_its_link(browser, page_file):
    browser.find_element("css selector", "main td a[href='#depths'], main th a[href='#depths']").click()
    assert browser.current_url == f"{page_file.as_uri()}#depths"
    top = "return Math.round(document.getElementById('depths').getBoundingClientRect().top)"

    assert abs(browser.execute_script(top)) < 100


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_browser_never_scrolls_the_page_sideways(browser, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_browser_shows_the_first_table_whole_on_a_laptop(browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    hidden = "const box = document.querySelector('main .scroll'); return box.scrollWidth - box.clientWidth"

    assert browser.execute_script(hidden) == 0


def test_browser_shows_the_page_dark_where_that_is_preferred(browser):
    looks = (
        "return [getComputedStyle(document.body).backgroundColor,"
        "getComputedStyle(document.querySelector('figure text')).fill]"
    )
    seen = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        seen.append(browser.execute_script(looks))

    (light_ground, light_text), (dark_ground, dark_text) = seen
    assert light_ground != dark_ground and light_text != dark_text


def test_browser_tells_an_architecture_under_the_pointer(browser):
    from selenium.webdriver.common.action_chains import ActionChains

    line = browser.find_element("css selector", "[id='depths.oneshot_vs_standalone'] .hover")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", line)
    ActionChains(browser).move_to_element(line).perform()

    assert browser.execute_script("return arguments[0].matches(':hover')", line)
    assert re.match(r"\d-\d: one-shot ", line.find_element("tag name", "title").get_attribute("textContent"))
