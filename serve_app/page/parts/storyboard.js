/* Thumbnails by time, from WebVTT: `00:01:00.000 --> 00:01:10.000` and then `sheet.jpg#xywh=0,0,160,90`. */
import { get } from "../lib/api.js";

const TIME = /(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)/;

export async function readStoryboard(path) {
  return parse(await get(path, { mayAsk: false }), new URL(path, location.href));
}

export function parse(text, base) {
  const lines = text.split(/\r?\n/);
  const tiles = [];
  lines.forEach((line, n) => {
    if (!line.includes("-->")) return;
    const [from, to] = line.split("-->").map(secondsOf);
    const [file, place] = (lines[n + 1] ?? "").trim().split("#xywh=");
    if (!place) return;
    const [x, y, width, height] = place.split(",").map(Number);
    tiles.push({ from, to, x, y, width, height, url: new URL(file, base).href });
  });
  return tiles;
}

/** The one that is shown then: the last one that has begun. */
export function tileAt(tiles, at) {
  let found = tiles[0];
  for (const tile of tiles) {
    if (tile.from > at) break;
    found = tile;
  }
  return found;
}

function secondsOf(text) {
  const [, hours = 0, minutes, rest] = TIME.exec(text) ?? [0, 0, 0, 0];
  return 3600 * Number(hours) + 60 * Number(minutes) + Number(rest);
}
