// Moves the examples of the report through the steps of the dynamics.

const data = JSON.parse(document.getElementById('dynamics').textContent);
const slider = document.getElementById('step');
const INK = '#1b1b1b', WHITE = [255, 255, 255];
const CORRECT = '#3d7eff', WRONG = '#d7263d';

const rgb = (colour) => 'rgb(' + colour + ')';
const mix = (a, b, share) => rgb(a.map((x, i) => Math.round((1 - share) * x + share * b[i])));

// Fills the cells of a grid, `width` pixels wide; `colour` gives that of a cell.
function fillCells(pen, rows, left, width, colour) {
  const side = width / rows[0].length;
  rows.forEach((row, y) => row.forEach((value, x) => {
    pen.fillStyle = colour(value, y, x);
    pen.fillRect(left + x * side, y * side, side + 1, side + 1);
  }));
}

// One function for each kind of frame: draws `example` at a position of the slider.
const painters = {
  // A frame has the probability of the path in each cell, 0 to 255.
  maze(pen, canvas, example, step) {
    const frame = example.frames[step];
    fillCells(pen, example.tokens, 0, canvas.width, (token, y, x) => {
      const base = data.palette.tokens[token], overlay = data.palette.overlays[token];
      return overlay ? mix(base, overlay, frame[y][x] / 255) : rgb(base);
    });
  },

  // A frame has the digit of each cell.
  digits(pen, canvas, example, step) {
    const side = canvas.width / 9;
    pen.fillStyle = rgb(WHITE);
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.textAlign = 'center';
    pen.textBaseline = 'middle';
    example.tokens.forEach((row, y) => row.forEach((given, x) => {
      const digit = example.frames[step][y][x];
      pen.fillStyle = given ? INK : digit === example.target[y][x] ? CORRECT : WRONG;
      pen.font = (given ? 'bold ' : '') + side * 0.55 + 'px sans-serif';
      pen.fillText(digit, (x + 0.5) * side, (y + 0.55) * side);
    }));
    pen.fillStyle = INK;
    for (let i = 0; i <= 9; i++) {
      const line = i % 3 ? 0.5 : 2;
      pen.fillRect(i * side - line / 2, 0, line, canvas.height);
      pen.fillRect(0, i * side - line / 2, canvas.width, line);
    }
  },

  // The image on the left; on the right a frame with the contrast of the phase groups, ±127.
  groups(pen, canvas, example, step) {
    const half = canvas.width / 2;
    fillCells(pen, example.pixels, 0, half, rgb);
    fillCells(pen, example.frames[step], half, half, (contrast) => {
      const group = contrast > 0 ? data.palette.first : data.palette.second;
      return mix(WHITE, group, Math.abs(contrast) / 127);
    });
  },
};

function draw() {
  const step = Number(slider.value);
  document.getElementById('now').textContent = 'after ' + data.steps[step];
  data.examples.forEach((example, n) => {
    const canvas = document.getElementById('example' + n);
    painters[data.painter](canvas.getContext('2d'), canvas, example, step);
    document.getElementById('energy' + n).textContent =
      'energy before the step: ' + example.energies[step].toFixed(1);
  });
}

slider.addEventListener('input', draw);
document.getElementById('play').addEventListener('click', () => {
  slider.value = 0;
  draw();
  const timer = setInterval(() => {
    slider.value = Number(slider.value) + 1;
    draw();
    if (Number(slider.value) >= data.steps.length - 1) clearInterval(timer);
  }, 250);
});
draw();
