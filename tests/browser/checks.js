({
  // Texts that are too faint on what they stand on: WCAG 2.2, success criterion 1.4.3 (AA).
  faint() {
    const parts = (text) => text.match(/[\d.]+/g).map(Number);
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = (colour) => {
      const [r, g, b] = colour.map((v) => linear(v / 255));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
      for (; element; element = element.parentElement) {
        const colour = parts(getComputedStyle(element).backgroundColor);
        if (colour.length < 4 || colour[3] > 0) return colour;
      }
      return [255, 255, 255];
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
      const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
      const style = getComputedStyle(element);
      const seen = element.checkVisibility() && style.clipPath === "none" && style.fontSize !== "0px";
      if (!says || !seen || element.closest("svg")) continue;
      const [a, b] = [light(parts(style.color)), light(ground(element))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) found.push(`${element.outerHTML.slice(0, 80)}: ${ratio.toFixed(2)}`);
    }
    return found;
  },

  // How far the page is wider than the window, in pixels.
  overflow() {
    return document.documentElement.scrollWidth - document.documentElement.clientWidth;
  },

  // What can be pressed but lies outside of the window.
  beyond() {
    return [...document.querySelectorAll("button, summary, a")]
      .filter((element) => element.checkVisibility())
      .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
      .map((element) => element.textContent);
  },

  // How much has moved by itself until now.
  jumps() {
    let sum = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    return new Promise((done) => {
      requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(sum))));
    });
  },
})
