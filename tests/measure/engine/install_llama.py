"""
Build llama.cpp's llama-server, and the test models in its format, outside the checkout.

    python tests/measure/engine/install_llama.py            # --check: only tell, by the exit code, whether it is there

Needs a C++ compiler. Takes about 15 minutes of one core once; what is finished is left as it is.
It prints the path of the ``llama-server`` command, which ``servers.llama_server()`` finds by itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

# The sdist of these Python bindings holds all of llama.cpp.
BINDINGS = "0.3.36"
GGUF = "0.19.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openai-continue"
FOLDER = CACHE / f"llama-server-{BINDINGS}"
COMMAND = FOLDER / "llama-server"
HERE = Path(__file__).resolve().parent
MODEL = HERE / "model"
CALLS_MODEL = HERE / "calls_model"
THOUGHTS_MODEL = HERE / "thoughts_model"
NAMES = {MODEL: "tinylist", CALLS_MODEL: "tinycalls", THOUGHTS_MODEL: "tinythinker"}

FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
)


def gguf(model: Path = MODEL) -> Path:
    """Return where a model in llama.cpp's format is, or is to be: other weights have another name."""
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    return FOLDER / f"{NAMES[model]}-{digest[:12]}.gguf"


def installed() -> bool:
    return COMMAND.is_file() and all(gguf(model).is_file() for model in NAMES)


def install() -> None:
    if installed():
        return
    tools = FOLDER / "tools"
    bin_ = tools / "bin"
    FOLDER.mkdir(parents=True, exist_ok=True)
    venv.create(tools, clear=True, with_pip=True)
    subprocess.run([bin_ / "python", "-m", "pip", "--quiet", "install", f"gguf=={GGUF}", "cmake", "ninja"], check=True)
    if not COMMAND.is_file():
        build(bin_)
    for model in NAMES:
        new = gguf(model).with_suffix(".new")
        subprocess.run([bin_ / "python", HERE / "to_gguf.py", model, new], check=True)
        new.replace(gguf(model))


def build(bin_: Path) -> None:
    """Build the one target that is needed, and keep nothing else."""
    source, build_ = FOLDER / "source", FOLDER / "build"
    for leftover in (source, build_):
        shutil.rmtree(leftover, ignore_errors=True)
    wanted = ["--no-deps", "--no-binary", ":all:", "--dest", source, f"llama-cpp-python=={BINDINGS}"]
    subprocess.run([bin_ / "python", "-m", "pip", "--quiet", "download", *wanted], check=True)
    (sdist,) = source.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(source, filter="data")
    (llama,) = source.glob("*/vendor/llama.cpp")
    # cmake from PyPI finds ninja beside itself only by the path.
    environment = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    cmake = ["nice", "-n", "10", bin_ / "cmake"]
    subprocess.run([*cmake, "-S", llama, "-B", build_, "-G", "Ninja", *FLAGS], check=True, env=environment)
    subprocess.run([*cmake, "--build", build_, "--target", "llama-server"], check=True, env=environment)
    (command,) = build_.glob("**/bin/llama-server")
    shutil.copy2(command, COMMAND)
    for leftover in (source, build_):
        shutil.rmtree(leftover)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(not installed())
    install()
    print(COMMAND)
