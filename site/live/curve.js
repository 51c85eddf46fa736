/** ᾱ_t over time, with the times that the sampler visits: noise on the left, the flower right. */

const [WIDTH, HEIGHT, BOTTOM] = [300, 76, 16];

export function drawCurve(svg, { T, alphasCumprod }, times, now) {
  const x = (t) => 6 + ((T - t) / T) * (WIDTH - 12);
  const y = (abar) => HEIGHT - BOTTOM - 4 - abar * (HEIGHT - BOTTOM - 10);
  const points = Array.from({ length: 101 }, (_, k) => Math.round((k * T) / 100));
  const path = points.map((t) => `${x(t).toFixed(1)},${y(alphasCumprod[t]).toFixed(1)}`).join("L");
  const dots = times.map((t) => `<circle cx="${x(t)}" cy="${y(alphasCumprod[t])}" r="2.6"/>`);
  svg.innerHTML = `<path d="M${path}"/>
    <g>${dots.join("")}</g>
    <line x1="${x(now)}" x2="${x(now)}" y1="2" y2="${HEIGHT - BOTTOM}"/>
    <circle class="live-now" cx="${x(now)}" cy="${y(alphasCumprod[now])}" r="4.5"/>
    <text x="6" y="${HEIGHT - 3}">t = ${T}</text>
    <text x="${WIDTH - 6}" y="${HEIGHT - 3}" text-anchor="end">t = 0</text>`;
  svg.ariaLabel = `The share of signal ᾱ over t, with the ${times.length - 1} steps of the sampler`;
}
