"""The journal trusts no file, folder or account but its own: nothing is taken from others, given to them, or lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from openai_continue._sdk import private_files
from openai_continue._sdk.account import account_of
from tests.support.bodies import ask
from tests.support.journals import (
    TEXT,
    WAYS,
    EightCharacterServer,
    asked,
    beginning_with_six,
    broken,
    changed,
    folder,
    how,
    keeping,
    kept,
    resumed,
    warnings,
)
from tests.support.ways import OUR_ASYNC, SYNC, http

# Fixtures that tests name.
__all__ = ["folder", "warnings"]

pytestmark = pytest.mark.usefixtures("no_waiting")

Warnings = Callable[[], list[str]]
VICTIM = b"what another program has written"


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file, or a link, seem to belong to another user."""
    given = path.lstat()
    for name in ("stat", "lstat", "fstat"):
        monkeypatch.setattr(os, name, _looking(getattr(os, name), given))


def _looking(look: Callable[..., os.stat_result], given: os.stat_result) -> Callable[..., os.stat_result]:
    def looked(*args: Any, **kwargs: Any) -> os.stat_result:
        seen = look(*args, **kwargs)
        if (seen.st_dev, seen.st_ino) != (given.st_dev, given.st_ino):
            return seen
        return os.stat_result((*seen[:4], os.geteuid() + 1, *seen[5:]))

    return looked


# Files that are not ours.


def link(path: Path, victim: Path, _: pytest.MonkeyPatch) -> None:
    path.symlink_to(victim)


def link_to_nothing(path: Path, victim: Path, _: pytest.MonkeyPatch) -> None:
    path.symlink_to(victim.with_name("nothing"))


def fifo(path: Path, _: Path, __: pytest.MonkeyPatch) -> None:
    os.mkfifo(path)


def a_folder(path: Path, _: Path, __: pytest.MonkeyPatch) -> None:
    path.mkdir()


def hard_link(path: Path, victim: Path, _: pytest.MonkeyPatch) -> None:
    os.link(victim, path)


def writable(path: Path, victim: Path, _: pytest.MonkeyPatch) -> None:
    path.write_bytes(victim.read_bytes())
    path.chmod(0o666)


def writable_by_group(path: Path, victim: Path, _: pytest.MonkeyPatch) -> None:
    path.write_bytes(victim.read_bytes())
    path.chmod(0o660)


def of_another_user(path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(victim.read_bytes())
    path.chmod(0o600)
    give_away(path, monkeypatch)


PLANTS = {each.__name__: each for each in (link, link_to_nothing, fifo, a_folder, hard_link, writable, writable_by_group, of_another_user)}  # fmt: skip
plants = pytest.mark.parametrize("plant", PLANTS)


async def planted(plant: str, folder: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, bytes]:
    """Put another's file with a text of its own in the place of ours; return both files and the victim's bytes."""
    path = await broken(folder, how)
    victim = folder.parent / "victim"
    victim.write_bytes(changed(path, beginning_with_six))
    victim.chmod(0o600)
    path.unlink()
    PLANTS[plant](path, victim, monkeypatch)
    return path, victim, victim.read_bytes()


@how
@plants
async def test_planted_answer(
    plant: str, how: str, folder: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another user has put in the place of the file is set aside as it is; the text is ours, and goes to ours."""
    path, victim, before = await planted(plant, folder, how, monkeypatch)
    file = path.lstat()
    await asked(SYNC, EightCharacterServer(3), how, ask(), keeping(folder, how))
    ours = path.lstat()
    again = await asked(SYNC, EightCharacterServer(), how, ask(), keeping(folder, how))

    assert (*again.ending, resumed(again)) == (TEXT, "stop", "stop", 2)
    assert (stat.S_ISREG(ours.st_mode), stat.S_IMODE(ours.st_mode), ours.st_nlink) == (True, 0o600, 1)
    aside = path.with_suffix(".unreadable").lstat()
    assert (aside.st_ino, aside.st_mode, aside.st_size) == (file.st_ino, file.st_mode, file.st_size)
    assert kept(folder) == [path.with_suffix(".unreadable").name]
    assert victim.read_bytes() == before
    assert not victim.with_name("nothing").exists()
    (warning,) = warnings()
    assert "set aside" in warning


@plants
async def test_planted_lock(plant: str, folder: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is with the file of the lock, and the answer goes on."""
    path = await broken(folder, "whole")
    lock, victim = path.with_suffix(".lock"), folder.parent / "victim"
    victim.write_bytes(VICTIM)
    lock.unlink()
    PLANTS[plant](lock, victim, monkeypatch)
    answer = await asked(SYNC, EightCharacterServer(), "whole", ask(), keeping(folder, "whole"))

    assert (*answer.ending, resumed(answer)) == (TEXT, "stop", "stop", 2)
    assert victim.read_bytes() == VICTIM
    assert not victim.with_name("nothing").exists()
    assert kept(folder) == [path.with_suffix(".unreadable").name]
    assert len(warnings()) == 1


@how
@plants
async def test_what_cannot_be_set_aside(
    plant: str, how: str, folder: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another's file cannot be renamed, it stays as it is, and the call goes on without its journal."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    path, victim, before = await planted(plant, folder, how, monkeypatch)
    file = path.lstat()
    monkeypatch.setattr(Path, "rename", refuse)
    answers = [await asked(SYNC, EightCharacterServer(), how, ask(), keeping(folder, how)) for _ in range(2)]

    assert [(*answer.ending, resumed(answer)) for answer in answers] == [(TEXT, "stop", "stop", 0)] * 2
    assert kept(folder) == [path.name]
    assert (path.lstat().st_ino, path.lstat().st_size) == (file.st_ino, file.st_size)
    assert victim.read_bytes() == before
    (warning,) = warnings()
    assert "cannot be set aside" in warning
    assert "goes on without it" in warning


async def test_nothing_that_was_set_aside_is_lost(folder: Path) -> None:
    """A second file of the same name that is set aside does not replace the first."""
    path = await broken(folder, "whole")
    for text in (b"first\n", b"second\n", b"third\n"):
        path.write_bytes(text)
        await asked(SYNC, EightCharacterServer(), "whole", ask(), keeping(folder, "whole"))

    assert {each.read_bytes() for each in folder.iterdir()} == {b"first\n", b"second\n", b"third\n"}


@pytest.mark.parametrize("suffix", [".answer", ".new"])
async def test_link_that_comes_while_we_write(suffix: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that takes the place of a file after that was looked at is not followed; our own file replaces it."""
    path = await broken(folder, "whole")
    victim = folder.parent / "victim"
    victim.write_bytes(VICTIM)
    opened = os.open

    def exchange(name: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if name == path.with_suffix(".new") and flags & os.O_CREAT:
            path.with_suffix(suffix).unlink(missing_ok=True)
            path.with_suffix(suffix).symlink_to(victim)
        return opened(name, flags, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", exchange)
        first = await asked(SYNC, EightCharacterServer(2), "whole", ask(), keeping(folder, "whole"))
    answer = await asked(SYNC, EightCharacterServer(), "whole", ask(), keeping(folder, "whole"))

    assert first.stopped_by == "error"
    assert (*answer.ending, resumed(answer) >= 2) == (TEXT, "stop", "stop", True)
    assert victim.read_bytes() == VICTIM
    assert kept(folder) == []


@how
async def test_file_that_others_can_read(how: str, folder: Path, warnings: Warnings) -> None:
    """A file of ours that was copied back with a wider mode goes on, and is closed to others again."""
    path = await broken(folder, how)
    path.chmod(0o644)
    await asked(SYNC, EightCharacterServer(2), how, ask(), keeping(folder, how))
    mode = stat.S_IMODE(path.stat().st_mode)
    answer = await asked(SYNC, EightCharacterServer(), how, ask(), keeping(folder, how))

    assert (*answer.ending, warnings()) == (TEXT, "stop", "stop", [])
    assert mode == 0o600
    assert resumed(answer) >= 2


# Folders.


@pytest.mark.parametrize(
    ("mode", "is_used"), [(0o700, True), (0o755, True), (0o1777, True), (0o1775, True), (0o777, False), (0o770, False)]
)
async def test_mode_of_the_folder(mode: int, is_used: bool, folder: Path, warnings: Warnings) -> None:
    """A folder in which others can exchange our files is not used; with the sticky bit they cannot."""
    folder.mkdir(parents=True)
    folder.chmod(mode)
    first = await asked(SYNC, EightCharacterServer(3), "whole", ask(), keeping(folder, "whole"))
    left = list(folder.iterdir())
    again = await asked(SYNC, EightCharacterServer(), "whole", ask(), keeping(folder, "whole"))

    assert first.stopped_by == "error"
    assert again.ending == (TEXT, "stop", "stop")
    assert (bool(left), resumed(again), len(warnings())) == ((True, 2, 0) if is_used else (False, 0, 1))
    assert is_used or "chmod 700" in warnings()[0]


@pytest.mark.parametrize("is_link", [False, True])
async def test_folder_of_another_user(
    is_link: bool, folder: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of another user is not used, nor is a folder of ours to which another user's link leads."""
    real = folder.parent / "real" if is_link else folder
    real.mkdir(parents=True)
    if is_link:
        folder.symlink_to(real)
    give_away(folder, monkeypatch)
    answer = await asked(SYNC, EightCharacterServer(3), "whole", ask(), keeping(folder, "whole"))

    assert answer.stopped_by == "error"
    assert list(real.iterdir()) == []
    (warning,) = warnings()
    assert "belongs to another user" in warning


async def test_link_of_ours_to_a_folder(folder: Path, warnings: Warnings) -> None:
    """A link that we have made ourselves may lead to the folder."""
    real = folder.parent / "real"
    real.mkdir(parents=True)
    folder.symlink_to(real)
    await asked(SYNC, EightCharacterServer(3), "whole", ask(), keeping(folder, "whole"))
    answer = await asked(SYNC, EightCharacterServer(), "whole", ask(), keeping(folder, "whole"))

    assert (*answer.ending, resumed(answer), warnings()) == (TEXT, "stop", "stop", 2, [])


@how
async def test_system_without_owners(
    how: str, folder: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are no owners, no modes, and no way to refuse links, the journal works, and refuses links."""
    monkeypatch.setattr(private_files, "_SAFELY", 0)
    monkeypatch.setattr(private_files, "_user", lambda: None)
    path = await broken(folder, how)
    path.chmod(0o666)
    folder.chmod(0o777)
    again = await asked(SYNC, EightCharacterServer(2), how, ask(), keeping(folder, how))
    assert (resumed(again), warnings()) == (2, [])
    victim = folder.parent / "victim"
    victim.write_bytes(VICTIM)
    path.unlink()
    path.symlink_to(victim)
    answer = await asked(SYNC, EightCharacterServer(), how, ask(), keeping(folder, how))

    assert (*answer.ending, resumed(answer)) == (TEXT, "stop", "stop", 0)
    assert victim.read_bytes() == VICTIM


# Accounts.


def signing(user: str, password: str) -> Callable[[Any], dict[str, Any]]:
    """Return what makes a client whose HTTP client signs in."""
    return lambda transport: {"http_client": http.Client(transport=transport, auth=(user, password))}


def having(**fields: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda _: fields


KEY = "sk-one"
#: Two accounts that ask the same thing at the same place.
TENANTS = {
    "key": (having(api_key=KEY), having(api_key="sk-two")),
    "key from a function": (having(api_key=lambda: KEY), having(api_key=lambda: "sk-two")),
    "organisation": (having(organization="one"), having(organization="two")),
    "project": (having(project="one"), having(project="two")),
    "no project": (having(project="one"), having()),
    "authorization": (having(default_headers={"Authorization": "one"}), having(default_headers={"Authorization": "two"})),
    "header of a gateway": (having(default_headers={"X-Tenant": "one"}), having(default_headers={"X-Tenant": "two"})),
    "cookie": (having(default_headers={"Cookie": "s=one"}), having(default_headers={"Cookie": "s=two"})),
    "cookie beside one of a load balancer": (having(default_headers={"Cookie": "__cf_bm=1; s=one"}), having(default_headers={"Cookie": "__cf_bm=1; s=two"})),
    "query": (having(default_query={"user": "one"}), having(default_query={"user": "two"})),
    "path": (having(base_url="http://127.0.0.1/one"), having(base_url="http://127.0.0.1/two")),
    "port": (having(base_url="http://127.0.0.1:1"), having(base_url="http://127.0.0.1:2")),
    "user of the HTTP client": (signing("one", "p"), signing("two", "p")),
    "password of the HTTP client": (signing("u", "one"), signing("u", "two")),
    "password in the address": (having(base_url="http://u:one@127.0.0.1"), having(base_url="http://u:two@127.0.0.1")),
}  # fmt: skip


@pytest.mark.parametrize("tenants", TENANTS)
async def test_tenants(tenants: str, folder: Path) -> None:
    """Who asks the same thing by another account gets nothing of the other's text; who asks again goes on."""
    one, two = TENANTS[tenants]
    lost, server, later = EightCharacterServer(3), EightCharacterServer(), EightCharacterServer()
    await asked(SYNC, lost, "whole", ask(), keeping(folder, "whole"), **one(lost))
    other = await asked(SYNC, server, "whole", ask(), keeping(folder, "whole"), **two(server))
    same = await asked(SYNC, later, "whole", ask(), keeping(folder, "whole"), **one(later))

    assert (*other.ending, resumed(other), server.requests) == (TEXT, "stop", "stop", 0, 4)
    assert (*same.ending, resumed(same), later.requests) == (TEXT, "stop", "stop", 2, 2)


#: Fields of a call that are other ones at each try.
PASSING: dict[str, Callable[[str], dict[str, Any]]] = {
    **{
        name: lambda value, name=name: {"extra_headers": {name: value}}
        for name in (
            "X-Request-Id", "Traceparent", "User-Agent", "Idempotency-Key", "X-Stainless-Lang", "x-ms-client-request-id",
            "Helicone-Request-Id", "x-litellm-call-id",
        )
    },
    "cookies of a load balancer": lambda value: {"extra_headers": {"Cookie": f"s=1; __cf_bm={value}; AWSALB={value}"}},
    "query": lambda value: {"extra_query": {"request_id": value, "user": "one"}},
    "rid": lambda value: {"extra_body": {"rid": value}},
    "request_id": lambda value: {"extra_body": {"request_id": value}},
}  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
async def test_names_that_differ_each_time(name: str, folder: Path) -> None:
    """Ids of requests, traces, versions and cookies of a load balancer are no other account, and no other request."""
    for number, lost in enumerate((3, 0)):
        body = {**ask(), **PASSING[name](str(number))}
        answer = await asked(SYNC, EightCharacterServer(lost), "whole", body, keeping(folder, "whole"))

    assert (*answer.ending, resumed(answer)) == (TEXT, "stop", "stop", 2)


async def test_header_of_one_call(folder: Path) -> None:
    """A tenant that is named by a header of the call is another one, too."""
    for tenant, lost in (("one", 3), ("two", 0)):
        body = {**ask(), "extra_headers": {"X-Tenant": tenant}}
        answer = await asked(SYNC, EightCharacterServer(lost), "whole", body, keeping(folder, "whole"))

    assert (*answer.ending, resumed(answer)) == (TEXT, "stop", "stop", 0)


@pytest.mark.parametrize("how", WAYS)
async def test_account_that_shows_only_later(how: str, folder: Path, warnings: Warnings) -> None:
    """Without a known account there is no journal, and one warning says so."""
    for lost in (3, 0):
        server = EightCharacterServer(lost)
        client = http.Client(transport=server, auth=lambda request: request)
        answer = await asked(SYNC, server, how, ask(), keeping(folder, how), http_client=client)

    assert (*answer.ending, resumed(answer)) == (TEXT, "stop", "stop", 0)
    assert not folder.exists()
    (warning,) = warnings()
    assert "account" in warning


@pytest.mark.parametrize("field", ["workload_identity", "_provider_runtime"])
def test_signature_of_the_sdk(field: str) -> None:
    """What the SDK signs when it sends has no account that is known before."""
    request = http.Request("POST", "http://127.0.0.1", headers={"Authorization": "Bearer placeholder"})
    plain = {"custom_auth": None, "_client": SimpleNamespace(auth=None)}

    assert account_of(SimpleNamespace(**plain), request) is not None
    assert account_of(SimpleNamespace(**plain, **{field: object()}), request) is None


@pytest.mark.skipif(not hasattr(openai.AsyncOpenAI, "_refresh_api_key"), reason="this SDK takes no functions for keys")
async def test_tenants_of_an_async_client(folder: Path) -> None:
    """An async client knows its account, too: its key may come from a coroutine."""

    def key(text: str) -> Any:
        async def later() -> str:
            return text

        return later

    answers = []
    for text, lost in (("one", 3), ("two", 0), ("one", 0)):
        answers.append(
            await asked(
                OUR_ASYNC,
                AsyncEightCharacterServer(lost),
                "streamed",
                ask(),
                keeping(folder, "streamed"),
                api_key=key(text),
            )
        )

    assert [resumed(answer) for answer in answers] == [0, 0, 2]
    assert [answer.text for answer in answers[1:]] == [TEXT, TEXT]


class AsyncEightCharacterServer(http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
    """``EightCharacterServer`` for async clients."""

    def __init__(self, *lost: int) -> None:
        self._tiny = EightCharacterServer(*lost)

    async def handle_async_request(self, request: Any) -> Any:
        return self._tiny.handle_request(request)
