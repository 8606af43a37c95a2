"""Checks of a page in a browser, as expressions to evaluate there."""

from __future__ import annotations

# Source: WCAG 2.2, relative luminance and contrast ratio; 4.5 is its level AA for text.
MIN_CONTRAST = """
(() => {
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  let minimum = 99;
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility()) continue;
    const [one, other] = [parse(getComputedStyle(node).color).slice(0, 3), background(node)].map(luminance);
    minimum = Math.min(minimum, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05));
  }
  return minimum;
})()
"""
