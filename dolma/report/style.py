"""The report's one style sheet and its one script. No address, no font file: nothing is fetched."""

CSS = """
:root{color-scheme:light dark;--bg:#f7f7f5;--card:#fff;--ink:#1b1e23;--soft:#5b626c;--line:#e3e3df;--track:#eeeeea;
--c0:#2f6fbd;--c1:#d07c22;--c2:#2f8f6b;--c3:#7d5bbe;--c4:#bd4a6b;--c5:#4a97a8;--c6:#8a7a3b;--c7:#858a93;
--kept:#2f8f6b;--lost:#b9bcc2;--bad:#c0392f;--good:#1d7f4e;--heat:#2f6fbd;--heat2:#c0641a;--over:#fff}
@media(prefers-color-scheme:dark){:root{--bg:#131518;--card:#1b1e22;--ink:#e8e9eb;--soft:#9aa1ab;--line:#2c3036;--track:#262a2f;
--c0:#6ba4ea;--c1:#e59b4c;--c2:#56b890;--c3:#a68be0;--c4:#df7896;--c5:#6fbccb;--c6:#b9a75f;--c7:#9096a0;
--kept:#56b890;--lost:#5a606a;--bad:#ec7468;--good:#5cc48f;--heat:#6ba4ea;--heat2:#e8964a;--over:#0e1013}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:56px;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;
font-variant-numeric:tabular-nums}
main,header>div,nav>div{max-width:1160px;margin:0 auto;padding:0 24px}
header{padding:36px 0 20px}
h1{font-size:27px;line-height:1.2;letter-spacing:-.015em;margin:0 0 6px;font-weight:650}
h2{font-size:19px;letter-spacing:-.01em;margin:0 0 4px;font-weight:650}
h3{font-size:14px;margin:0;font-weight:600}
p{margin:0 0 14px;color:var(--soft);max-width:84ch}
header p{margin:0;max-width:none}
nav{position:sticky;top:0;z-index:2;background:var(--bg);border-bottom:1px solid var(--line)}
nav>div{display:flex;gap:20px;overflow-x:auto;scrollbar-width:none}
nav a{color:var(--soft);text-decoration:none;padding:10px 0;font-size:13.5px;white-space:nowrap}
nav a:hover{color:var(--ink)}
a:focus-visible,summary:focus-visible{outline:2px solid var(--c0);outline-offset:2px;border-radius:3px}
section{padding:34px 0 6px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:1px;background:var(--line);border:1px solid var(--line);
border-radius:10px;overflow:hidden;margin:6px 0 0}
.tile{background:var(--card);padding:14px 16px}
.tile b{display:block;font-size:23px;font-weight:620;letter-spacing:-.02em;line-height:1.25}
.tile span{font-size:13px;color:var(--soft);display:block;line-height:1.35}
.tile.alarm b{color:var(--bad)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;min-width:0}
section>.card+.card{margin-top:14px}
.grid{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(320px,100%),1fr))}
.wide{grid-template-columns:repeat(auto-fill,minmax(min(460px,100%),1fr))}.small{grid-template-columns:repeat(auto-fill,minmax(min(250px,100%),1fr))}
.flow{columns:2 460px;column-gap:14px}.flow .card{break-inside:avoid;margin-bottom:14px}
.head{display:flex;justify-content:space-between;align-items:baseline;gap:10px;margin-bottom:2px}
.head span,.note{color:var(--soft);font-size:13px}
.why{font-size:13.5px;color:var(--soft);margin:0 0 10px}
.none{color:var(--soft);font-size:14px;border:1px dashed var(--line);border-radius:10px;padding:14px 18px;margin:0 0 14px}
.card .none{margin:6px 0 0}
svg{display:block;overflow:visible}
svg text{font-size:11px;fill:var(--soft)}
.track{fill:var(--track)}.kept{fill:var(--kept)}.lost{fill:var(--lost)}.ill{fill:var(--bad)}.in0{fill:var(--soft)}
.axis{stroke:var(--line);stroke-width:1}line.grid{stroke:var(--line);stroke-width:1}
.c0{fill:var(--c0);stroke:var(--c0)}.c1{fill:var(--c1);stroke:var(--c1)}.c2{fill:var(--c2);stroke:var(--c2)}.c3{fill:var(--c3);stroke:var(--c3)}
.c4{fill:var(--c4);stroke:var(--c4)}.c5{fill:var(--c5);stroke:var(--c5)}.c6{fill:var(--c6);stroke:var(--c6)}.c7{fill:var(--c7);stroke:var(--c7)}
rect{stroke:none}.part{stroke:var(--card);stroke-width:1.5}
path.raw{fill:none;stroke-width:1;opacity:.28}path.mean{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.lines{width:100%;height:auto}.hit{fill:transparent}.hit:hover{fill:var(--ink);fill-opacity:.08}
.good{fill:var(--good);stroke:var(--good)}.bad{fill:var(--bad);stroke:var(--bad)}.same{fill:var(--soft);stroke:var(--soft)}
.move{stroke-width:3;stroke-linecap:round;opacity:.55}.ring{fill:var(--card);stroke-width:2}.dot{stroke:none}
.chance{stroke:var(--soft);stroke-width:1.5;stroke-dasharray:2 2}
.heat{display:grid;grid-template-columns:112px 1fr;gap:8px}.heat .names{width:100%}.heat svg text.name{font-size:12px;fill:var(--ink)}
.h0{fill:var(--heat)}.h1{fill:var(--heat2)}svg text.in{font-size:10.5px;fill:var(--ink);pointer-events:none}svg text.over{fill:var(--over)}
.fall{display:grid;grid-template-columns:minmax(96px,9.5em) 1fr 4.2em 3.6em;gap:4px 10px;align-items:center;font-size:13px}
.fall .n,.fall .s{text-align:right}.fall .s{color:var(--soft)}.fall .k{overflow-wrap:anywhere;line-height:1.25}.fall .em{font-weight:600}
.moves{display:grid;grid-template-columns:minmax(96px,10em) 1fr auto;gap:3px 12px;align-items:center;font-size:13px}
.moves .k{overflow-wrap:anywhere;line-height:1.25}.moves .k i{font-style:normal;color:var(--soft);display:block;font-size:12px}
.moves .v{text-align:right;white-space:nowrap}.moves .v i{font-style:normal;font-weight:600;display:inline-block;min-width:4.3em}
.moves .metric{grid-column:1/-1;font-weight:600;margin-top:7px;display:flex;justify-content:space-between;gap:8px}
.moves .metric small{font-weight:400;color:var(--soft);font-size:12px}
.up{color:var(--good)}.down{color:var(--bad)}.flat{color:var(--soft)}
.key{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:var(--soft);margin:0 0 12px}.key span{display:inline-flex;align-items:center;
gap:6px}.key svg{width:11px;height:11px}
.mix{display:grid;grid-template-columns:minmax(78px,8em) 1fr 4.6em;gap:8px 12px;align-items:center;font-size:13.5px}.mix .n{text-align:right;
color:var(--soft)}
.scroll{overflow:auto;max-height:420px;border:1px solid var(--line);border-radius:10px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;white-space:nowrap;padding:6px 12px;border-bottom:1px solid var(--line);vertical-align:top}
th{position:sticky;top:0;background:var(--card);font-weight:600;color:var(--soft);white-space:nowrap}
tr:last-child td{border-bottom:0}td.r,th.r{text-align:right;white-space:nowrap}
td.m{font-family:ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;font-size:12px;white-space:nowrap}
td.w{min-width:200px;white-space:normal;overflow-wrap:anywhere}
details{margin-top:14px}summary{cursor:pointer;font-size:13.5px;color:var(--soft);padding:4px 0;width:max-content;max-width:100%}
details[open] summary{margin-bottom:8px}
footer{padding:30px 0 48px;color:var(--soft);font-size:13px}
#tip{position:fixed;z-index:9;pointer-events:none;background:var(--ink);color:var(--bg);font-size:12.5px;line-height:1.35;padding:5px 9px;
border-radius:6px;max-width:280px;left:0;top:0;visibility:hidden}
@media(max-width:640px){main,header>div,nav>div{padding:0 14px}header{padding:24px 0 14px}h1{font-size:22px}section{padding:26px 0 4px}
.card{padding:13px 12px}
.tiles{grid-template-columns:1fr 1fr}.tile{padding:11px 12px}.tile:last-child:nth-child(odd){grid-column:1/-1}.tile b{font-size:20px}
.heat{grid-template-columns:74px 1fr;gap:5px}.heat svg text.name{font-size:10.5px}svg text.in{display:none}.cells .tick{font-size:8.5px}
.fall{grid-template-columns:88px 1fr 3.4em 3.2em;gap:4px 7px;font-size:12.5px}.moves{grid-template-columns:1fr auto;gap:0 10px;font-size:12.5px}
.moves .k{grid-column:1/-1;margin-top:5px}.moves .k i{display:inline;margin-left:8px}.moves .v i{min-width:3.9em}
.mix{grid-template-columns:74px 1fr 3.6em;gap:8px}}
@media print{nav,#tip{display:none}.scroll{max-height:none;overflow:visible}.card,.tile{break-inside:avoid}}
"""

# Tooltips only: without the script the page shows the same figures.
SCRIPT = """
(function(){var t=document.getElementById('tip');function hide(){t.style.visibility='hidden'}
function show(e){var n=e.target.closest?e.target.closest('[data-tip]'):null;if(!n){hide();return}
t.textContent=n.getAttribute('data-tip');t.style.visibility='visible';
var w=t.offsetWidth,h=t.offsetHeight,x=Math.min(Math.max(e.clientX+12,6),innerWidth-w-6),y=e.clientY-h-10;if(y<6)y=e.clientY+16;
t.style.transform='translate('+x+'px,'+y+'px)'}
document.addEventListener('pointermove',show);document.addEventListener('pointerdown',show);document.addEventListener('scroll',hide,{passive:true})})();
"""
