import subprocess
import sys

import pytest

import mien


def test_a_data_source_loads_without_numpy():
    code = "import sys, mien.data.source; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(mien.MienError, match="empty path"):
        mien.DataSource("")
    with pytest.raises(mien.MienError, match="empty path"):
        mien.read_faces("")
