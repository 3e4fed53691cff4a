"""What one sees of a page, asked in the page itself."""

ENOUGH_CONTRAST = 4.5
"""Of text and what is behind it: WCAG 2.2, success criterion 1.4.3."""

CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = channels(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] > 0.5) return color;
    }
    return [255, 255, 255];
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const everything = { opacityProperty: true, visibilityProperty: true };
  const shown = (element) => own(element) && element.checkVisibility(everything);
  return [...document.querySelectorAll("body *:not(svg *, script, option)")].filter(shown).map((element) => {
    const [a, b] = [getComputedStyle(element).color, behind(element)].map((color) =>
      luminance(typeof color === "string" ? channels(color) : color));
    return [element.textContent.trim().slice(0, 60), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""
"""[text, contrast] of each element that shows text of its own. SVG is left out, whose text takes no `color`."""

FOCUS_VISIBLE = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
}"""
"""Whether what has the focus is outlined."""
