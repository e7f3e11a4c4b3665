// Two texts side by side: which lines of one stand beside which of the other, and which words of them differ. Pure.

/** Longer contents are compared line by line at the same place only. */
const ALIGNED_MAX = 400;

/** For each item of either list whether the other one has it too: the longest common subsequence. */
function common(a, b) {
  if (a.length > ALIGNED_MAX || b.length > ALIGNED_MAX) {
    return [a.map((item, at) => item === b[at]), b.map((item, at) => item === a[at])];
  }
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  const [inA, inB] = [a.map(() => false), b.map(() => false)];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) [inA[i++], inB[j++]] = [true, true];
    else if (best[i + 1][j] >= best[i][j + 1]) i += 1;
    else j += 1;
  }
  return [inA, inB];
}

/** Rows {a, b, same}: equal lines beside each other, and between them what either side has instead; `null` where one has none. */
export function beside(a, b) {
  const [inA, inB] = common(a, b);
  const rows = [];
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    const [lone, other] = [i < a.length && !inA[i], j < b.length && !inB[j]];
    if (lone || other) rows.push({ a: lone ? a[i++] : null, b: other ? b[j++] : null, same: false });
    else if (i < a.length && j < b.length) rows.push({ a: a[i++], b: b[j++], same: true });
    else break;
  }
  return rows;
}

/** Words, numbers and blanks whole, every other sign by itself. */
const tokens = (line) => line.match(/\s+|[\p{L}\p{N}_]+|./gsu) ?? [];

/** Neighbours that are alike as one piece. */
function pieces(items, isCommon) {
  const all = [];
  items.forEach((text, at) => {
    const last = all.at(-1);
    if (last && last.same === isCommon[at]) last.text += text;
    else all.push({ text, same: isCommon[at] });
  });
  return all;
}

/** Both lines in pieces {text, same}. */
export function words(a, b) {
  const [ofA, ofB] = [tokens(a), tokens(b)];
  const [inA, inB] = common(ofA, ofB);
  return [pieces(ofA, inA), pieces(ofB, inB)];
}

/** Rows without the equal ones that are further than `around` from one that differs; {skipped} in their place. */
export function folded(rows, around) {
  const near = rows.map((_, at) => rows.slice(Math.max(0, at - around), at + around + 1).some((row) => !row.same));
  const all = [];
  rows.forEach((row, at) => {
    const last = all.at(-1);
    if (near[at]) all.push(row);
    else if (last?.skipped) last.skipped += 1;
    else all.push({ skipped: 1 });
  });
  return all;
}
