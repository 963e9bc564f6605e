import cv2
import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.inference import annotation
from mien.inference.annotation import ENCODERS, MARK, DrawnVideo, is_drawn_video


def picture(shade, size=(96, 64)):
    return Image.new("RGB", size, (shade, 0, 0))


def frames(path):
    video = cv2.VideoCapture(str(path))
    found = []
    while (read := video.read())[0]:
        found.append(read[1])
    rate = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return found, rate


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder[1])
@pytest.mark.parametrize("rate", [0.5, 25 / 7, 29.97, 60])
def test_it_plays_with_its_frames_its_size_and_its_rate(encoder, rate, tmp_path, monkeypatch):
    monkeypatch.setattr(annotation, "ENCODERS", (encoder,))
    video = DrawnVideo(tmp_path, "名 50%02d", (96, 64), rate)
    for shade in range(0, 250, 25):
        video.add(picture(shade))
    assert not video.path.exists()
    video.close()
    assert [path.name for path in tmp_path.iterdir()] == [f"名 50%02d{encoder[0]}"]
    found, told = frames(video.path)
    assert told == pytest.approx(rate if encoder[0] == ".mp4" else max(1, round(rate)), rel=0.01)
    np.testing.assert_allclose([frame[..., 2].mean() for frame in found], np.arange(0, 250, 25), atol=8)
    assert {frame.shape for frame in found} == {(64, 96, 3)}
    assert is_drawn_video(video.path)


def test_without_the_first_codec_the_second_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(annotation, "ENCODERS", ((".mp4", "none", cv2.CAP_FFMPEG, 0.1), ENCODERS[1]))
    video = DrawnVideo(tmp_path, "clip", (96, 64), 10)
    video.add(picture(100))
    video.close()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.avi"]
    assert len(frames(video.path)[0]) == 1
    monkeypatch.setattr(annotation, "ENCODERS", ((".mp4", "none", cv2.CAP_FFMPEG, 0.1),))
    with pytest.raises(MienError, match=r"OpenCV cannot write it.*choose another --draw"):
        DrawnVideo(tmp_path, "other", (96, 64), 10)


def test_an_odd_side_gets_one_more_and_a_frame_of_another_size_is_fitted(tmp_path):
    video = DrawnVideo(tmp_path, "clip", (97, 65), 10)
    for size in ((97, 65), (300, 200)):
        video.add(picture(200, size))
    video.close()
    found, _ = frames(video.path)
    assert [frame.shape for frame in found] == [(66, 98, 3)] * 2
    assert min(frame[-2:, -2:, 2].mean() for frame in found) > 180


def test_a_video_that_could_not_be_written_is_said_and_nothing_stays(tmp_path):
    video = DrawnVideo(tmp_path, "clip", (96, 64), 10)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(MienError, match="cannot be saved"):
        video.close()
    assert not list(tmp_path.iterdir())


def test_only_the_mark_at_its_end_tells_a_drawn_video(tmp_path):
    for name, content, drawn in (("a", MARK, True), ("b", MARK + b"x", False), ("c", b"", False), ("d", b"x" * 99, False)):
        (tmp_path / name).write_bytes(content)
        assert is_drawn_video(tmp_path / name) is drawn
    assert not is_drawn_video(tmp_path / "gone")
    assert not is_drawn_video(tmp_path)
