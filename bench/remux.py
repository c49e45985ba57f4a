"""``remux``: an ended stream in S3 becomes an MP4 in S3."""

from collections.abc import Callable
from uuid import uuid4

from bench import peers
from bench.curve import length_in_words
from bench.facts import machine_facts
from bench.media import PLAIN, make_stream
from bench.result import Options, Result
from bench.run import Contender, take_turns
from bench.stages import stage_table
from bench.world import World, running
from pipeline.model import Recording

OURS, LIMIT = "vodray", "limit"


def run(options: Options, say: Callable[[str], object]) -> Result:
    facts = machine_facts(options.folder)
    say(f"input: {options.length_s} s of stream")
    stream = make_stream(PLAIN, options.length_s, options.folder / "media")
    recordings: list[Recording] = []
    with running(options.folder, flame=options.flame) as world:
        place = world.publish(stream.folder, "bench")
        movers = peers.Movers()
        try:
            peers.warm(movers)
            contenders = _contenders(world, place, movers, recordings)
            samples = take_turns(
                contenders,
                rounds=options.rounds,
                roots=[world.pid],
                between=lambda: world.settle(stream.size_bytes),
                say=say,
            )
        finally:
            movers.stop()
        timings = [world.report(recording)["timings_s"] for recording in recordings[1:]]
        titles = {c.name: c.title for c in contenders}
    return Result(
        name="remux",
        title=f"{length_in_words(stream.seconds)} of ended stream in S3 to one MP4 in S3",
        unit="s from announcement to MP4",
        facts=facts,
        input=stream.facts(),
        titles=titles,
        samples=tuple(samples),
        subject=OURS,
        reference=LIMIT,
        extra={"report_timings_s": timings},
        tables=(stage_table(timings),),
    )


def _contenders(
    world: World, place: peers.Place, movers: peers.Movers, recordings: list[Recording]
) -> list[Contender]:
    def ours(name: str) -> None:
        recordings.append(world.record(f"{name}-{uuid4().hex[:8]}", place.hls_path))

    return [
        Contender(name=OURS, title="vodray: webhook to completed recording", run=ours),
        # Next to ours in every round: the machine's speed changes within minutes.
        Contender(
            name=LIMIT,
            title="(c) limit: the same bytes read and written, nothing else",
            run=lambda name: peers.bare_transfer(place, movers, name),
        ),
        *peers.scripts(place, movers),
    ]
