"""Moving pictures that an encoder finds as hard as a camera's, made by FFmpeg's filters alone.

There is no footage here that could be shipped. What makes footage different from test patterns is
imitated: detail at all scales that grows fainter as it gets finer (Perlin noise, each octave 0.55
to 0.65 of the one before; photographs have about 0.5), colours that follow shapes coarser than the
brightness, motion by fractions of a pixel with a hand's sway, layers that cover each other, texture
that changes its shape as water and leaves do, out-of-focus backgrounds, a zoom, changes of light,
film grain on everything, and cuts that come where they like. Six scenes differ in what they cost:
some stay far below the bit rate of a profile, some press against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

RATE = 25
# Seconds of the scenes, 32 in all. Cuts lie on no boundary of a GOP or a segment.
_LENGTHS = (5.4, 3.1, 6.2, 4.7, 7.28, 5.32)


_Size = tuple[int, int]


def _multiple(length: float) -> int:
    """The planes of colours are half as large, and changing ones a third of that."""
    return round(length / 12) * 12


@dataclass(frozen=True, slots=True)
class _Canvas:
    width: int
    height: int

    def px(self, lines_of_720: float) -> float:
        """Lengths are written for 720 lines."""
        return lines_of_720 * self.height / 720

    def size(self, factor: float = 1.0) -> _Size:
        return _multiple(self.width * factor), _multiple(self.height * factor)


def graph(width: int, height: int) -> str:
    """For ``-filter_complex``: 32 s of pictures, ``RATE`` a second, as ``[pictures]``."""
    canvas = _Canvas(width, height)
    scenes = (_portrait, _pan, _leaves, _zoom, _traffic, _light)
    parts = [
        part
        for number, (scene, length_s) in enumerate(zip(scenes, _LENGTHS, strict=True))
        for part in _scene(scene(canvas), number, length_s, canvas)
    ]
    inputs = "".join(f"[scene{number}]" for number in range(len(scenes)))
    return ";".join([*parts, f"{inputs}concat=n={len(scenes)}[pictures]"])


def _scene(parts: Sequence[str], number: int, length_s: float, canvas: _Canvas) -> list[str]:
    """``parts``: chains whose labels hold ``@``, the last one without a label at its end."""
    finish = (
        f"scale={canvas.width}:{canvas.height}:flags=bicubic,format=yuv420p,setsar=1,"
        # As large as two lines, as grain is after a lens and a sensor's filter.
        f"noise=c0s=9:c0f=t+u:c1s=3:c1f=t+u:c0_seed={number + 1},gblur=sigma=0.45,"
        f"trim=duration={length_s},setpts=PTS-STARTPTS,fps={RATE}"
    )
    *others, last = (part.replace("@", f"s{number}") for part in parts)
    return [*others, f"{last},{finish}[scene{number}]"]


def _texture(label: str, size: _Size, shape_px: float, seed: int, *, change: float = 0.0,
             falloff: float = 0.6) -> list[str]:  # fmt: skip
    """Coloured noise. ``shape_px``: the size of its coarsest shapes; ``change``: how often a second
    they become others, then without the finest detail; ``falloff``: of one octave to the next."""
    # Noise that changes is made for each picture, at 10 million pixels a second.
    shrink = 3 if change else 1
    still = "" if change else "trim=end_frame=1,loop=loop=-1:size=1,setpts=N/25/TB,"
    made = []
    for plane, (octaves, strength) in enumerate(((7, 2.6), (3, 0.5), (3, 0.5))):
        width, height = (side // (2 if plane else 1) for side in size)
        made.append(
            f"perlin=size={width // shrink}x{height // shrink}:rate={RATE}:"
            f"octaves={octaves - shrink + 1}:persistence={falloff}:tscale={change}:"
            f"xscale={size[0] / shape_px:.3f}:yscale={size[1] / shape_px:.3f}:"
            f"random_mode=seed:random_seed={seed + plane},format=gray,{still}"
            f"scale={width}:{height}:flags=bicubic,"
            f"lut=y='clip(128+(val-128)*{strength},16,235)'[{label}{plane}]"
        )
    planes = "".join(f"[{label}{plane}]" for plane in range(3))
    mapping = "map0s=0:map1s=1:map2s=2:map0p=0:map1p=0:map2p=0:format=yuv420p"
    return [*made, f"{planes}mergeplanes={mapping}[{label}]"]


def _portrait(canvas: _Canvas) -> list[str]:
    """Somebody before a background out of focus; the camera is held by hand."""
    px, size = canvas.px, canvas.size(0.7)
    sway = f"x='{px(40)}+{px(5)}*sin(t*2.1)':y='{px(40)}+{px(4)}*sin(t*3.3)'"
    return [
        *_texture("@back", canvas.size(1.2), px(300), 11),
        f"[@back]gblur=sigma={px(5)},{_crop(canvas.width, canvas.height)}:{sway}[@far]",
        *_texture("@face", size, px(120), 17, change=0.6, falloff=0.55),
        *_oval("@face", "@oval", "@person", size),
        f"[@far][@person]overlay=x='(W-w)/2+{px(12)}*sin(t*1.3)':y='H-h+{px(8)}*sin(t*2.7)'",
    ]


def _pan(canvas: _Canvas) -> list[str]:
    """A landscape goes by."""
    px = canvas.px
    wide = _multiple(px(2720)), _multiple(px(800))
    return [
        *_texture("@land", wide, px(260), 23),
        # Twice as large, so that steps are halves of pixels.
        f"[@land]scale=iw*2:ih*2:flags=bicubic,{_crop(2 * canvas.width, 2 * canvas.height)}:"
        f"x='{px(840)}*t':y='{px(60)}+{px(30)}*sin(t*2)'",
    ]


def _leaves(canvas: _Canvas) -> list[str]:
    """Texture all over that is bent this way and that and never holds still: what costs most."""
    small, full = (f"{width}x{height}" for width, height in (canvas.size(0.25), canvas.size()))
    bending = [
        f"perlin=size={small}:rate={RATE}:octaves=2:persistence=0.5:xscale=9:yscale=6:"
        f"tscale=2:random_mode=seed:random_seed={seed},format=gray,"
        f"lut=y='128+(val-128)*{canvas.px(0.5)}',scale={full}:flags=bilinear,"
        f"format=yuv420p[@{label}]"
        for seed, label in ((61, "bendx"), (62, "bendy"))
    ]
    return [
        *_texture("@leaf", canvas.size(), canvas.px(90), 31, falloff=0.62),
        f"[@leaf]scale={full}[@tree]",
        *bending,
        "[@tree][@bendx][@bendy]displace=edge=mirror",
    ]


def _zoom(canvas: _Canvas) -> list[str]:
    """Into fine structure with hard edges."""
    return [
        f"mandelbrot=size={canvas.width}x{canvas.height}:rate={RATE}:maxiter=400:"
        "start_scale=0.02:end_scale=0.002:end_pts=118:inner=convergence,"
        "format=yuv420p,hue=s=0.5"
    ]


def _traffic(canvas: _Canvas) -> list[str]:
    """Objects of several sizes pass each other and what is behind them, at their own speeds."""
    px = canvas.px
    car, bus = canvas.size(0.35), canvas.size(0.6)
    return [
        *_texture("@back", canvas.size(1.3), px(200), 41),
        f"[@back]{_crop(canvas.width, canvas.height)}:"
        f"x='{px(16)}*t':y='{px(40)}+{px(3)}*sin(t*5)'[@far]",
        *_texture("@one", car, px(60), 43),
        *_oval("@one", "@mask1", "@car", car),
        *_texture("@two", bus, px(150), 47),
        *_oval("@two", "@mask2", "@bus", bus),
        f"[@far][@car]overlay=x='-w+{px(430)}*t':y='{px(60)}+{px(20)}*sin(t)'[@some]",
        f"[@some][@bus]overlay=x='W-{px(300)}*t':y='{px(280)}+{px(6)}*sin(t*9)'",
    ]


def _light(canvas: _Canvas) -> list[str]:
    """Light that changes over slow colours, with a fade from black."""
    size = canvas.size()
    return [
        f"gradients=size={size[0]}x{size[1]}:rate={RATE}:n=5:speed=0.012:seed=5:type=radial,"
        "format=yuv420p[@sky]",
        *_texture("@haze", size, canvas.px(400), 53, change=0.5, falloff=0.5),
        "[@sky][@haze]blend=all_mode=overlay:all_opacity=0.8,"
        "eq=brightness='0.12*sin(t*4)':eval=frame,fade=t=in:d=0.8",
    ]


def _crop(width: int, height: int) -> str:
    return f"crop={width}:{height}"


def _oval(body: str, mask: str, out: str, size: _Size) -> list[str]:
    """``body`` cut to an oval with a soft edge."""
    shape = "clip(255*8*(1-hypot((X-W/2)/(W/2),(Y-H/2)/(H/2))),0,255)"
    return [
        f"color=black:size={size[0]}x{size[1]}:rate={RATE},format=gray,trim=end_frame=1,"
        f"geq=lum='{shape}',loop=loop=-1:size=1,setpts=N/25/TB[{mask}]",
        f"[{body}][{mask}]alphamerge[{out}]",
    ]
