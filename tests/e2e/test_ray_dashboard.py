"""What an operator sees in the Ray dashboard, by the API that its pages ask."""

from collections import Counter

from tests.e2e.conftest import NewBroadcast
from tests.e2e.world import Json, World, ask_ray, eventually


def listed(world: World, what: str) -> list[Json]:
    return ask_ray(world, f"/api/v0/{what}?limit=10000")["data"]["result"]["result"]


def test_actors_and_tasks_are_named_after_what_they_work_for(
    broadcast: NewBroadcast, world: World
) -> None:
    live = broadcast()
    live.show(1)
    live.tell("started")
    own = f"recording:{live.recording()['id']}"

    def running() -> set[str]:
        return {actor["name"] for actor in listed(world, "actors") if actor["state"] == "ALIVE"}

    eventually(lambda: own in running())
    actors = running()
    assert actors >= {f"vodray:{name}" for name in ("capture", "pool", "reconciler", "kafka")}
    assert actors >= {"vodray:worker:0", "vodray:worker:1"}
    live.show_whole()
    live.tell("ended")
    chunks = len(world.report(live.completed())["chunks"])

    def done() -> Counter[str]:
        tasks = listed(world, "tasks")
        return Counter(task["name"] for task in tasks if task["state"] == "FINISHED")

    eventually(lambda: done()[f"chunk of {own}"] == chunks)
    assert done()[f"look of {own}"]


def test_the_serve_application_is_healthy(world: World) -> None:
    (application,) = ask_ray(world, "/api/serve/applications/")["applications"].values()
    assert (application["name"], application["status"]) == ("vodray", "RUNNING")
