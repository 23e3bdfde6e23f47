"""A real browser: the page under a root path, and the page of another site that uses the server."""

from __future__ import annotations

import base64
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from uploads import running

from moue.server.settings import Settings

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(
        (path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None
    )
    if program is None:
        pytest.fail("The browser tests need Chromium. Type: make browser")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


class _BlankPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The origin of another site."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _BlankPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def served(model: Path, folder: Path, **settings: Any) -> Any:
    return running(Settings(models=(str(model),), detector="none", temp_folder=folder, **settings))


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_page_works_under_a_root_path_with_and_without_its_last_slash(
    browser: Browser, tiny_onnx: Path, tmp_path: Path, face: bytes, slash: str
) -> None:
    with served(tiny_onnx, tmp_path, root_path="/tools/moue") as port:
        page = browser.new_page()
        failed: list[str] = []
        page.on("response", lambda response: failed.extend([response.url] * (response.status >= 400)))
        page.on("requestfailed", lambda request: failed.append(request.url))
        with page.expect_response(f"http://127.0.0.1:{port}/tools/moue/v1/models"):
            page.goto(f"http://127.0.0.1:{port}/tools/moue{slash}")
        row = page.evaluate(
            """async (content) => {
                const { openFrameSocket } = await import(new URL("api.js", document.baseURI));
                const socket = openFrameSocket({});
                await new Promise((open) => { socket.onopen = open; });
                socket.send(Uint8Array.from(atob(content), (c) => c.charCodeAt(0)));
                const reply = await new Promise((got) => { socket.onmessage = got; });
                socket.close();
                return JSON.parse(reply.data);
            }""",
            base64.b64encode(face).decode(),
        )
        assert (row["status"], failed) == ("ok", [])
        page.close()


FETCH = """async ([address, content]) => {
    const headers = { "Content-Type": "application/json", "Authorization": "Bearer s3cret" };
    const options = { method: "POST", headers, body: JSON.stringify({ image: content }), credentials: "include" };
    try { return (await (await fetch(address, options)).json())[0].status; } catch (error) { return error.name; }
}"""


def test_the_page_of_another_site_can_use_it_only_where_it_is_allowed(
    browser: Browser, tiny_onnx: Path, tmp_path: Path, face: bytes, site: str
) -> None:
    for origins, expected in (((site,), "ok"), ((), "TypeError"), (("https://app.example",), "TypeError")):
        with served(tiny_onnx, tmp_path, allowed_origins=origins, token="s3cret") as port:
            page = browser.new_page()
            page.goto(f"{site}/")
            content = base64.b64encode(face).decode()
            assert page.evaluate(FETCH, [f"http://127.0.0.1:{port}/v1/faces", content]) == expected
            page.close()
