import http.server
import json
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.inference.detection import Framing
from mien.inference.prediction import Face
from mien.labels import FER2013

PUBLISHED_YUNET = Path(__file__).parents[3] / "shared" / "detectors" / "yunet_n_640_640.onnx"


def build_model(path, labels=FER2013.names, size=48, channels=1, input_type=TensorProto.UINT8, crowd=False, **metadata):
    """A model whose answer is the label nearest to the face's brightness: dark faces are the first, bright ones the last.

    Its logits are -|brightness - centre| * 20, the brightness 0 to 1 and the centres spread evenly over it. With `crowd` it has
    a second head that answers in the reverse order: dark faces are the last label, bright ones the first.
    """
    shape = ["N", size, size] if channels == 1 else ["N", size, size, 3]
    axes = list(range(1, len(shape)))
    constants = {
        "full": np.array(255, np.float32),
        "axes": np.array(axes, np.int64),
        "last": np.array([1], np.int64),
        "centres": np.linspace(0, 1, len(labels), dtype=np.float32)[None],
        "steepness": np.array(-20, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["faces"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "full"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["brightness"]),
        helper.make_node("Sub", ["brightness", "centres"], ["off"]),
        helper.make_node("Abs", ["off"], ["distance"]),
        helper.make_node("Mul", ["distance", "steepness"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    outputs = ["probabilities"]
    if crowd:
        outputs += ["crowd_probabilities"]
        constants["reversed"] = np.arange(len(labels))[::-1].copy()
        nodes.append(helper.make_node("Gather", ["probabilities", "reversed"], ["crowd_probabilities"], axis=1))
        metadata = {"format": "2", "heads": '["label", "crowd"]', "crowd_temperature": "1"} | metadata
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("faces", input_type, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(labels)]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    text = {"format": "1", "labels": json.dumps(list(labels)), "size": str(size), "channels": str(channels)}
    text |= {"version": "0", "recipe": "", "data": "{}", "temperature": "1", "parameters": "7"} | metadata
    helper.set_model_props(model, {f"mien.{key}": value for key, value in text.items() if value is not None})
    onnx.save(model, path)
    return path


def brightness_probabilities(faces, count=7):
    """What `build_model`'s graph computes, by NumPy."""
    brightness = faces.reshape(len(faces), -1).mean(axis=1, dtype=np.float64) / 255
    raised = np.exp(-20 * np.abs(brightness[:, None] - np.linspace(0, 1, count)))
    return raised / raised.sum(axis=1, keepdims=True)


def write_video(path, count=40, rate=10, size=(96, 64), codec="mjpeg", times=None, **options):
    """A video whose n-th frame has the brightness 5 n and is red; its times are those given, or those of the rate."""
    times = [number / rate for number in range(count)] if times is None else times
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.codec_context.thread_count = 2 if codec == "mjpeg" else 0  # each adds to the size of a frame; 0 is the default
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate) if codec in ("mjpeg", "mpeg2video") else Fraction(1, 1000)
        for number, seconds in enumerate(times):
            pixels = np.full((size[1], size[0], 3), (min(255, 5 * number), 0, 0), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(seconds / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(name="write_video")
def video_writer():
    return write_video


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # a client that hangs up is part of the tests


@pytest.fixture
def serve():
    """Start a web server on this machine, by its handler and, for https, a TLS context: its address."""
    with ExitStack() as stack:

        def start(handler, context=None):
            server = QuietServer(("127.0.0.1", 0), handler)
            if context is not None:
                server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            for end in (server.server_close, thread.join, server.shutdown):  # the last one first
                stack.callback(end)
            return f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"

        yield start


@dataclass
class Corners:
    """A detector that takes the four corners of an image as faces if the image is large, and fails if it is blue."""

    framing: Framing | None = field(default_factory=lambda: Framing(1.0, 0.0))

    def detect(self, image):
        if image.ndim == 3 and image[0, 0, 2] > 200 > image[0, 0, 0]:
            raise RuntimeError("too\nblue")
        height, width = image.shape[:2]
        if min(height, width) < 60:
            return []
        return [Face((x, y, x + 40, y + 40), 0.9) for x in (-8, width - 32) for y in (-8, height - 32)]


@pytest.fixture
def corners():
    return Corners()


@pytest.fixture
def large():
    """An image of 100 x 120 whose quarters have four brightnesses."""
    image = np.zeros((100, 120), np.uint8)
    image[:50, :60], image[50:, :60], image[:50, 60:], image[50:, 60:] = 0, 85, 170, 255
    return image


@pytest.fixture
def make_model(tmp_path):
    return lambda name="model.onnx", **options: build_model(tmp_path / name, **options)


@pytest.fixture
def expected():
    return brightness_probabilities


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def two_heads(make_model):
    return make_model("two.onnx", crowd=True)


@pytest.fixture
def photo():
    """A path to a real photo of one face, 512 x 600, that Matplotlib brings: Grace Hopper, in the public domain."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture
def yunet_file():
    """YuNet as its publisher gives it out; it is not part of the repository."""
    if not PUBLISHED_YUNET.is_file():
        pytest.skip(f"{PUBLISHED_YUNET} is not there")
    return PUBLISHED_YUNET
