from __future__ import annotations

import pytest

from workers.companions import Companions


class Fake:
    def __init__(self, log: list[str], name: str, *, alive: bool = True, broken: bool = False) -> None:
        self.log, self.name, self.alive, self.broken = log, name, alive, broken

    def revive(self) -> bool:
        if self.broken:
            raise OSError("no such file")
        revived = not self.alive
        self.alive = True
        return revived

    def stop(self) -> None:
        self.log.append(self.name)


def test_last_one_started_is_stopped_first_and_only_once() -> None:
    stopped: list[str] = []
    companions = Companions()
    companions.add("Simulator", Fake(stopped, "simulator"))
    companions.add("State", Fake(stopped, "state"))
    companions.stop()
    companions.stop()
    assert stopped == ["state", "simulator"]


def test_dead_one_is_revived_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    companions = Companions()
    companions.add("The simulator", Fake([], "simulator", alive=False))
    companions.watch()
    companions.watch()
    assert [record.getMessage() for record in caplog.records] == ["The simulator died and was started again."]


def test_one_that_cannot_be_started_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    companions = Companions()
    state = Fake([], "state", alive=False)
    companions.add("The simulator", Fake([], "simulator", broken=True))
    companions.add("State", state)
    companions.watch()
    assert state.alive
    assert "cannot be started: no such file" in caplog.text


def test_what_dies_while_the_gateway_stops_stays_dead() -> None:
    companions = Companions()
    state = Fake([], "state", alive=False)
    companions.add("State", state)
    companions.release()
    companions.watch()
    assert not state.alive
