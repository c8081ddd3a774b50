"""The page's style sheet: light and dark, narrow and wide, screen and paper.

Text reaches a contrast of 4.5 to 1 and drawn lines 3 to 1 in both schemes; colours of methods are told apart by
colour-blind readers, and shapes and words say the same.
"""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fdfcf9; --raised: #ffffff; --ink: #1b2430; --muted: #566070; --rule: #e0ddd4; --accent: #0b5c8f;
  --mark: #fff3c9;
  --c1: #44505e; --c2: #0b67ad; --c3: #b8480a; --c4: #0a7a55; --c5: #a2367a; --c6: #7a6200;
  --c7: #5a48b5; --c8: #a32626; --c9: #0a6f86; --c10: #6b4a2b;
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12171e; --raised: #1a212a; --ink: #e8ebef; --muted: #a3adba; --rule: #303945; --accent: #7cc0f5;
    --mark: #3d3512;
    --c1: #b4bfcb; --c2: #63b0f0; --c3: #f29657; --c4: #4fca9d; --c5: #e58bc2; --c6: #d8bb45;
    --c7: #a79af6; --c8: #f28a8a; --c9: #62cfe0; --c10: #caa37d;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 var(--font); }
header, main, footer { max-width: 84rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1, h2, .answer { font-family: var(--serif); line-height: 1.2; text-wrap: balance; }
h1 { font-size: clamp(1.9rem, 5vw, 3rem); margin: 0.1rem 0 0.4rem; letter-spacing: -0.01em; }
h2 { font-size: 1.65rem; margin: 3.2rem 0 0.6rem; padding-top: 1rem; border-top: 3px solid var(--ink); }
h3 { font-size: 1.1rem; margin: 2rem 0 0.4rem; }
p, li { max-width: 68ch; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.eyebrow { color: var(--muted); font-size: 0.85rem; letter-spacing: 0.08em; text-transform: uppercase; margin: 0; }
.question { font-size: 1.15rem; color: var(--muted); margin: 0 0 1.4rem; }
.answer { font-size: clamp(1.25rem, 2.6vw, 1.65rem); line-height: 1.38; max-width: 46em; margin: 0;
  padding: 1.1rem 1.4rem; background: var(--raised); border: 1px solid var(--rule);
  border-left: 6px solid var(--accent); border-radius: 6px; }
.caveats { color: var(--muted); font-size: 0.95rem; padding-left: 1.2rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: 0.6rem; margin: 1.4rem 0; }
.tiles div { background: var(--raised); border: 1px solid var(--rule); border-radius: 6px; padding: 0.55rem 0.8rem; }
.tiles dt { color: var(--muted); font-size: 0.82rem; }
.tiles dd { margin: 0; font: 600 1.45rem/1.2 var(--serif); }
nav { border-block: 1px solid var(--rule); margin: 1.6rem 0 0; padding: 0.5rem 0; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; list-style: none; margin: 0; padding: 0; }
nav a { display: inline-block; padding: 0.15rem 0; }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 6px; background: var(--raised); }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
caption { caption-side: top; text-align: left; color: var(--muted); padding: 0.6rem 0.8rem; font-size: 0.9rem; }
caption span { display: block; position: sticky; left: 0.8rem; max-width: min(68ch, 84vw); }
th, td { padding: 0.42rem 0.65rem; text-align: left; vertical-align: top; border-top: 1px solid var(--rule); }
thead th { color: var(--muted); font-size: 0.8rem; font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 600; }
th small { display: block; color: var(--muted); font-weight: 400; }
tbody tr:hover { background: color-mix(in srgb, var(--accent) 7%, transparent); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide td { min-width: 13rem; }
.best { background: var(--mark); padding: 0.05em 0.3em; border-radius: 3px; }
.tinted { background: color-mix(in srgb, var(--accent) calc(var(--tint) * 1%), transparent); }
tbody th, td { white-space: nowrap; }
.wide tbody th, .wide td { white-space: normal; }
thead th.number { min-width: 5.5rem; max-width: 9rem; }
.strip { display: block; width: 9.5rem; height: 0.8rem; margin: 0.25rem 0 0 auto; }
.strip line { stroke: var(--accent); stroke-width: 3; stroke-linecap: round; opacity: 0.45; }
.strip circle { fill: var(--accent); }
.strip .floor { stroke: var(--muted); stroke-width: 1.5; stroke-dasharray: 2 2; stroke-linecap: butt; opacity: 1; }
.source { color: var(--muted); font-size: 0.82rem; margin: 0.4rem 0 0; max-width: none; overflow-wrap: anywhere; }
code { font-size: 0.92em; background: color-mix(in srgb, var(--muted) 12%, transparent); padding: 0.05em 0.3em;
  border-radius: 3px; }
figure { margin: 0; }
figure p { margin: 0.2rem 0 0.6rem; }
.drawings { columns: 3 20rem; column-gap: 0.8rem; }
.drawings > div { break-inside: avoid; margin-bottom: 0.8rem; background: var(--raised);
  border: 1px solid var(--rule); border-radius: 6px; padding: 0.5rem; }
.chart { display: block; width: 100%; height: auto; max-width: 30rem; margin: 0 auto; }
.key { display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; list-style: none; margin: 0.2rem 0 0.7rem; padding: 0;
  font-size: 0.9rem; }
.key li { white-space: nowrap; }
details { margin: 0.7rem 0; }
summary { cursor: pointer; color: var(--accent); padding: 0.2rem 0; }
.none { color: var(--muted); }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; font-size: 0.9rem; }
dl.facts dt { color: var(--muted); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
footer { color: var(--muted); font-size: 0.85rem; padding-block: 3rem 2rem; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  header { padding-top: 1.4rem; }
  th, td { padding: 0.4rem 0.55rem; }
  tbody th { position: sticky; left: 0; background: var(--raised); z-index: 1; }
  dl.facts { grid-template-columns: 1fr; }
  dl.facts dd { margin-bottom: 0.4rem; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --raised: #fff; --ink: #000; --muted: #444; --rule: #ccc;
    --accent: #0b5c8f; --mark: #fff; --c1: #44505e; --c2: #0b67ad; --c3: #b8480a; --c4: #0a7a55; --c5: #a2367a;
    --c6: #7a6200;
    --c7: #5a48b5; --c8: #a32626; --c9: #0a6f86; --c10: #6b4a2b; }
  body { font-size: 10pt; }
  nav, summary { display: none; }
  .scroll { overflow: visible; border: 0; }
  table { font-size: 7.5pt; }
  th, td { padding: 0.12rem 0.22rem; }
  thead th, thead th.number { font-size: 7pt; min-width: 0; }
  .strip { width: 5rem; }
  h2 { margin-top: 1.6rem; }
  h2, h3, caption { break-after: avoid; }
  figure, .drawings > div, tr { break-inside: avoid; }
  .drawings { columns: 2; }
}
"""
