// The selected picture: its grid and entropy, the mask, and what can be asked and changed.

import { json } from "./api.js";
import { imageOf } from "./pictures.js";

const BUTTONS = ["again", "redraw", "vary", "ask", "caption", "choose"];

export function startViewer(page, actions) {
  const { $ } = page;
  const canvas = $("canvas");
  const context = canvas.getContext("2d");
  let picture = null;
  let image = null;
  let mask = new Set(); // numbers of cells
  let cursor = { row: 0, column: 0 };
  let rowChosen = false;

  const cell = () => page.model.pixels_per_code;
  const columns = () => Math.floor(image.width / cell());
  const rows = () => Math.floor(image.height / cell());

  async function show(one) {
    picture = one;
    image = await imageOf(one.url);
    mask = new Set();
    cursor = { row: 0, column: 0 };
    rowChosen = false;
    $("picture").hidden = false;
    $("from-row").max = Math.max(0, rows() - 1);
    $("from-row").value = Math.floor(rows() / 2);
    $("about").textContent = about(one.settings);
    $("answer").textContent = "";
    $("bars").replaceChildren();
    $("download").href = one.url;
    $("reuse").disabled = !one.settings;
    $("show-entropy").disabled = !one.entropy;
    $("most-entropy").textContent = one.entropy ? `up to ${Math.max(...one.entropy).toFixed(2)} nats` : "";
    if (one.settings?.prompt && !$("prompt").value) $("prompt").value = one.settings.prompt;
    paint();
  }

  function about(settings) {
    if (!settings) return `${image.width}x${image.height}, no settings inside`;
    const score = settings.best_of ? `, score ${settings.best_of.score.toFixed(2)}` : "";
    const { prompt, seed, guidance, temperature } = settings;
    return `${prompt} · seed ${seed}, guidance ${guidance}, temperature ${temperature}${score}`;
  }

  function paint() {
    if (!image) return;
    const scale = Math.max(1, Math.round(448 / image.width));
    canvas.width = image.width * scale;
    canvas.height = image.height * scale;
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const side = cell() * scale;
    if ($("show-entropy").checked && picture.entropy) {
      const most = Math.max(...picture.entropy, 1e-9);
      picture.entropy.forEach((value, place) => {
        context.fillStyle = `rgba(255, 60, 0, ${(0.75 * value) / most})`;
        fill(place, side);
      });
    }
    context.fillStyle = "rgba(255, 255, 255, 0.7)";
    for (const place of mask) fill(place, side);
    if ($("show-grid").checked || $("brush").checked) lines(side);
    if ($("brush").checked) outline(side, "#ffffff", 4), outline(side, "#1557b0", 2);
    else if (rowChosen) below(Number($("from-row").value) * side);
  }

  function fill(place, side) {
    const row = Math.floor(place / columns());
    context.fillRect((place % columns()) * side, row * side, side, side);
  }

  // What "again from here" would draw anew.
  function below(top) {
    context.fillStyle = "rgba(255, 255, 255, 0.5)";
    context.fillRect(0, top, canvas.width, canvas.height - top);
    context.fillStyle = "#1557b0";
    context.fillRect(0, top - 1, canvas.width, 3);
  }

  function chooseRow(row) {
    $("from-row").value = row;
    rowChosen = true;
    paint();
  }

  function lines(side) {
    context.strokeStyle = "rgba(128, 128, 128, 0.8)";
    context.lineWidth = 1;
    context.beginPath();
    for (let x = side; x < canvas.width; x += side) context.moveTo(x, 0), context.lineTo(x, canvas.height);
    for (let y = side; y < canvas.height; y += side) context.moveTo(0, y), context.lineTo(canvas.width, y);
    context.stroke();
  }

  function outline(side, colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(cursor.column * side, cursor.row * side, side, side);
  }

  function under(event) {
    const box = canvas.getBoundingClientRect();
    const bound = (value, most) => Math.min(most - 1, Math.max(0, Math.floor(value * most)));
    const row = bound((event.clientY - box.top) / box.height, rows());
    return { row, column: bound((event.clientX - box.left) / box.width, columns()) };
  }

  function brush(where) {
    cursor = where;
    const reach = Number($("brush-size").value) - 1;
    for (let row = where.row - reach; row <= where.row + reach; row++) {
      for (let column = where.column - reach; column <= where.column + reach; column++) {
        if (row >= 0 && row < rows() && column >= 0 && column < columns()) mask.add(row * columns() + column);
      }
    }
    paint();
  }

  // White where the picture is to be drawn anew.
  function maskFile() {
    const drawn = new OffscreenCanvas(image.width, image.height);
    const pen = drawn.getContext("2d");
    pen.fillStyle = "#000000";
    pen.fillRect(0, 0, image.width, image.height);
    pen.fillStyle = "#ffffff";
    for (const place of mask) {
      pen.fillRect((place % columns()) * cell(), Math.floor(place / columns()) * cell(), cell(), cell());
    }
    return drawn.convertToBlob({ type: "image/png" });
  }

  function edit(values) {
    const prompt = $("prompt").value || picture.settings?.prompt;
    if (!prompt) return page.say("Say in the prompt what the picture is to show.", true);
    const seed = $("seed").value;
    return actions.change("/v1/images/edits", picture, { prompt, seed, ...values }).catch(page.fail);
  }

  async function asked(work) {
    busy(true);
    $("answer").textContent = "…";
    $("bars").replaceChildren();
    try {
      await work({ model: page.model.id });
    } catch (error) {
      $("answer").textContent = "";
      page.fail(error);
    } finally {
      busy(false);
    }
  }

  function busy(on) {
    for (const id of BUTTONS) $(id).disabled = on;
  }

  function bar({ text, probability }) {
    const item = document.createElement("li");
    const meter = document.createElement("meter");
    meter.value = probability;
    meter.setAttribute("aria-label", text);
    const label = document.createElement("span");
    label.textContent = `${text}: ${(100 * probability).toFixed(1)} %`;
    item.append(label, meter);
    return item;
  }

  canvas.tabIndex = 0;
  let painting = false;
  canvas.addEventListener("pointerdown", (event) => {
    if (!image) return;
    if (!$("brush").checked) return chooseRow(under(event).row);
    painting = true;
    canvas.setPointerCapture(event.pointerId);
    brush(under(event));
  });
  canvas.addEventListener("pointermove", (event) => painting && brush(under(event)));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (painting = false));
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!image || !(event.key in steps || event.key === " ")) return;
    event.preventDefault();
    if (event.key === " ") {
      if ($("brush").checked) brush(cursor);
      return;
    }
    const [down, right] = steps[event.key];
    cursor.row = Math.min(rows() - 1, Math.max(0, cursor.row + down));
    cursor.column = Math.min(columns() - 1, Math.max(0, cursor.column + right));
    if ($("brush").checked) paint();
    else chooseRow(cursor.row);
  });
  $("from-row").addEventListener("input", () => chooseRow($("from-row").value));
  for (const id of ["show-grid", "show-entropy", "brush"]) $(id).addEventListener("change", paint);
  $("clear-mask").addEventListener("click", () => mask.clear() ?? paint());
  $("again").addEventListener("click", () => edit({ keep_rows: $("from-row").value }));
  $("redraw").addEventListener("click", async () => {
    if (!mask.size) return page.say("Paint first what is to be drawn anew.", true);
    await edit({ mask: await maskFile() });
  });
  $("vary").addEventListener("click", () => {
    const values = { strength: $("strength").value, seed: $("seed").value };
    actions.change("/v1/images/variations", picture, values).catch(page.fail);
  });
  $("reuse").addEventListener("click", () => actions.reuse(picture.settings));
  $("to-chat").addEventListener("click", () => actions.chat(picture));
  $("question").addEventListener("keydown", (event) => event.key === "Enter" && $("ask").click());
  $("ask").addEventListener("click", () =>
    asked(async (body) => {
      const content = [
        { type: "image_url", image_url: { url: picture.url } },
        { type: "text", text: $("question").value },
      ];
      const found = await json("/v1/chat/completions", { ...body, messages: [{ role: "user", content }] });
      $("answer").textContent = found.choices[0].message.content;
    }),
  );
  $("caption").addEventListener("click", () =>
    asked(async (body) => {
      const found = await json("/v1/captions", { ...body, image: picture.url });
      $("answer").textContent = found.text;
    }),
  );
  $("choose").addEventListener("click", () =>
    asked(async (body) => {
      const choices = $("choices").value.split("\n").map((one) => one.trim()).filter(Boolean);
      const question = $("question").value;
      const found = await json("/v1/choices", { ...body, image: picture.url, question, choices });
      $("answer").textContent = "";
      $("bars").replaceChildren(...found.choices.map(bar));
    }),
  );
  return { show, busy };
}
