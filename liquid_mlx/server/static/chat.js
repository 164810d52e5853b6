// A conversation with pictures: those that are attached, and those that the model draws.

import { isStopped, stream } from "./api.js";
import { dataUrl } from "./pictures.js";

export function startChat(page) {
  const { $ } = page;
  let messages = []; // as the server takes them
  let attached = [];
  let running = null;
  const chat = { attach, onDrawn() {} };

  function attach(picture) {
    attached.push(picture);
    const remove = document.createElement("button");
    remove.type = "button";
    const image = document.createElement("img");
    image.src = picture.url;
    image.alt = "Attached picture; press to remove";
    remove.append(image);
    const item = document.createElement("div");
    item.setAttribute("role", "listitem");
    item.append(remove);
    remove.addEventListener("click", () => {
      attached = attached.filter((other) => other !== picture);
      item.remove();
    });
    $("attached").append(item);
  }

  function bubble(role) {
    const box = document.createElement("div");
    box.className = `message ${role}`;
    $("messages").append(box);
    return box;
  }

  function toEnd() {
    $("messages").scrollTop = $("messages").scrollHeight;
  }

  function addText(box, text) {
    if (box.lastChild?.nodeType !== Node.TEXT_NODE) box.append(document.createTextNode(""));
    box.lastChild.data += text;
    toEnd();
  }

  function addPicture(box, url, name) {
    const image = document.createElement("img");
    image.src = url;
    image.alt = name;
    image.addEventListener("load", toEnd); // which only now has its height
    box.append(image);
    return image;
  }

  const part = (url) => ({ type: "image_url", image_url: { url } });

  // The user's turn, with the pictures that are attached.
  function said() {
    const text = $("message").value;
    const content = [...attached.map((one) => part(one.url)), { type: "text", text }];
    const box = bubble("user");
    for (const one of attached) addPicture(box, one.url, "A picture of yours");
    addText(box, text);
    attached = [];
    $("attached").replaceChildren();
    $("message").value = "";
    return { role: "user", content };
  }

  async function answered(turn, work) {
    const box = bubble("assistant");
    const content = [];
    running = new AbortController();
    busy(true);
    try {
      await work(box, content);
      page.say("");
    } catch (error) {
      if (isStopped(error)) page.say("Stopped.");
      else page.fail(error);
    } finally {
      running = null;
      busy(false);
      if (!content.length) box.remove();
      else messages.push(turn, { role: "assistant", content });
    }
  }

  function addTo(content, text) {
    const last = content.at(-1);
    if (last?.type === "text") last.text += text;
    else content.push({ type: "text", text });
  }

  function send(turn) {
    return answered(turn, async (box, content) => {
      const body = { model: page.model.id, messages: [...messages, turn], stream: true };
      await stream("/v1/chat/completions", body, (chunk) => {
        const delta = chunk.choices[0]?.delta ?? {};
        if (delta.content) {
          addText(box, delta.content);
          addTo(content, delta.content);
        }
        for (const { image_url } of delta.images ?? []) {
          addPicture(box, image_url.url, "A picture that the model drew");
          content.push(part(image_url.url));
          chat.onDrawn({ url: image_url.url });
        }
      }, running.signal);
      const words = content.some((one) => one.type !== "text" || one.text.trim());
      if (!words) content.splice(0); // an answer without words cannot be sent back
    });
  }

  function draw(turn, prompt) {
    return answered(turn, async (box, content) => {
      const body = { model: page.model.id, prompt, stream: true, partial_images: 256 };
      let image = null;
      await stream("/v1/images/generations", body, (event) => {
        const url = dataUrl(event.b64_json);
        image ??= addPicture(box, url, prompt);
        image.src = url;
        if (!event.type.endsWith(".completed")) return;
        content.push(part(url));
        chat.onDrawn({ url, settings: event.settings });
      }, running.signal);
    });
  }

  function busy(on) {
    for (const id of ["send", "draw-message"]) $(id).disabled = on;
    $("stop-chat").disabled = !on;
    if (!on) $("message").focus();
  }

  $("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) send(said());
  });
  $("message").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("chat-form").requestSubmit();
  });
  $("draw-message").addEventListener("click", () => {
    if (running || !$("chat-form").reportValidity()) return;
    const prompt = $("message").value;
    draw(said(), prompt);
  });
  $("stop-chat").addEventListener("click", () => running?.abort());
  $("reset").addEventListener("click", () => {
    running?.abort();
    messages = [];
    $("messages").replaceChildren();
  });
  return chat;
}
