// Pictures as the page holds them, and the settings inside our PNG files.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const KEY = "liquid";

export const dataUrl = (base64) => `data:image/png;base64,${base64}`;

export async function blobOf(url) {
  const [head, base64] = url.split(",", 2);
  const text = atob(base64);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

export function imageOf(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("This file is not a picture."));
    image.src = url;
  });
}

function urlOf(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
}

// A picture's file: its data URL, and what made it if it is one of ours.
export async function readFile(file) {
  if (!file.type.startsWith("image/")) throw new Error("This file is not a picture.");
  if (file.size > 20 << 20) throw new Error("This picture is larger than 20 MiB.");
  const [url, bytes] = [await urlOf(file), new Uint8Array(await file.arrayBuffer())];
  await imageOf(url);
  return { url, settings: settingsInside(bytes) };
}

// The JSON of the iTXt chunk named "liquid", or null.
export function settingsInside(bytes) {
  if (!SIGNATURE.every((value, index) => bytes[index] === value)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = new TextDecoder();
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = text.decode(bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length || kind === "IEND") return null;
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (kind === "iTXt" && text.decode(data.subarray(0, KEY.length + 1)) === `${KEY}\0`) {
      let start = KEY.length + 3; // behind the flags: language, translated keyword
      for (let zeros = 0; zeros < 2 && start < data.length; start++) zeros += data[start] === 0;
      try {
        const found = JSON.parse(text.decode(data.subarray(start)));
        return found && typeof found === "object" ? found : null;
      } catch {
        return null;
      }
    }
    at += 12 + length;
  }
  return null;
}
