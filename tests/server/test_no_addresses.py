"""The server reads what is sent to it, and no address: not in a form, a field, a header or a file."""

from __future__ import annotations

import base64
import json

from fastapi.testclient import TestClient
from servers import content, web_server


def test_no_address_that_a_client_sends_is_opened(client: TestClient, face: bytes, video: bytes) -> None:
    with web_server() as web:
        web.answers |= {"/face.png": content(face, "image/png"), "/clip.mp4": content(video, "video/mp4")}
        for address in (web.url("/face.png"), web.url("/clip.mp4"), web.url("/clip.mp4").replace("http", "rtsp")):
            playlist = f"#EXTM3U\n#\x01\n#EXT-X-TARGETDURATION:9\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n".encode()
            wrapped = base64.b64encode(address.encode()).decode()
            for path in ("/v1/faces", "/v1/videos"):
                tried = [
                    client.post(path, content=address.encode()),
                    client.post(path, content=playlist, headers={"content-type": "video/mp4"}),
                    client.post(path, data={"file": address, "url": address}),
                    client.post(path, files={"file": (address, address.encode())}),
                    client.post(path, params={"url": address, "source": address, "name": address}, content=b"x"),
                    *(client.post(path, json={key: address}) for key in ("url", "image", "images", "source")),
                    client.post(path, content=json.dumps([address]), headers={"content-type": "application/json"}),
                    *(client.post(path, json={key: [wrapped]}) for key in ("image", "images")),
                ]
                for response in tried:
                    assert response.status_code < 500
                    if response.status_code == 202:
                        client.delete(f"/v1/videos/{response.json()['id']}")
        assert client.post("/v1/faces", params={"model": web.url("/face.png")}, content=face).status_code == 400
        assert not web.requests
