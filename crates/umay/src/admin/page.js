'use strict';
// Reads /status again and again, and shows it. All that the document says is put into text nodes: there is no way
// from here to markup, and the page's policy (trusted types) would refuse one.
const EVERY = 1000, POINTS = 120, ROWS = 12, CARDS = 20;
// What is told as a rate or a latency is of so many milliseconds: what happens less often than once a second would come and
// go too quickly to be read. The charts have a point for each reading.
const WINDOW = 10000;
const TONES = { well: 'good', ill: 'bad', ejected: 'bad', failing: 'bad' };
const main = document.querySelector('main');
const open = new Set(), history = [];
let past = [], now = null, silent = 0;

// A tree of what is to be seen, and the page made the same as it, node by node, so that what was chosen, scrolled or
// focused stays.
const el = (tag, attributes, ...kids) => ({
  tag, attributes: attributes || {},
  kids: kids.flat(9).filter(kid => kid !== null && kid !== undefined && kid !== false && kid !== '')
    .map(kid => kid.tag ? kid : String(kid)),
});
const SVG = ['svg', 'path', 'rect', 'title'];
function make(tree) {
  return SVG.includes(tree.tag)
    ? document.createElementNS('http://www.w3.org/2000/svg', tree.tag) : document.createElement(tree.tag);
}
function sync(parent, kids) {
  kids.forEach((kid, at) => {
    let node = parent.childNodes[at];
    if (typeof kid === 'string') {
      if (node && node.nodeType === Node.TEXT_NODE) { if (node.data !== kid) node.data = kid; return; }
      const fresh = document.createTextNode(kid);
      if (node) node.replaceWith(fresh); else parent.append(fresh);
      return;
    }
    if (!node || node.localName !== kid.tag) {
      const fresh = make(kid);
      if (node) node.replaceWith(fresh); else parent.append(fresh);
      node = fresh;
    }
    for (const [name, value] of Object.entries(kid.attributes)) {
      if (name === 'onclick') node.onclick = value;
      else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
    }
    for (const { name } of [...node.attributes]) if (!(name in kid.attributes)) node.removeAttribute(name);
    if (!('onclick' in kid.attributes) && node.onclick) node.onclick = null;
    sync(node, kid.kids);
  });
  while (parent.childNodes.length > kids.length) parent.lastChild.remove();
}

// Documents of other versions may lack anything.
const list = value => Array.isArray(value) ? value : [];
const num = value => typeof value === 'number' && isFinite(value) ? value : 0;
const obj = value => value && typeof value === 'object' && !Array.isArray(value) ? value : {};
const text = value => value === null || value === undefined ? '–'
  : typeof value === 'object' ? JSON.stringify(value) : String(value);

const apart = value => Math.round(value).toLocaleString('en-US');
const count = value => value < 1e7 ? apart(value) : value < 1e10 ? (value / 1e6).toFixed(1) + ' M' : (value / 1e9).toFixed(1) + ' G';
const rate = value => value < 0.005 ? '0' : value < 1 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : count(value);
const time = ms => ms < 1 ? (ms * 1000).toFixed(0) + ' µs' : ms < 9.95 ? ms.toFixed(1) + ' ms' : ms < 999.5 ? ms.toFixed(0) + ' ms'
  : ms < 9950 ? (ms / 1000).toFixed(1) + ' s' : (ms / 1000).toFixed(0) + ' s';
const latency = ms => ms === null ? '–' : ms === Infinity ? '>' + time(now.bounds.at(-1) || 0) : time(ms);
function bytes(value) {
  for (const unit of ['B', 'KiB', 'MiB', 'GiB', 'TiB']) {
    if (value < 999.5) return (unit === 'B' || value >= 9.95 ? value.toFixed(0) : value.toFixed(1)) + ' ' + unit;
    value /= 1024;
  }
  return value.toFixed(1) + ' PiB';
}
function duration(s) {
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min ' + s % 60 + ' s';
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s / 60) % 60 + ' min';
  return Math.floor(s / 86400) + ' d ' + Math.floor(s / 3600) % 24 + ' h';
}
function share(part, whole) {
  const percent = whole > 0 ? part / whole * 100 : 0;
  return (percent < 0.005 ? '0' : percent < 9.95 ? percent.toFixed(percent < 0.095 ? 2 : 1) : percent.toFixed(0)) + ' %';
}

// What two documents say together. A counter that went back began anew.
const grown = (old, value) => num(value) >= num(old) ? num(value) - num(old) : num(value);
function buckets(old, value, bounds) {
  const place = key => { const at = bounds.findIndex(bound => parseFloat(key) <= bound); return at < 0 ? bounds.length : at; };
  const read = histogram => {
    const counts = new Array(bounds.length + 1).fill(0);
    for (const [key, n] of Object.entries(obj(obj(histogram).buckets))) counts[place(key)] += num(n);
    return counts;
  };
  const [before, after] = [read(old), read(value)];
  return after.some((n, at) => n < before[at]) ? after : after.map((n, at) => n - before[at]);
}
function quantile(counts, bounds, wanted) {
  const all = counts.reduce((sum, n) => sum + n, 0);
  if (!all) return null;
  let below = 0, lower = 0;
  for (let at = 0; at < bounds.length; at++) {
    if (counts[at] > 0 && below + counts[at] >= all * wanted) return lower + (bounds[at] - lower) * (all * wanted - below) / counts[at];
    below += counts[at]; lower = bounds[at];
  }
  return Infinity;
}
const named = (items, key) => new Map(list(items).map(item => [obj(item)[key], obj(item)]));
function between(old, doc) {
  const same = old && old.pid === doc.pid && old.started === doc.started && num(doc.uptime_ms) > num(old.uptime_ms);
  const before = same ? old : {};
  const seconds = Math.max((num(doc.uptime_ms) - num(before.uptime_ms)) / 1000, 0.001);
  const per = (a, b) => grown(a, b) / seconds;
  const bounds = list(doc.latency_bounds_ms).map(num);
  const [t, o] = [obj(doc.totals), obj(before.totals)];
  const counts = (a, b, which) => Object.entries(obj(b)).filter(([key]) => which(key))
    .reduce((sum, [key, n]) => sum + per(obj(a)[key], n), 0);
  const all = new Array(bounds.length + 1).fill(0);
  let into = per(obj(o.streams).bytes_in, obj(t.streams).bytes_in), out = per(obj(o.streams).bytes_out, obj(t.streams).bytes_out);
  const oldRoutes = named(before.routes, 'name');
  const routes = list(doc.routes).map(obj).map(route => {
    const was = oldRoutes.get(route.name) || {};
    const counted = buckets(was.latency, route.latency, bounds);
    counted.forEach((n, at) => { all[at] += n; });
    const sent = per(was.bytes_out, route.bytes_out);
    into += per(was.bytes_in, route.bytes_in); out += sent;
    return { route, rate: per(was.requests, route.requests), out: sent,
      c4: counts(was.classes, route.classes, key => key === '4xx'), c5: counts(was.classes, route.classes, key => key === '5xx'),
      p50: quantile(counted, bounds, 0.5), p99: quantile(counted, bounds, 0.99) };
  });
  const failures = [];
  const fail = (a, b, where) => { for (const [reason, n] of Object.entries(obj(b))) if (reason !== 'ok') failures.push({ reason, where, rate: per(obj(a)[reason], n), total: num(n) }); };
  fail(o.refusals, t.refusals, 'clients');
  const oldUpstreams = named(before.upstreams, 'name');
  const upstreams = list(doc.upstreams).map(obj).map(upstream => {
    const was = oldUpstreams.get(upstream.name) || {};
    fail(was.attempts, upstream.attempts, 'upstream ' + text(upstream.name));
    const counted = buckets(was.latency, upstream.latency, bounds);
    const known = named(was.endpoints, 'address');
    const endpoints = list(upstream.endpoints).map(obj).map(endpoint => {
      const had = known.get(endpoint.address) || {};
      return { endpoint, rate: per(had.picks, endpoint.picks), failed: per(had.failures, endpoint.failures) };
    });
    return { upstream, endpoints, rate: per(was.requests, upstream.requests), failed: endpoints.reduce((sum, e) => sum + e.failed, 0),
      retried: per(obj(was.retries).retried, obj(upstream.retries).retried), p50: quantile(counted, bounds, 0.5), p99: quantile(counted, bounds, 0.99) };
  });
  failures.sort((a, b) => b.rate - a.rate || b.total - a.total);
  const [c, oc, tls, otls] = [obj(t.connections), obj(o.connections), obj(t.tls), obj(o.tls)];
  return { doc, bounds, seconds, same, routes, upstreams, failures, into, out,
    requests: per(o.requests, t.requests), errors: counts(o.statuses, t.statuses, key => key.startsWith('5')),
    p50: quantile(all, bounds, 0.5), p90: quantile(all, bounds, 0.9), p99: quantile(all, bounds, 0.99),
    accepted: per(oc.accepted, c.accepted), refused: per(oc.refused, c.refused),
    handshakes: per(otls.handshakes, tls.handshakes), failed: per(otls.failed, tls.failed),
    cpu: per(obj(before.process).cpu_s, obj(doc.process).cpu_s) };
}

// The parts of the page.
const n = (value, shown, tone) => el('td', { class: 'n ' + (value ? tone || '' : 'zero') }, shown);
// The first ones of many, and what shows all of them.
function first(key, items, most) {
  const more = items.length > most && el('button', { type: 'button', onclick: () => { if (!open.delete(key)) open.add(key); draw(); } },
    open.has(key) ? 'show fewer' : 'show all ' + items.length);
  return [more && !open.has(key) ? items.slice(0, most) : items, more];
}
function table(key, columns, rows, shown, kind) {
  const [cut, more] = first(key, rows, ROWS);
  return [el('div', { class: 'wide ' + (kind || '') }, el('table', null,
    el('thead', null, el('tr', null, columns.map(([title, kind, what]) => el('th', { scope: 'col', class: kind || '', title: what || '' }, title)))),
    el('tbody', null, cut.map(shown)))),
    more];
}
function section(title, ...inside) { return el('section', null, el('h2', null, title), ...inside); }

function chart(points) {
  const most = Math.max(...points, 0);
  if (!(most > 0)) return null;
  const span = Math.max(points.length, 40), step = 100 / (span - 1), first = span - points.length;
  const at = points.map((value, place) => ((first + place) * step).toFixed(2) + ' ' + (29 - 27 * value / most).toFixed(2));
  return el('svg', { viewBox: '0 0 100 30', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    el('path', { class: 'area', d: 'M' + (first * step).toFixed(2) + ' 30L' + at.join('L') + 'L100 30Z' }),
    el('path', { class: 'line', d: 'M' + at.join('L') }));
}
function tile(name, value, note, points, tone) {
  return el('div', { class: 'tile ' + (points ? 'chart ' : '') + (tone || '') },
    el('span', null, name), el('b', null, value), el('small', null, note), points && chart(points));
}
function tiles() {
  const t = obj(now.doc.totals), p = obj(now.doc.process);
  const of = key => history.map(point => point[key]);
  return el('div', { class: 'tiles' },
    tile('requests', rate(now.requests) + '/s', count(num(t.requests)) + ' so far', of('requests')),
    tile('latency p99', latency(now.p99), 'p50 ' + latency(now.p50) + ' · p90 ' + latency(now.p90), of('p99')),
    tile('answers 5xx', rate(now.errors) + '/s', share(now.errors, now.requests) + ' of requests', of('errors'), now.errors > 0 ? 'bad' : ''),
    tile('connections', count(num(now.doc.connections)), rate(now.accepted) + '/s new · ' + rate(now.refused) + '/s refused', of('connections')),
    tile('in flight', count(num(t.in_flight)), count(num(obj(t.streams).active)) + ' streams open'),
    tile('TLS handshakes', rate(now.handshakes) + '/s', rate(now.failed) + '/s failed', null, now.failed > (now.handshakes + now.failed) / 20 ? 'bad' : ''),
    tile('out', bytes(now.out) + '/s', 'in ' + bytes(now.into) + '/s'),
    tile('process', now.cpu.toFixed(2) + ' cores', bytes(num(p.memory_bytes)) + ' · ' + count(num(p.open_fds)) + ' of ' + count(num(p.max_fds)) + ' files'));
}
function header() {
  const doc = now.doc, stage = text(doc.stage);
  return el('header', null, el('h1', null, 'Umay ', el('small', null, text(doc.version))),
    el('span', { class: 'pill ' + (stage === 'ready' ? 'good' : 'busy') }, stage),
    el('span', { class: 'meta' }, 'up ' + duration(num(doc.uptime_s)) + ' · workers: ' + text(doc.workers)),
    el('span', { class: 'live pill ' + (silent ? 'bad' : '') }, silent ? 'not answering, trying again' : 'live'));
}
function problems() {
  const all = list(now.doc.problems).map(obj);
  if (!all.length) return null;
  return el('div', { role: 'status' }, all.map(problem => el('div', { class: 'problem ' + (problem.severity === 'error' ? 'bad' : 'busy') },
    el('b', null, text(problem.about)), ': ' + text(problem.what), el('small', null, text(problem.hint)))));
}
const tone = endpoint => TONES[endpoint.standing] || 'busy';
function dots(endpoints) {
  const wide = 100, size = 10, lines = Math.ceil(endpoints.length / wide);
  return el('svg', { class: 'dots', viewBox: `0 0 ${wide * size} ${lines * size}`, role: 'img', 'aria-label': 'how each endpoint is' },
    endpoints.map(({ endpoint }, at) => el('rect', { class: tone(endpoint), x: at % wide * size, y: Math.floor(at / wide) * size, width: size - 2, height: size - 2, rx: 1.5 },
      el('title', null, text(endpoint.address) + ': ' + text(endpoint.standing)))));
}
const RANK = { bad: 0, busy: 1, good: 2 };
function upstream(each) {
  const { upstream, endpoints } = each, discovery = obj(upstream.discovery);
  const well = endpoints.filter(({ endpoint }) => endpoint.standing === 'well').length, all = endpoints.length;
  const order = [...endpoints].sort((a, b) => RANK[tone(a.endpoint)] - RANK[tone(b.endpoint)] || b.rate - a.rate);
  const health = all ? well + ' of ' + all + ' well' : 'no endpoints';
  const late = discovery.age_s !== null && discovery.age_s !== undefined ? ' · discovery answered ' + duration(num(discovery.age_s)) + ' ago' : '';
  return el('div', { class: 'card' },
    el('div', { class: 'top' }, el('h3', null, text(upstream.name)),
      el('span', { class: 'pill ' + (well === all && all ? 'good' : well ? 'busy' : all ? 'bad' : '') }, health),
      el('span', { class: 'meta' }, rate(each.rate) + ' req/s · ',
        el('span', { class: each.failed > 0 ? 'bad' : '' }, rate(each.failed) + ' failed/s'),
        ' · ' + rate(each.retried) + ' retries/s · p50 ' + latency(each.p50) + ' · p99 ' + latency(each.p99) + ' · ' + count(num(upstream.in_flight)) + ' in flight'
        + (num(upstream.waiting) ? ' · ' + count(num(upstream.waiting)) + ' waiting' : '')),
      el('span', { class: 'meta' }, 'balance ' + text(upstream.balance) + late)),
    discovery.problem ? el('div', { class: 'bad' }, text(discovery.problem)) : null,
    all > ROWS ? dots(endpoints) : null,
    all ? table('upstream ' + text(upstream.name), [['endpoint'], ['standing'], ['req/s', 'n'], ['failed/s', 'n'], ['in flight', 'n m'], ['cost', 'n m', 'What the balancer reckons with: latency, where a failure counts as slow.'], ['picks so far', 'n m'], ['failed so far', 'n m']], order, row, 'even') : el('p', { class: 'meta' }, 'No endpoints.'));
}
// Where there are many, those that are not well come first.
function upstreams() {
  if (!now.upstreams.length) return el('p', { class: 'meta' }, 'None.');
  const wrong = each => each.endpoints.some(({ endpoint }) => tone(endpoint) !== 'good') || obj(each.upstream.discovery).problem ? 0 : 1;
  const order = now.upstreams.length > CARDS ? [...now.upstreams].sort((a, b) => wrong(a) - wrong(b)) : now.upstreams;
  const [cut, more] = first('upstreams', order, CARDS);
  return [cut.map(upstream), more];
}
function row({ endpoint, rate: picks, failed }) {
  const cost = endpoint.latency_ms, notes = [endpoint.why, endpoint.zone && 'zone ' + text(endpoint.zone)].filter(Boolean).map(text).join(' · ');
  return el('tr', null, el('td', null, text(endpoint.address), notes && el('small', null, notes)),
    el('td', { class: tone(endpoint) }, text(endpoint.standing)),
    n(picks, rate(picks)), n(failed, rate(failed), 'bad'), el('td', { class: 'n m' + (endpoint.in_flight ? '' : ' zero') }, count(num(endpoint.in_flight))),
    el('td', { class: 'n m' + (typeof cost === 'number' ? '' : ' zero') }, typeof cost === 'number' ? time(cost) : '–'),
    el('td', { class: 'n m' }, count(num(endpoint.picks))),
    el('td', { class: 'n m' + (num(endpoint.failures) ? num(endpoint.failures) > num(endpoint.picks) / 2 ? ' bad' : '' : ' zero') },
      count(num(endpoint.failures)) + (num(endpoint.failures) ? ' · ' + share(num(endpoint.failures), num(endpoint.picks)) : '')));
}
function routes() {
  const order = [...now.routes].sort((a, b) => b.c5 - a.c5 || b.rate - a.rate);
  const columns = [['route'], ['req/s', 'n'], ['4xx/s', 'n m'], ['5xx/s', 'n'], ['p50', 'n m'], ['p99', 'n'], ['out/s', 'n m'], ['so far', 'n m'], ['takes', 'm'], ['to']];
  return el('div', { class: 'card' }, table('routes', columns, order, each => el('tr', null,
    el('td', { class: 'key' }, text(each.route.name)), n(each.rate, rate(each.rate)), el('td', { class: 'n m ' + (each.c4 ? 'busy' : 'zero') }, rate(each.c4)),
    n(each.c5, rate(each.c5), 'bad'), el('td', { class: 'n m' + (each.p50 === null ? ' zero' : '') }, latency(each.p50)), n(each.p99, latency(each.p99)),
    el('td', { class: 'n m' + (each.out ? '' : ' zero') }, bytes(each.out)), el('td', { class: 'n m' }, count(num(each.route.requests))),
    el('td', { class: 'm' }, text(each.route.matches)), el('td', null, text(each.route.to)))));
}
function failures() {
  if (!now.failures.length) return el('p', { class: 'meta' }, 'Nothing was refused, and nothing has failed.');
  return el('div', { class: 'card' }, table('errors', [['reason'], ['where'], ['per s', 'n'], ['so far', 'n']], now.failures, failure => el('tr', null,
    el('td', null, failure.reason, el('small', null, obj(now.doc.reasons)[failure.reason] ? text(obj(now.doc.reasons)[failure.reason]) : '')), el('td', null, failure.where), n(failure.rate, rate(failure.rate), 'bad'), n(failure.total, count(failure.total)))));
}
function listeners() {
  return el('div', { class: 'card' }, table('listeners', [['listener'], ['address'], ['TLS'], ['serves'], ['routes', 'n'], ['certificates', 'n m']], list(now.doc.listeners).map(obj), each => el('tr', null,
    el('td', { class: 'key' }, text(each.name)), el('td', null, text(each.addr)), el('td', null, each.tls === true ? 'yes' : 'no'), el('td', null, list(each.serves).map(text).join(', ')),
    n(num(each.routes), count(num(each.routes))), el('td', { class: 'n m' }, count(num(each.certificates))))));
}
function certificates() {
  const all = list(now.doc.certificates).map(obj).sort((a, b) => num(a.days_left) - num(b.days_left));
  if (!all.length) return null;
  return section('certificates', el('div', { class: 'card' }, table('certificates', [['names'], ['left'], ['expires', 'm'], ['file', 'm']], all, each => {
    const days = num(each.days_left), tone = days < 0 ? 'bad' : days < 21 ? 'busy' : '';
    return el('tr', null, el('td', null, list(each.names).map(text).join(', ')), el('td', { class: 'key ' + tone }, days < 0 ? 'expired' : days === 1 ? '1 day' : days + ' days'),
      el('td', { class: 'key m' }, text(each.not_after)), el('td', { class: 'm' }, text(list(each.files)[0])));
  })));
}
function config() {
  const config = obj(now.doc.config), [served, refused] = [num(obj(config.reloads).served), num(obj(config.reloads).refused)];
  const reloads = served + refused ? 'Reloads since the start: ' + count(served) + ' served, ' + count(refused) + ' refused.' : 'It is the one that the process was started with.';
  const byHand = list(now.doc.set_by_hand).map(obj).map(each => el('p', null, 'Set by hand: ' + text(each.what) + (each.value === true ? '' : ' ' + text(each.value)) + (each.endpoint ? ' of ' + text(each.endpoint) + ' of upstream ' + text(each.upstream) : '') + (each.until ? ' until ' + text(each.until) : '') + ', since ' + text(each.since) + '.'));
  return section('configuration', el('div', { class: 'card' }, el('p', null, 'Served since ' + text(config.since) + '. ' + reloads), byHand));
}
function draw() {
  document.title = (now.doc.stage === 'ready' ? '' : text(now.doc.stage) + ' – ') + (list(now.doc.problems).length ? '! ' : '') + 'Umay';
  main.className = silent ? 'stale' : '';
  sync(main, [header(), problems(), tiles(),
    section('upstreams', upstreams()),
    section('routes', routes()), section('errors', failures()), section('listeners', listeners()), certificates(), config()].filter(Boolean));
}

let reading = false;
async function read() {
  if (reading || (document.hidden && now)) return;
  reading = true;
  try {
    const answer = await fetch('/status', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const doc = obj(await answer.json());
    const moment = between(past.at(-1), doc);
    if (!moment.same) past = [];
    while (past.length > 1 && num(doc.uptime_ms) - num(past[1].uptime_ms) >= WINDOW) past.shift();
    now = past.length > 1 ? between(past[0], doc) : moment; past.push(doc); silent = 0;
    // What is of all the time since a start is no moment.
    if (moment.same) history.push({ requests: moment.requests, p99: Math.min(moment.p99 || 0, moment.bounds.at(-1) || 0), errors: moment.errors, connections: num(doc.connections) });
    if (history.length > POINTS) history.shift();
  } catch { silent += 1; }
  reading = false;
  if (now) draw();
}
// Whatever a document may have done to a drawing, the next one is another.
// Where there is so much that reading and drawing take long, it is done less often.
function loop() {
  const began = performance.now();
  read().catch(console.error).finally(() => setTimeout(loop, Math.max(EVERY, 4 * (performance.now() - began))));
}
document.addEventListener('visibilitychange', () => { if (!document.hidden) read(); });
loop();
