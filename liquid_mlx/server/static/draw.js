// Drawing: pictures that grow row by row, the gallery, and the picture that is selected.

import { isStopped, stream } from "./api.js";
import { blobOf, dataUrl } from "./pictures.js";
import { startViewer } from "./viewer.js";

const NUMBERS = ["guidance", "temperature", "top_k", "top_p"];

export function startDrawing(page) {
  const { $ } = page;
  const gallery = [];
  let running = null;
  const drawing = { onChat() {}, keep, open };
  const viewer = startViewer(page, { change, chat: (picture) => drawing.onChat(picture), reuse });

  function number(id) {
    return $(id).value === "" ? undefined : Number($(id).value);
  }

  function sampling() {
    return Object.fromEntries(NUMBERS.map((id) => [id, number(id)]));
  }

  function modelChanged() {
    const model = page.model;
    if (!model) return;
    $("size").replaceChildren(...model.sizes.map((size) => new Option(size, size)));
    $("note").textContent = model.note;
    for (const id of NUMBERS) $(id).placeholder = model.recommended[id];
  }

  // Puts what made a picture into the form.
  function reuse(settings) {
    $("prompt").value = settings.prompt ?? "";
    $("seed").value = settings.seed ?? "";
    for (const id of NUMBERS) $(id).value = settings[id] ?? "";
    const size = `${settings.width}x${settings.height}`;
    if ([...$("size").options].some((one) => one.value === size)) $("size").value = size;
    $("best_of").value = settings.best_of?.candidates ?? 1;
    $("prompt").focus();
  }

  // A button that shows a picture; its name is what the picture is of.
  function button(picture, name) {
    const one = document.createElement("button");
    one.type = "button";
    const image = document.createElement("img");
    image.alt = name;
    image.src = picture.url;
    one.append(image);
    one.addEventListener("click", () => select(picture));
    const item = document.createElement("div");
    item.setAttribute("role", "listitem");
    item.append(one);
    return { item, image, one };
  }

  function nameOf(picture) {
    const { prompt, seed } = picture.settings ?? {};
    return prompt ? `${prompt} (seed ${seed})` : "An opened picture";
  }

  function select(picture) {
    for (const other of gallery) other.one.setAttribute("aria-pressed", "false");
    gallery.find((other) => other.picture === picture)?.one.setAttribute("aria-pressed", "true");
    return viewer.show(picture);
  }

  function keep(picture) {
    const shown = button(picture, nameOf(picture));
    gallery.unshift({ picture, ...shown });
    $("gallery").prepend(shown.item);
  }

  function open(picture) {
    keep(picture);
    select(picture);
    if (picture.settings) reuse(picture.settings);
    page.say(picture.settings ? "The picture's settings are in the form." : "");
  }

  // Shows the pictures of a stream while they grow. What is there stays when it is stopped.
  async function draw(path, body, count) {
    if (running) return;
    running = new AbortController();
    const places = new Map();
    const drawn = [];
    $("stage").replaceChildren();
    busy(true);
    page.say("Drawing…");
    const began = performance.now();
    function take(event) {
      const picture = place(places, event);
      picture.url = dataUrl(event.b64_json);
      picture.image.src = picture.url;
      if (event.type.endsWith(".completed")) {
        Object.assign(picture, finished(event));
        picture.image.alt = nameOf(picture);
        drawn.push(picture);
        keep(picture);
      } else {
        picture.image.alt = `${event.rows} of ${event.total_rows} rows`;
        $("progress").max = event.total_rows;
        $("progress").value = event.rows;
      }
    }
    try {
      await stream(path, body, take, running.signal);
      for (const [index, picture] of places) if (!picture.done) picture.item.remove(), places.delete(index);
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      page.say(`${drawn.length} of ${Math.max(count, drawn.length)} drawn in ${seconds} s.`);
      if (places.size === 1) $("stage").replaceChildren(); // the viewer shows it, as large
      const [first] = [...places].filter(([, one]) => one.done).sort(([a], [b]) => a - b);
      if (first) await select(first[1]);
    } catch (error) {
      if (!isStopped(error)) page.fail(error);
      else page.say("Stopped. What was drawn stays.");
    } finally {
      running = null;
      busy(false);
    }
  }

  function place(places, event) {
    const index = event.index ?? 0;
    if (!places.has(index)) {
      const picture = { url: dataUrl(event.b64_json) };
      Object.assign(picture, button(picture, "A picture that is being drawn"));
      $("stage").append(picture.item);
      places.set(index, picture);
    }
    return places.get(index);
  }

  function finished(event) {
    return { done: true, settings: event.settings, entropy: event.entropy, grid: event.grid };
  }

  function busy(on) {
    $("generate").disabled = on;
    $("stop").disabled = !on;
    $("progress").hidden = !on;
    $("progress").value = 0;
    viewer.busy(on);
  }

  // Edits and variations of a picture: a form with its file.
  async function change(path, picture, values) {
    const form = new FormData();
    form.set("image", await blobOf(picture.url), "picture.png");
    const shared = { model: page.model.id, stream: "true", partial_images: "256", n: $("count").value };
    const entropy = $("entropy").checked ? "true" : undefined;
    for (const [name, value] of Object.entries({ ...shared, entropy, ...sampling(), ...values })) {
      if (value !== undefined && value !== "") form.set(name, value);
    }
    await draw(path, form, Number($("count").value));
  }

  $("model").addEventListener("change", modelChanged);
  $("draw-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const body = {
      model: page.model.id,
      prompt: $("prompt").value,
      size: $("size").value,
      n: number("count"),
      seed: number("seed"),
      best_of: number("best_of"),
      keep_all: number("best_of") > 1,
      entropy: $("entropy").checked,
      stream: true,
      partial_images: 256,
      ...sampling(),
    };
    draw("/v1/images/generations", body, body.n);
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) $("draw-form").requestSubmit();
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("defaults").addEventListener("click", () => {
    for (const id of NUMBERS) $(id).value = "";
  });
  return drawing;
}
