import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.files import DRAWN
from mien.inference import video
from mien.inference.video import LIMITS, MARK, DrawnVideo
from reading import frames


def picture(shade, size=(96, 64)):
    return Image.new("RGB", size, (shade, 0, 0))


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
@pytest.mark.parametrize("rate", [0.5, 25 / 7, 29.97, 60])
def test_it_plays_with_its_frames_its_size_and_its_rate(encoder, rate, tmp_path, monkeypatch):
    monkeypatch.setattr(video.LIMITS, "encoders", (encoder,))
    drawn = DrawnVideo(tmp_path, "名 50%02d", (96, 64), rate)
    for number, shade in enumerate(range(0, 250, 25)):
        drawn.add(picture(shade), number / rate)
    assert not drawn.path.exists()
    drawn.close()
    assert [path.name for path in tmp_path.iterdir()] == ["名 50%02d.mp4"]
    found = list(frames(drawn.path))
    assert not any(frame.error for frame in found)
    np.testing.assert_allclose([frame.time for frame in found], np.arange(10) / rate, atol=0.001)
    np.testing.assert_allclose([frame.image[..., 0].mean() for frame in found], np.arange(0, 250, 25), atol=8)
    assert {frame.image.shape for frame in found} == {(64, 96, 3)}
    assert DRAWN.matches(drawn.path)


def test_uneven_times_stay_as_they_are(tmp_path):
    times = [0, 0.04, 0.5, 0.5, 1.7]
    drawn = DrawnVideo(tmp_path, "clip", (96, 64), 25)
    for seconds in times:
        drawn.add(picture(100), seconds)
    drawn.close()
    np.testing.assert_allclose([frame.time for frame in frames(drawn.path)], times, atol=0.0021)


def test_without_the_first_codec_the_second_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(video.LIMITS, "encoders", ("none", *LIMITS.encoders))
    drawn = DrawnVideo(tmp_path, "clip", (96, 64), 10)
    drawn.add(picture(100), 0.0)
    drawn.close()
    assert len(list(frames(drawn.path))) == 1
    monkeypatch.setattr(video.LIMITS, "encoders", ("none",))
    with pytest.raises(MienError, match=r"no encoder for it.*choose another --draw"):
        DrawnVideo(tmp_path, "other", (96, 64), 10)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_odd_side_gets_one_more_and_a_frame_of_another_size_is_fitted(tmp_path):
    drawn = DrawnVideo(tmp_path, "clip", (97, 65), 10)
    for number, size in enumerate(((97, 65), (300, 200))):
        drawn.add(picture(200, size), number / 10)
    drawn.close()
    found = list(frames(drawn.path))
    assert [frame.image.shape for frame in found] == [(66, 98, 3)] * 2
    assert min(frame.image[-2:, -2:, 0].mean() for frame in found) > 180


def test_a_video_that_could_not_be_written_is_said_and_nothing_stays(tmp_path):
    drawn = DrawnVideo(tmp_path, "clip", (96, 64), 10)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(MienError, match="cannot be saved"):
        drawn.close()
    assert not list(tmp_path.iterdir())


def test_only_the_mark_at_its_end_tells_a_drawn_video(tmp_path):
    for name, content, drawn in (("a", MARK, True), ("b", MARK + b"x", False), ("c", b"", False), ("d", b"x" * 99, False)):
        (tmp_path / name).write_bytes(content)
        assert DRAWN.matches(tmp_path / name) is drawn
    assert not DRAWN.matches(tmp_path / "gone")
    assert not DRAWN.matches(tmp_path)
