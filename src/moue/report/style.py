"""The page's style sheet: a printed journal's measure and rules, light and dark."""

CSS = """
:root{--paper:#fbfaf7;--card:#fff;--ink:#1d2430;--soft:#5c6470;--rule:#d9d6cf;--mark:#0b5c9e;--tint:#eef4f9;--best:#f1f6ea}
@media(prefers-color-scheme:dark){:root{--paper:#14171c;--card:#1b1f26;--ink:#e6e8eb;--soft:#a0a8b3;--rule:#343a44;
--mark:#7bbcf0;--tint:#1b2530;--best:#1e2a20}figure img{filter:invert(.91) hue-rotate(180deg)}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:17px/1.55 Charter,"Bitstream Charter","Iowan Old Style",Georgia,"Liberation Serif",serif}
main{max-width:1040px;margin:0 auto;padding:56px 28px 80px}
h1{font-size:2.35rem;line-height:1.15;margin:0 0 .3rem;letter-spacing:-.015em;text-wrap:balance}
h2{font-size:1.45rem;margin:0 0 .9rem;padding-top:2.6rem;letter-spacing:-.01em}
.subtitle{color:var(--soft);margin:0;font-size:1.05rem}
a{color:var(--mark);text-decoration-thickness:1px;text-underline-offset:3px}
nav,table,figcaption,.facts,.details,.verdict dt,caption{
font-family:Inter,"Helvetica Neue",Arial,"Liberation Sans",sans-serif}
nav{display:flex;flex-wrap:wrap;gap:.4rem 1.3rem;margin-top:1rem;font-size:.85rem}
.verdict{margin-top:1.8rem;padding:1.3rem 1.6rem;background:var(--tint);border-left:4px solid var(--mark)}
.verdict dl{margin:0;display:grid;grid-template-columns:11.5rem 1fr;gap:.55rem 1.2rem}
.verdict dt{font-weight:600;font-size:.85rem;padding-top:.17rem}
.verdict dd{margin:0}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums;line-height:1.35;
border-bottom:1.5px solid var(--ink)}
caption{caption-side:bottom;text-align:left;color:var(--soft);font-size:.8rem;padding:.7rem 0 0;line-height:1.45}
thead th{border-top:1.5px solid var(--ink);border-bottom:1px solid var(--ink);font-weight:600;vertical-align:bottom}
th,td{padding:.5rem .7rem;text-align:left;vertical-align:baseline}
th:first-child{padding-left:.3rem}
tbody tr+tr>*{border-top:1px solid var(--rule)}
tbody th{font-weight:500}
tbody th small{display:block;color:var(--soft);font-weight:400}
.n{text-align:right;white-space:nowrap}
td span:not(.plain){color:var(--soft)}
tr.best{background:var(--best)}
tr.quoted{font-style:italic;color:var(--soft)}
tr.missing td{color:var(--soft)}
.grid{display:grid;grid-template-columns:repeat(12,1fr);gap:18px}
figure{margin:0;grid-column:span 6;background:var(--card);border:1px solid var(--rule);padding:14px 16px 12px;
display:flex;flex-direction:column;justify-content:space-between;min-width:0}
figure.full{grid-column:1/-1}
figure img{display:block;width:100%;height:auto;margin:auto}
figure.full img{max-width:860px}
figcaption{color:var(--soft);font-size:.8rem;line-height:1.45;margin-top:.7rem}
.tabular{justify-content:flex-start}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.4rem,1fr));gap:.8rem 1.2rem;margin:0 0 1.1rem}
.facts dt,.details dt{color:var(--soft);font-size:.78rem}
.facts dd{margin:0;font-size:1.12rem;font-weight:600;font-variant-numeric:tabular-nums}
.details{margin:1rem 0 0;font-size:.86rem}
.details div{display:grid;grid-template-columns:11.5rem 1fr;gap:1.2rem;padding:.4rem 0;border-top:1px solid var(--rule)}
.details dt{font-size:.86rem}
.details dd{margin:0;overflow-wrap:anywhere}
code{font:.92em/1.4 ui-monospace,SFMono-Regular,Menlo,"Liberation Mono",monospace}
@media(max-width:760px){main{padding:28px 16px 48px}figure{grid-column:1/-1}h1{font-size:1.8rem}
.verdict dl,.details div{grid-template-columns:1fr;gap:.1rem}.verdict dd{margin-bottom:.6rem}}
@media print{body{background:#fff;font-size:11pt}main{max-width:none;padding:0}nav{display:none}
figure,tr{break-inside:avoid}.model{break-before:page}}
""".strip()
