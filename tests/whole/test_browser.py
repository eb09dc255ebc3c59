"""A run as people watch it: luigid's page and the page of results in Chromium, from the first task to the report.

Every picture that is taken on the way is kept in ``test-artefacts``.
"""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from support.servers import MOODY, Servers, running
from support.waiting import until
from support.workplace import ROOT, Workplace

pytestmark = pytest.mark.slow

PICTURES = ROOT / "test-artefacts"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1400,900",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the pages need no network
)
TASK_FAILED = 30
GRID: dict[str, dict[str, object]] = {
    "teacher": {"epochs": 300},
    "student": {"epochs": 60},
    "retrain": {"epochs": 60},
    "grid": {"methods": "gradcam, my_maps:moody", "percents": "10, 30, 50, 70, 90"},
}


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Chromium; where there is none, what needs it is skipped."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        pytest.skip("there is no Chromium with its chromedriver here: `make browser` installs them on Debian")
    options = webdriver.ChromeOptions()
    options.binary_location = found
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    PICTURES.mkdir(exist_ok=True)
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as started:
        allowed = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        started.execute_cdp_cmd("Browser.grantPermissions", allowed)
        yield started
        started.save_screenshot(PICTURES / "last.png")


@pytest.fixture
def servers(browser: webdriver.Chrome, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """Both servers, of a grid with a method that fails."""
    monkeypatch.setenv("PYTHONPATH", str(workplace.folder))
    (workplace.folder / "my_maps.py").write_text(MOODY, encoding="utf-8")
    (workplace.folder / "broken").touch()
    with running(workplace, **GRID) as found:
        yield found


class Page:
    """What a person sees and does in a browser."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser, self.address = browser, address

    def open(self, path: str = "") -> None:
        self.browser.get("about:blank")  # an address that differs by its # alone loads nothing
        self.browser.get(self.address + path)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return until(
            f"{selector} is in sight",
            lambda: next((found for found in self.all(selector) if found.is_displayed()), None),
            20,
        )

    def text(self, selector: str) -> str:
        """Return an element's text, also where it is out of sight."""
        return self.browser.find_element(By.CSS_SELECTOR, selector).get_property("textContent")

    def picture(self, name: str) -> None:
        assert self.browser.save_screenshot(PICTURES / f"{name}.png")

    def copied(self) -> str:
        """Return what is on the clipboard."""
        script = "navigator.clipboard.readText().then(arguments[0])"
        return self.browser.execute_async_script(script)


class LuigisPage(Page):
    """luigid's page, which shows the state in which it was loaded."""

    def eye(self, *texts: str) -> WebElement:
        """Find the link to a task's result."""
        return self.row(*texts).find_element(By.XPATH, ".//a[i[contains(@class, 'fa-eye')]]")

    def load(self, path: str) -> None:
        """Open the page, and wait until it has what it asked its server for."""
        self.open(path)
        until(
            "the page is loaded",
            lambda: self.browser.execute_script("return document.readyState === 'complete' && !jQuery.active"),
            20,
        )

    def tasks(self, more: str = "") -> None:
        self.load("#tab=tasks&length=100" + more)

    def row(self, *texts: str) -> WebElement:
        """Find the one task that is shown whose row holds the texts."""
        (found,) = (row for row in self.all("#taskTable tbody tr") if all(text in row.text for text in texts))
        return found

    def families(self) -> set[str]:
        """Open the project's folder in the side bar; return the families it holds."""
        (folder,) = self.all(".sidebar-folder")
        assert folder.text == "roar"
        folder.click()
        return {item.get_attribute("data-task") for item in self.all("[data-task^='roar.']")}

    def bar_of(self, family: str) -> WebElement | None:
        """Load the workers' tab; return a running task's row there, if it shows a bar."""
        self.load("#tab=workers")
        rows = self.all(".worker-table tbody tr")
        return next(
            (row for row in rows if family in row.text and row.find_elements(By.CSS_SELECTOR, ".progress")), None
        )


def share(page: Page) -> int:
    return int(page.one("#statusMessageModal .progress-bar").get_attribute("aria-valuenow") or 0)


def points(page: Page) -> int:
    """Return how many points the first curve has."""
    return next((len((curve.get_attribute("points") or "").split()) for curve in page.all("#result polyline")), 0)


def test_a_run_is_watched_mended_and_finished(servers: Servers, browser: webdriver.Chrome) -> None:
    luigid = LuigisPage(browser, f"http://127.0.0.1:{servers.ports[0]}/static/visualiser/index.html")
    results = Page(browser, f"http://127.0.0.1:{servers.ports[1]}")
    run = servers.luigi("Report", "--workers", "2")

    # A running task has a bar and a line, which move while its dialog is open.
    row = until("the teacher has a bar", lambda: luigid.bar_of("FineTuneTeacher"))
    assert "memory_mb" in row.text
    luigid.picture("workers")
    row.find_element(By.CSS_SELECTOR, ".statusMessage").click()
    line = r"epoch (\d+)/300, loss [\d.]+, [\d,]+ images/s, [\d:]+ left"
    first = until("the dialog has the line", lambda: re.search(line, luigid.one("#statusMessageModal pre").text))
    before = share(luigid)
    until("the bar moves", lambda: share(luigid) > before)
    until("the line moves", lambda: f"epoch {first[1]}/" not in luigid.one("#statusMessageModal pre").text)
    luigid.picture("progress")

    # On its page its curves grow, without the page being loaded again.
    results.open("/")
    results.one("#running a").click()
    assert results.one("h1").text.startswith("FineTuneTeacher")
    drawn, read = until("a curve is drawn", lambda: points(results)), results.text("#log")
    until("the curve grows", lambda: points(results) > drawn)
    until("the log grows", lambda: results.text("#log") != read)
    assert results.browser.execute_script("const log = arguments[0]; return log.scrollTop > 0", results.one("#log"))
    results.picture("training")

    # The families stand together, and what is in use shows.
    luigid.tasks()
    assert {"roar.Report", "roar.Retrain", "roar.DumpMaps"} <= luigid.families()
    luigid.load("#tab=resources")
    until(
        "memory is in use",
        lambda: re.search(r"^[1-9]\d*/\d+$", luigid.one("#memory_mb-resource-box .progress-bar").text),
    )

    # The grid fills, and the failure turns up there, without the page being loaded again.
    results.open("/")
    loaded = browser.execute_script("return performance.timeOrigin")
    done = len(results.all("a.sq.done"))
    results.one(".blocks a.sq").send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    reached = browser.switch_to.active_element
    assert results.one("#tip").text.endswith(f", {reached.get_attribute('aria-label')}")
    results.one(".legend .missing").click()
    assert {part.get_attribute("data-only") for part in results.all(".state-of")} == {"missing"}
    results.one(".legend .missing").click()
    browser.execute_script("arguments[0].focus()", reached)
    until("a failure is listed", lambda: results.all("#attention .failed") and results.all("#running li"))
    until("the grid fills", lambda: len(results.all("a.sq.done")) > done and results.all("#running progress[value]"))
    time.sleep(1)  # until the bar's transition has ended, for the picture
    results.picture("grid")
    assert browser.execute_script("return performance.timeOrigin") == loaded
    assert browser.switch_to.active_element == reached

    output, _ = run.communicate(timeout=300)
    assert run.returncode == TASK_FAILED, output

    # Each of them has its own page, also when they are done.
    luigid.tasks('&statuses=["DONE"]&family=roar.Retrain')
    eyes = [luigid.eye(f"percent={percent}, ", "method=gradcam", "model=teacher") for percent in (10, 30, 50, 70, 90)]
    assert len({eye.get_attribute("href") for eye in eyes}) == 5

    # A failure's dialog says why, and holds the command that makes just this result; so does the page of results.
    luigid.tasks('&statuses=["FAILED"]')
    luigid.row("my_maps:moody", "model=teacher").find_element(By.CSS_SELECTOR, ".showError").click()
    until("the dialog has the reason", lambda: "the planted failure" in luigid.one("#errorModal pre").text)
    until("the dialog has faded in", lambda: luigid.one("#errorModal").value_of_css_property("opacity") == "1")
    luigid.picture("failure")
    reason, again = (shown.text.strip() for shown in luigid.all("#errorModal pre"))
    command = reason.splitlines()[-1].removeprefix("  again: ")
    assert "--method=my_maps:moody" in command
    assert again == "luigi --module tasks ... (whole in the line above that begins with again:)"
    results.open("/")
    (item,) = (item for item in results.all("#attention li") if "model=teacher" in item.text)
    item.find_element(By.CSS_SELECTOR, ".copy").click()
    until("the command is on the clipboard", lambda: results.copied() == command)

    # Run, it makes that, and both pages say so; the grid without being loaded again.
    (servers.workplace.folder / "broken").unlink()
    counts = servers.workplace.counts()
    code, output = servers.workplace.shell(results.copied())
    assert code == 0, output
    assert servers.workplace.counts() == counts | {"DumpMaps": counts["DumpMaps"] + 1}
    until("the page has seen the success", lambda: "model=teacher" not in results.text("#attention"))
    luigid.tasks('&statuses=["DONE"]')

    # The eye leads to its page, in a tab of its own.
    luigid.eye("my_maps:moody", "model=teacher").click()
    until("the tab has opened", lambda: len(browser.window_handles) == 2)
    browser.switch_to.window(browser.window_handles[1])
    assert results.one("h1").text.startswith("DumpMaps")
    assert results.one("#state").text == "done"
    assert "maps.h5" in results.one("#facts").text

    # The same command finishes the grid, and the report is there.
    results.open("/")
    rerun = servers.luigi("Report", "--workers", "2")
    output, _ = rerun.communicate(timeout=300)
    assert rerun.returncode == 0, output
    until("the whole grid is done", lambda: not results.all(".blocks a.sq:not(.done)"))
    results.picture("finished")
    results.open("/report")
    browser.switch_to.frame(results.one("iframe"))
    assert "moody" in results.one("body").text
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # What Luigi's own page asks for and does without.
    missed = ("https://fonts.googleapis.com/", f"http://127.0.0.1:{servers.ports[0]}/favicon.ico")
    assert not [error for error in errors if not error.startswith(missed)]
