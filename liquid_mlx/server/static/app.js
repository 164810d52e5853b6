// The page: which part is shown, which model is used, and what the parts share.

import { json, Refused, setKey } from "./api.js";
import { startChat } from "./chat.js";
import { startDrawing } from "./draw.js";
import { readFile } from "./pictures.js";

const $ = (id) => document.getElementById(id);
let models = [];

export const page = {
  $,
  get model() {
    return models.find((one) => one.id === $("model").value) ?? models[0];
  },
  say(text, error = false) {
    $("status").textContent = text;
    $("status").classList.toggle("error", error);
  },
  fail(error) {
    if (error instanceof Refused && error.status === 401) askForKey();
    page.say(error.message, true);
  },
  show(name) {
    for (const one of ["draw", "chat"]) {
      $(`view-${one}`).hidden = one !== name;
      $(`tab-${one}`).setAttribute("aria-selected", String(one === name));
      $(`tab-${one}`).tabIndex = one === name ? 0 : -1;
    }
  },
};

function askForKey() {
  $("key-form").hidden = false;
  $("key").focus();
}

async function loadModels() {
  models = (await json("/v1/models")).data;
  $("model").replaceChildren(...models.map((one) => new Option(one.id, one.id)));
  $("key-form").hidden = true;
  $("model").dispatchEvent(new Event("change"));
  page.say("");
}

for (const name of ["draw", "chat"]) {
  $(`tab-${name}`).addEventListener("click", () => page.show(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "draw" ? "chat" : "draw";
    page.show(other);
    $(`tab-${other}`).focus();
  });
}
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value);
  loadModels().catch(page.fail);
});

const drawing = startDrawing(page);
const chat = startChat(page);
drawing.onChat = (picture) => {
  chat.attach(picture);
  page.show("chat");
  $("message").focus();
};
chat.onDrawn = (picture) => drawing.keep(picture);

async function takeFiles(files) {
  for (const file of files) {
    try {
      const picture = await readFile(file);
      if ($("view-chat").hidden) drawing.open(picture);
      else chat.attach(picture);
    } catch (error) {
      page.fail(error);
    }
  }
}
const dropping = (on) => document.body.classList.toggle("dropping", on);
addEventListener("dragover", (event) => {
  event.preventDefault();
  dropping(true);
});
addEventListener("dragleave", () => dropping(false));
addEventListener("drop", (event) => {
  event.preventDefault();
  dropping(false);
  takeFiles(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) takeFiles(event.clipboardData.files);
});
for (const id of ["open", "attach"]) {
  $(id).addEventListener("change", () => {
    takeFiles([...$(id).files]).then(() => ($(id).value = ""));
  });
}

loadModels().catch(page.fail);
