"""The bench's own arithmetic, what it says of processes, and one short real run."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from rich.console import Console

from bench import encoding, ladder, transcode
from bench.__main__ import main
from bench.compare import compare
from bench.curve import Curve, Point
from bench.plot import draw
from bench.quality import Sample as Picture
from bench.quality import join_times_s
from bench.report import compared, print_outcome
from bench.result import Options, Result
from bench.run import Contender, Sample, Spread, ratios, spread, take_turns
from bench.vbv import fill
from bench.watch import Usage, Watch, kind_of
from pipeline.model import EncodedPictures


def usage(kind: str, cpu_s: float, written: int = 0) -> Usage:
    return Usage(
        kind=kind,
        processes=1,
        cpu_s=cpu_s,
        peak_rss_bytes=2**20,
        peak_pss_bytes=2**20,
        peak_uss_bytes=2**20,
        written_bytes=written,
    )


def sample(contender: str, number: int, wall_s: float) -> Sample:
    return Sample(
        contender=contender,
        round=number,
        wall_s=wall_s,
        usage=(usage("worker", 2.0, 5), usage("weed", 3.0, 700)),
    )


def test_ratios_are_taken_round_by_round() -> None:
    """A slow round slows both: the ratio of the medians would say 1.5 here."""
    samples = [
        *(sample("ours", n, wall) for n, wall in enumerate((2.0, 20.0, 3.0))),
        *(sample("peer", n, wall) for n, wall in enumerate((1.0, 10.0, 2.0))),
    ]
    assert ratios(samples, "ours", "peer") == Spread(median=2.0, min=1.5, max=2.0)
    assert spread(samples, "ours", lambda s: s.wall_s) == Spread(median=3.0, min=2.0, max=20.0)


def test_cpu_is_compared_round_by_round_too() -> None:
    samples = [sample("ours", 1, 2.0), sample("peer", 1, 1.0)]
    assert ratios(samples, "ours", "peer", lambda s: s.own_cpu_s).median == 1.0


# --- pictures -------------------------------------------------------------------------------------


def test_a_buffer_that_is_drained_fills_again() -> None:
    """1000 bit/s into 1000 bits, 900 there: 125 bytes a second hold, more do not."""
    steady = fill([(n, 100) for n in range(5)], max_rate=1000, size=1000)
    assert (steady.lowest, steady.underflows, steady.late) == (pytest.approx(0.1), 0, 0)
    burst = fill([(0, 100), (1, 150), (2, 150), (3, 25), (4, 25)], max_rate=1000, size=1000)
    # 100, -200, -400, 400, 800.
    assert (burst.lowest, burst.lowest_s) == (pytest.approx(-0.4), 2)
    assert (burst.underflows, burst.late, burst.late_s) == (1, 2, pytest.approx(0.4))


def test_a_buffer_holds_no_more_than_its_size() -> None:
    assert fill([(0, 1), (60, 150)], max_rate=1000, size=1000).lowest == pytest.approx(-0.2)


def test_joins_are_where_chunks_begin_but_the_first() -> None:
    # The second of each chunk is shown after the third.
    pictures = [
        Picture(offset=100 * n, size_bytes=90, decoded_s=0.04 * n, shown_s=0.04 * shown)
        for n, shown in enumerate((0, 2, 1, 3, 5, 4))
    ]
    assert join_times_s(pictures, [250, 20]) == [pytest.approx(0.12)]


def test_the_peer_has_the_profile_s_settings() -> None:
    spec = EncodedPictures(
        encoder="libx264", width=1280, height=720, gop=600, max_rate=2_800_000,
        buffer_size=5_600_000, options=(("preset", "faster"), ("crf", "23")),
    )  # fmt: skip
    assert " ".join(encoding.settings_of(spec)) == (
        "-c:v libx264 -preset faster -crf 23 -maxrate 2800000 -bufsize 5600000 -pix_fmt yuv420p "
        "-g 600 -keyint_min 300 -sc_threshold 0 -fps_mode passthrough -force_key_frames source"
    )


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("task", "height", "content", "outputs"),
    [
        (transcode.TASK, 180, "natural", {"main"}),
        (ladder.TASK, 432, "synthetic", {"360p"}),
    ],
    ids=["transcode", "ladder"],
)
def test_a_small_one_is_encoded_for_real(
    task: encoding.Task, height: int, content: str, outputs: set[str], tmp_path: Path
) -> None:
    options = Options(folder=tmp_path, lengths_s=(24,), rounds=1, content=content)
    result = encoding.run(replace(task, height=height), options, lambda _: None)
    figures = json.loads(json.dumps(result.as_json()))
    assert set(figures["ratios"]) == {"vodray/ffmpeg"}
    assert figures["input"]["pictures"] == 600
    for contender in ("vodray", "ffmpeg"):
        assert set(figures["quality"][contender]) == outputs
        for made in figures["quality"][contender].values():
            assert made["pictures"] == made["decoded"] == 600
            assert 60 < made["vmaf_p5"] <= made["vmaf"] <= 100
            assert made["joins"]
            assert made["buffer"]["lowest"] < 0.9
    assert figures["one_thread"]["contender"] == "ffmpeg1"
    assert figures["speed"]["encoders_cpu_ms_per_picture"]["vodray"]["median"] > 0
    print_outcome(result, Console())
    assert "vodray" in draw(result)


# --- processes ------------------------------------------------------------------------------------


def test_servers_are_told_apart() -> None:
    one = sample("ours", 1, 1.0)
    assert (one.cpu_s, one.own_cpu_s, one.own_written_bytes) == (5.0, 2.0, 5)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Spread(median=1.3, min=1.2, max=1.5), "1.30 x as long (1.20..1.50)"),
        (Spread(median=0.5, min=0.4, max=0.625), "2.00 x faster (1.60..2.50)"),
    ],
)
def test_a_ratio_in_words(ratio: Spread, words: str) -> None:
    assert compared(ratio) == words


def test_turns_are_taken_and_the_first_does_not_count() -> None:
    ran: list[str] = []
    cleaned: list[int] = []
    samples = take_turns(
        [Contender(name=name, title=name, run=ran.append) for name in "ab"],
        rounds=2,
        roots=[],
        between=lambda: cleaned.append(len(ran)),
        say=lambda _: None,
    )
    assert ran == ["a-0", "b-0", "b-1", "a-1", "a-2", "b-2"]
    assert cleaned == [1, 2, 3, 4, 5, 6]
    assert [(s.contender, s.round) for s in samples] == [("b", 1), ("a", 1), ("a", 2), ("b", 2)]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("ray::Worker.run", "worker"),
        ("ray::RecordingProcess.run", "supervisor"),
        ("ray::CaptureProcess", "capture"),
        ("ray::ServeReplica:vodray:App", "http"),
        ("/env/bin/weed -logdir=log mini -dir=.", "weed"),
        ("postgres: vodray recordings 127.0.0.1(4711) idle", "postgres"),
        ("/env/pginstall18/bin/postgres -D data", "postgres"),
        ("/env/binaries/ffmpeg-linux-x86_64-v9 -i x", "ffmpeg"),
        ("/env/ray/core/src/ray/raylet/raylet --raylet_socket_name=x", "raylet"),
        ("/env/ray/core/src/ray/gcs/gcs_server --log_dir=x", "ray gcs"),
        ("/env/bin/python /env/ray/dashboard/dashboard.py --host=x", "ray dashboard"),
        ("/env/bin/python -m serve_app.cli up --port 0", "vodray up"),
        ("/env/bin/python -c from multiprocessing.spawn import main", "bench"),
    ],
)
def test_kinds_of_processes(command: str, kind: str) -> None:
    assert kind_of(command) == kind


_BUSY = """
import sys, time
block = bytearray(100 << 20)
open(sys.argv[1], "wb").write(bytes(10 << 20))
while time.process_time() < 0.6: pass
sys.stdin.read(1)
"""


def test_a_watched_process_shows_what_it_used(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _BUSY, str(tmp_path / "file")]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as other,
        subprocess.Popen(command, stdin=subprocess.PIPE) as child,
    ):
        with Watch([child.pid]) as watch:
            time.sleep(0.1)
            while min(used(child.pid), used(other.pid)) < 0.4:
                time.sleep(0.05)
        child.communicate(b"x", timeout=10)
        other.communicate(b"x", timeout=10)
    # Before it is what it will be, the child may be seen as a copy of this process.
    (seen,) = (kind for kind in watch.usage() if kind.cpu_s > 0.1)
    assert seen.processes == 1
    assert 0.1 < seen.cpu_s < 2.0
    assert 100 << 20 < seen.peak_uss_bytes <= seen.peak_pss_bytes <= seen.peak_rss_bytes < 200 << 20
    assert seen.written_bytes < 20 << 20


_SWELLING = """
import sys
for size in (1, 200 << 20, 1):
    held = bytearray(size)
    print(flush=True)
    sys.stdin.readline()
"""


def test_a_short_peak_of_memory_is_seen_in_what_a_process_has_for_itself() -> None:
    command = [sys.executable, "-c", _SWELLING]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as child:
        assert child.stdin
        assert child.stdout
        with Watch([child.pid]) as watch:
            for _ in range(3):
                child.stdout.readline()
                # Several looks, by far not ten seconds.
                time.sleep(0.8)
                child.stdin.write(b"\n")
            time.sleep(0.3)
    peak = max(watch.usage(), key=lambda usage: usage.peak_rss_bytes)
    assert 200 << 20 < peak.peak_uss_bytes <= peak.peak_pss_bytes <= peak.peak_rss_bytes


def used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def result() -> Result:
    return Result(
        name="remux",
        title="1 h <of> stream",
        unit="s",
        facts={
            "cpu": "a & b",
            "cores": 2,
            "commit": "abc",
            "memory_bytes": 2**30,
            "load_average_1m": 0.5,
        },
        input={"title": "a stream"},
        titles={"ours": "ours", "peer": "a peer"},
        samples=(sample("ours", 1, 1.5), sample("peer", 1, 1.0)),
        subject="ours",
        reference="peer",
    )


_SVG = "{http://www.w3.org/2000/svg}"


def drawn(outcome: Result | Curve) -> tuple[dict[str, list[tuple[float, float]]], str]:
    """The corners of each contender's shape, and all words."""
    root = ET.fromstring(draw(outcome))
    paths = {
        group.get("id", ""): group.find(f"{_SVG}path").get("d", "")  # type: ignore[union-attr]
        for group in root.iter(f"{_SVG}g")
        if group.get("id") in {"ours", "peer"}
    }
    corners = {
        name: [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]
        for name, path in paths.items()
    }
    return corners, " ".join(t.text or "" for t in root.iter(f"{_SVG}text"))


def test_bars_are_to_scale() -> None:
    corners, words = drawn(result())
    long, short = (
        max(x for x, _ in corners[name]) - min(x for x, _ in corners[name])
        for name in ("ours", "peer")
    )
    assert long / short == pytest.approx(1.5, rel=0.01)
    assert "1.50 x as long" in words
    assert "1 h <of> stream" in words


def curve() -> Curve:
    """Ours needs 2 s whatever the length, the peer 10 s and 100 s."""
    points = [
        Point(
            length_s=length_s,
            result=replace(
                result(), samples=(sample("ours", 1, 2.0), sample("peer", 1, length_s / 30))
            ),
        )
        for length_s in (300, 3000)
    ]
    return Curve(name="live", title="time <to> VOD", points=tuple(points), notes=("a note",))


def test_a_curve_is_flat_or_rises() -> None:
    corners, words = drawn(curve())
    assert corners["ours"][0][1] == corners["ours"][-1][1]
    # Upwards.
    assert corners["peer"][0][1] > corners["peer"][-1][1] + 20
    for said in ("5 min", "50 min", "ours: 2 s", "peer: 100 s", "time <to> VOD"):
        assert said in words


def test_a_curve_in_words_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(curve(), Console(width=200))
    said = capsys.readouterr().out
    assert "50.00 x faster" in said
    assert "- a note" in said
    figures = json.loads(json.dumps(curve().as_json()))
    assert [point["length_s"] for point in figures["points"]] == [300, 3000]
    assert figures["points"][1]["wall_s"]["peer"]["median"] == 100.0


def test_figures_are_json() -> None:
    figures = json.loads(json.dumps(result().as_json()))
    assert figures["ratios"] == {"ours/peer": {"median": 1.5, "min": 1.5, "max": 1.5}}
    assert figures["samples"][0]["usage"][1]["kind"] == "weed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["remux", "--length", "soon"], "not a duration"),
        (["remux", "--length", "2s"], "shorter than 20s"),
        (["remux", "--rounds", "0"], "--rounds"),
        (["transcode", "--content", "film"], "'film' is not one of"),
    ],
)
def test_what_is_not_there_is_said(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_help_teaches() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    assert "remux      an ended stream in S3" in said
    assert "python -m bench remux --length 5m" in said
    assert (
        "Against: FFmpeg after a download" in CliRunner().invoke(main, ["remux", "--help"]).output
    )


def test_figures_and_plot_are_always_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.__main__._OUT", tmp_path / "out")
    measured = replace(result(), input={"title": "a stream", "segments": 2, "bytes": 1})
    monkeypatch.setattr("bench.remux.run", lambda *_: measured)
    done = CliRunner().invoke(main, ["remux", "--plot", str(tmp_path / "drawn.svg")])
    assert done.exit_code == 0
    assert json.loads((tmp_path / "out/remux.json").read_text())["bench"] == result().name
    assert "<svg" in (tmp_path / "drawn.svg").read_text()
    assert not (tmp_path / "out/remux.svg").exists()


def written(path: Path, *medians: float) -> Path:
    """Rounds that are a tenth of a second apart, the peer needs 1 s in each."""
    samples = [sample("ours", n, wall) for n, wall in enumerate(medians)]
    samples += [sample("peer", n, 1.0) for n in range(len(medians))]
    outcome = replace(result(), samples=tuple(samples), input={"seconds": 3600})
    path.write_text(json.dumps(outcome.as_json()))
    return path


@pytest.mark.parametrize(
    ("after", "code", "said"),
    [
        ((1.0, 1.05, 1.1), 0, "1.05 x"),
        ((1.3, 1.4, 1.5), 1, "worse"),
        # One round was as fast as ever.
        ((1.0, 1.4, 1.5), 0, "1.40 x"),
    ],
)
def test_outcomes_are_compared(
    after: tuple[float, ...], code: int, said: str, tmp_path: Path
) -> None:
    paths = (written(tmp_path / "a", 0.9, 1.0, 1.1), written(tmp_path / "b", *after))
    done = CliRunner().invoke(main, ["compare", *map(str, paths)])
    assert done.exit_code == code, done.output
    assert "remux 1 h, ours/peer" in done.output
    assert said in done.output


def test_the_points_of_a_curve_are_compared(tmp_path: Path) -> None:
    figures = curve().as_json()
    for point in figures["points"]:
        point["input"]["seconds"] = point["length_s"]
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(figures))
    changes = compare(path, path)
    assert [change.name for change in changes] == [
        f"live {length}, ours/peer{of}" for length in ("5 min", "50 min") for of in ("", ", CPU")
    ]
    assert changes[0].factor == 1.0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 0}', '{"schema": 1, "bench": "x"}'])
def test_what_is_no_outcome_is_said(text: str, tmp_path: Path) -> None:
    wrong, right = tmp_path / "wrong.json", written(tmp_path / "right.json", 1.0)
    wrong.write_text(text)
    done = CliRunner().invoke(main, ["compare", str(right), str(wrong)])
    assert done.exit_code == 1
    assert "wrong.json" in done.output


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_minute_for_real(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "remux", "--length", "1m", "--rounds", "1",
         "--json", str(tmp_path / "out.json"), "--plot", str(tmp_path / "out.svg")],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    assert set(figures["ratios"]) == {"vodray/concat", "vodray/stream", "vodray/limit"}
    kinds = {u["kind"]: u for s in figures["samples"] for u in s["usage"] if s["round"] == 1}
    assert {"supervisor", "worker", "weed", "postgres", "raylet", "ffmpeg"} <= set(kinds)
    ours = next(s for s in figures["samples"] if s["contender"] == "vodray")
    worker = next(u for u in ours["usage"] if u["kind"] == "worker")
    assert worker["cpu_s"] > 0
    assert worker["written_bytes"] < 10**6
    assert "vodray" in (tmp_path / "out.svg").read_text()
    assert "x as long" in done.stdout or "x faster" in done.stdout
