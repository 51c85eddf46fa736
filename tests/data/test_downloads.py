"""Downloads that go wrong: a server on 127.0.0.1 simulates the failures."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision.datasets import Flowers102

from ddpm_course.data.flowers102 import download_flowers102, flowers102


def archive():
    """Six flowers in the layout of Flowers-102."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for k in range(1, 7):
            image = io.BytesIO()
            Image.new("RGB", (16, 16), (40 * k, 0, 0)).save(image, format="jpeg")
            entry = tarfile.TarInfo(f"jpg/image_{k:05}.jpg")
            entry.size = image.tell()
            image.seek(0)
            tar.addfile(entry, image)
    return packed.getvalue()


def mat(**values):
    file = io.BytesIO()
    scipy.io.savemat(file, values)
    return file.getvalue()


FILES = {
    "102flowers.tgz": archive(),
    "imagelabels.mat": mat(labels=np.array([[1, 2, 2, 1, 1, 2]])),
    "setid.mat": mat(trnid=[[1, 2]], valid=[[3, 4]], tstid=[[5, 6]]),
}


class Server(ThreadingHTTPServer):
    """Serves FILES; each request takes one of `faults`, and None is no fault."""

    daemon_threads = True

    def __init__(self, faults):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.asked = list(faults), []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        self.server.asked.append(name)
        content = FILES[name]
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "server error":
            self.send_error(503)
            return
        if fault == "wrong checksum":
            content = content[::-1]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "stalled":
            self.wfile.write(content[:10])
            self.wfile.flush()
            threading.Event().wait(3)
        elif fault == "interrupted":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    servers = []

    def served(*faults):
        server = Server(faults)
        servers.append(server)
        monkeypatch.setattr(
            Flowers102, "_download_url_prefix", f"http://127.0.0.1:{server.server_port}/"
        )
        return server

    kinds = {"image": "102flowers.tgz", "label": "imagelabels.mat", "setid": "setid.mat"}
    sums = {k: (v, hashlib.md5(FILES[v]).hexdigest()) for k, v in kinds.items()}
    monkeypatch.setattr(Flowers102, "_file_dict", sums)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setattr("pooch.downloaders.DEFAULT_TIMEOUT", 0.3)
    yield served
    for server in servers:
        server.shutdown()


def assert_all_there(root):
    for split in ("train", "val", "test"):
        assert len(flowers102(root, 8, split).images) == 2


def test_an_undisturbed_download_requests_each_file_once(serve, tmp_path):
    server = serve()
    download_flowers102(tmp_path)
    assert sorted(server.asked) == sorted(FILES)
    assert_all_there(tmp_path)
    download_flowers102(tmp_path)
    assert len(server.asked) == 3


def test_an_archive_that_another_tool_has_fetched_is_not_requested(serve, tmp_path):
    server = serve()
    (tmp_path / "flowers-102").mkdir()
    (tmp_path / "flowers-102" / "102flowers.tgz").write_bytes(FILES["102flowers.tgz"])
    download_flowers102(tmp_path)
    assert sorted(server.asked) == ["imagelabels.mat", "setid.mat"]
    assert_all_there(tmp_path)


def test_a_download_killed_while_it_unpacks_starts_unpacking_again(serve, tmp_path, monkeypatch):
    serve()
    with monkeypatch.context() as patch:
        patch.setattr("torchvision.datasets.utils.extract_archive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download_flowers102(tmp_path)
    download_flowers102(tmp_path)
    assert_all_there(tmp_path)


def interrupted(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extract("jpg/image_00001.jpg", folder, filter="data")
    raise KeyboardInterrupt


FAULTS = ["interrupted", "wrong checksum", "server error", "stalled"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_tried_again(serve, tmp_path, fault):
    server = serve(fault, None, fault)
    download_flowers102(tmp_path)
    assert len(server.asked) == 5
    assert_all_there(tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_ends_in_a_sentence_and_leaves_no_broken_file(serve, tmp_path, fault):
    server = serve(*10 * [fault])
    sentence = r"^102flowers\.tgz of Flowers-102 could not be downloaded to .* in 3 tries .*starter"
    with pytest.raises(ConnectionError, match=sentence):
        download_flowers102(tmp_path)
    assert len(server.asked) == 3
    assert list((tmp_path / "flowers-102").iterdir()) == []
    server.faults.clear()
    download_flowers102(tmp_path)
    assert_all_there(tmp_path)


def test_a_bad_archive_that_cannot_be_replaced_is_named_and_kept(serve, tmp_path):
    archive = tmp_path / "flowers-102" / "102flowers.tgz"
    archive.parent.mkdir()
    archive.write_bytes(FILES[archive.name][:-9])
    serve(*10 * ["server error"])
    with pytest.raises(ConnectionError, match=r"flowers-102/102flowers\.tgz is damaged"):
        download_flowers102(tmp_path)
    assert archive.read_bytes() == FILES[archive.name][:-9]
    serve()
    download_flowers102(tmp_path)
    assert_all_there(tmp_path)


def test_without_a_server_it_ends_in_a_sentence(serve, tmp_path):
    serve().server_close()
    with pytest.raises(ConnectionError, match=r"check the network .*in the package"):
        download_flowers102(tmp_path)
