"""Debian's Chromium without a window, driven by Selenium; what the page loads and complains of is kept."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import define
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from .child import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESK: Final = (1100, 900)
PHONE: Final = (390, 844)


@define(eq=False)
class Browser:
    """One tab. `at` is the address of the site, without a path."""

    driver: Any
    at: str

    def open(self, path: str = "/") -> None:
        self.driver.get(self.at + path)

    def text(self, selector: str = "main") -> str:
        found: str | None = self.script(f"return document.querySelector({selector!r})?.innerText")
        return found or ""  # none for a moment, while the page is replaced

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.driver.find_elements(By.CSS_SELECTOR, selector)]

    def click(self, selector: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def search(self, text: str) -> None:
        field = self.driver.find_element(By.CSS_SELECTOR, "input[name=query]")
        field.clear()
        field.send_keys(text)
        field.submit()

    def script(self, code: str) -> Any:
        return self.driver.execute_script(code)

    def resize(self, size: tuple[int, int]) -> None:
        """Give the page this size in CSS pixels, as a phone or a desk has it."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600},
        )

    def colours(self, scheme: str) -> None:
        """Prefer `dark` or `light`."""
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def picture(self, file: Path) -> None:
        """Save what is to be seen as PNG."""
        self.driver.save_screenshot(str(file))

    @property
    def overflows(self) -> bool:
        """Whether the page is wider than the window."""
        return bool(self.script("return document.documentElement.scrollWidth > document.documentElement.clientWidth"))

    def complaints(self) -> list[str]:
        """Return what the console said since: broken policy, missing files, failed scripts."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return every address that was asked for since."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]


@contextmanager
def chromium(at: str = "") -> Iterator[Browser]:
    options = Options()
    options.binary_location = program("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    try:
        yield Browser(driver, at)
    finally:
        driver.quit()
