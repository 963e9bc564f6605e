import subprocess
import sys


def test_a_data_source_loads_without_numpy():
    code = "import sys, mien.data.source; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
