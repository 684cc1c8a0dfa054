// What the tests ask of an open report: functions that return lists of what is wrong.
"use strict";

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const isShown = (one) => one.getBoundingClientRect().width > 0;
const edge = () => document.documentElement.clientWidth + 1;
const shownPlots = () => all("svg.plot").filter(isShown);

// Elements that reach out of the window's width and lie in no box that scrolls.
const tooWide = () =>
  all("body *")
    .filter((one) => isShown(one) && one.getBoundingClientRect().right > edge())
    .filter((one) => !one.closest(".scroll, pre, .skip"))
    .map((one) => `${one.tagName} ${one.className}`);

// Tables that reach beyond the paper, and cells that hold more than they show.
const cut = () =>
  all("table, th, td, pre, pre code")
    .filter((one) => {
      const overflows = one.tagName !== "TABLE" && one.scrollWidth > one.clientWidth + 1;
      return one.getBoundingClientRect().right > edge() || overflows;
    })
    .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`);

// Pairs of labels in one plot whose letters, as this browser draws them, overlap.
const touchingLabels = () =>
  shownPlots().flatMap((plot) => {
    const labels = all("text.label", plot).map((one) => [
      one.textContent,
      one.getBoundingClientRect(),
    ]);
    const touch = (a, b) =>
      a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
    return labels.flatMap(([name, box], place) =>
      labels.slice(place + 1).filter(([, other]) => touch(box, other)).map(([other]) => [name, other]),
    );
  });

// Each wide plot's marks, and the candidates of the table below it.
const marksAndRows = () =>
  all("svg.plot.wide").map((plot) => {
    const table = plot.closest("section").querySelector("[id$=candidates]").closest("table");
    return [
      all("g.mark", plot).filter(isShown).map((one) => one.dataset.name).sort(),
      all("tbody th", table).map((one) => one.firstChild.textContent).sort(),
    ];
  });

// The text that stands out least from what lies behind it: its contrast by WCAG 2.2, and itself.
const leastContrast = () => {
  const canvas = document.createElement("canvas");
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  const laid = (colour, under) => {
    for (const paint of [under, colour]) {
      brush.fillStyle = paint;
      brush.fillRect(0, 0, 1, 1);
    }
    return `rgb(${[...brush.getImageData(0, 0, 1, 1).data].slice(0, 3).join(",")})`;
  };
  const behind = (one) => {
    const above = one.parentElement ? behind(one.parentElement) : "rgb(255,255,255)";
    return laid(getComputedStyle(one).backgroundColor, above);
  };
  const luminance = (colour) =>
    colour
      .match(/\d+/g)
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
      .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const contrast = (one) => {
    const under = behind(one);
    const style = getComputedStyle(one);
    const ink = laid(one.closest("svg") ? style.fill : style.color, under);
    const [dim, bright] = [luminance(ink), luminance(under)].sort((a, b) => a - b);
    return (bright + 0.05) / (dim + 0.05);
  };
  const hasText = (one) =>
    [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  return all("body *")
    .filter((one) => hasText(one) && isShown(one) && !one.closest("title, desc"))
    .map((one) => [contrast(one), `${one.tagName} ${one.textContent.trim().slice(0, 30)}`])
    .sort((a, b) => a[0] - b[0])[0];
};
