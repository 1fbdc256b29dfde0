// The newest recovery point, and everything kept that is young enough.

import { Failure } from "landfall";

export default {
  choices: () => [
    {
      name: "newest",
      summary: "The newest point that is ready to use",
      needsProcessing: false,
      needsGroup: false,
      params: [],
      ext: [],
    },
  ],

  select: (request) => request.candidates.map(select),

  // Times are BigInt, as they have 64 bits in the contract.
  retain(request) {
    const [, text] = request.params.find(([name]) => name === "keep-ms") ?? [];
    const verdict = (item, point) => {
      const age = request.nowMs - point.sourceTimeMs;
      const keep = text === undefined || age <= BigInt(text);
      return { item, point: point.id, keep, reason: `${age / 1000n} s old` };
    };
    return request.candidates.flatMap(({ item, points }) => points.map((point) => verdict(item, point)));
  },
};

function select({ item, points }) {
  // Points come newest first; one that is not processed cannot be used yet.
  const point = points.find((point) => point.processed);
  if (!point) throw Failure.definite("no-point", `${item} has no point to use`);
  return { item, point: point.id, reason: "the newest" };
}
