/* Numbers and times as people read them. */

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Short times, to a tenth: of gaps and stages. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? duration(value) : `${value.toFixed(value < 1 ? 2 : 1)} s`;
}

export function bytes(value) {
  if (!value) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(value) / 3), units.length - 1);
  const scaled = value / 1000 ** power;
  return `${scaled.toFixed(scaled < 10 && power ? 1 : 0)} ${units[power]}`;
}

export const count = (value) => (value ?? 0).toLocaleString("en");

export const bitRate = (value) =>
  value >= 1e6 ? `${(value / 1e6).toFixed(1)} Mbit/s` : `${Math.round(value / 1000)} kbit/s`;

const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const timeOnly = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

export function instant(text) {
  if (!text) return "–";
  const at = new Date(text);
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? `today, ${timeOnly.format(at)}` : dayAndTime.format(at);
}

export const nameOf = (recording) => recording.title || recording.stream_id;
export const isFinal = (recording) => ["completed", "failed"].includes(recording.status);
