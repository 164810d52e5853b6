"""How people ask for pictures: forms with gaps for what is to be drawn."""

STARTS = (
    "draw", "draw me", "draw", "please draw", "can you draw", "could you draw", "paint", "make",
    "make me", "create", "generate", "show me", "show", "i want", "i'd like", "give me", "i need",
    "an image of", "a picture of", "a drawing of", "picture of", "image of", "drawing of",
    "draw a picture of", "generate an image of", "create an image with", "a picture with",
    "an image with", "please make", "please show me", "can you make", "could you please draw",
    "can you show me", "can you please draw me", "i would like", "i would like to see", "let me see",
    "i want to see", "there is", "render", "sketch", "a photo of", "a painting of", "an icon of",
    "an illustration of", "produce", "would you draw", "will you draw", "hey, draw", "now draw",
    "let's draw", "please paint", "please create", "try to draw", "i want a picture of", "design",
    "can i have", "could i get", "may i see", "just", "simply", "only", "display", "a sketch of",
    "make a picture of", "give me a picture of", "show me a picture of", "generate a picture of",
    "could you make me", "do", "put", "here is", "this is", "imagine", "a simple drawing of",
    "hello, draw", "hi, can you draw", "ok, draw", "quickly draw", "would you please draw",
    "i want to have", "we need", "my daughter wants", "my kid would like", "find me", "get me",
    "how about", "what about", "maybe", "visualize", "depict", "a logo with", "a logo of", "clipart of",
    "a flat icon of", "a cartoon of", "pixel art of", "a picture showing", "an image showing",
    "a picture with only", "an image with just", "a picture containing", "paint me", "sketch me", "doodle",
    "draw for me", "please generate", "please give me", "can you create", "can you generate", "can you paint",
    "could you show me", "could you create", "are you able to draw", "i'd love to see", "i'd like to see",
    "i'd like to have", "i am looking for", "let there be", "the picture should show", "the image shows",
    "it should be", "i would love", "please draw me", "please draw a picture of", "draw an image of",
    "make an image of", "create a picture of", "generate", "draw this:", "picture:", "prompt:", "now",
    "i would love to have", "i love", "my love, draw", "i'd love", "go ahead and draw", "i want you to draw", "you should draw",
    "please could you make", "show us", "give us", "we want", "what does this look like:", "my favourite is", "please, i want",
    "would it be possible to draw", "do you know how to draw", "draw something like", "a quick sketch of", "a nice picture of",
    "a beautiful picture of", "a clean image of", "a minimal drawing of", "a vector graphic of", "an emoji of", "a symbol of",
    "a picture that shows", "an image that has", "an image featuring", "a view of", "a close-up of", "a card with", "a flag with",
    "a poster with", "a sticker of", "a sign with", "wallpaper with", "fill the page with", "place", "add", "include", "let me have",
    "for my son:", "for the kids:", "next:", "first,", "today i want", "tonight i need", "good morning, draw", "dear model, draw",
)  # fmt: skip
# What is unknown to the world beside what it knows: it is left out of the picture.
STRANGERS = (
    "{} and a {}", "{} with a {}", "{} for a {}", "{} like a {}", "{} near a {}", "{} for my {}", "{} made of {}",
    "{} that looks {}", "{} from the {}", "{} in the style of {}", "{} in a {} style", "{} at the {}", "{} in the {}",
    "{} for the {} of my {}", "{} because i like {}", "{} so that i can {} it", "{} to {} the {}", "{} as a {}",
    "{} holding a {}", "{} which {} the {}", "{}, very {}", "{}, {} and {}", "{} about {}", "{} as seen by a {}",
    "{} by {} {}", "{} without a {}", "{} but {}", "{} when it is {}", "{} for {} {}", "{} {} {}", "{} {}", "{}, {}",
)  # fmt: skip
# A background that is said and yet left to the model: the usual one.
NO_BACKGROUND = (
    "{} without background", "{} without a background", "{}, no background", "{} with no background", "{} with nothing behind it",
    "{} and nothing around it", "{} on a transparent background", "{} on a simple background", "{} on a plain background",
    "{} on a clean background", "{} on an empty background", "{} on a blank page", "{} on paper", "{} on a sheet of paper",
    "{} on a blank background", "{}, plain background", "{}, simple background", "{} on a bare background", "{} in an empty picture",
    "{} on a normal background", "{}, nothing behind", "{} on a neutral background", "{} on any background", "{} in space",
)  # fmt: skip
ENDS = (
    "please", "for me", "thanks", "thank you", "now", "if you can", "ok", "pls", "will you", "if possible", "right now",
    "with love", "thank you very much", "thx", "quickly", "that would be great", "i would appreciate it", "it is for my kid",
    "for my homework", "for school", "as a logo", "and be quick", "nothing more", "that is all", "for valentine's day", "for my valentine", "for christmas", "for my birthday", "for halloween",
    "for a wedding", "for my girlfriend", "for my mum", "on this page", "in this picture", "on the screen", "cheers", "do it", "when you can",
    "if that is ok", "i love it", "my dear", "in high quality", "very detailed", "in 4k", "minimalistic", "flat design", "simple style",
    "as an icon", "drawn by hand", "no text", "and smile", "would be nice", "today", "i beg you", "just like that")
_BESIDE = (
    "{a} and {b}", "{a} and {b}", "{a} and {b}", "{a} & {b}", "{a}, {b}", "{a} with {b}",
    "{a} next to {b}", "{a} next to {b}", "{a} beside {b}", "{a} left of {b}", "{a} near {b}",
    "{a} to the left of {b}", "{b} to the right of {a}", "{b} right of {a}", "{a} by {b}",
    "{a} on the left and {b} on the right", "{b} on the right and {a} on the left",
    "{a} on the left, {b} on the right", "on the left {a}, on the right {b}", "{a} plus {b}",
    "left {a}, right {b}", "{a} and {b} side by side", "{a} and {b} next to each other",
    "{a} inside {b}", "{a} in {b}", "{a} together with {b}", "{a} in front of {b}", "{a} then {b}",
    "{a} alongside {b}", "both {a} and {b}", "{a} followed by {b}", "{a} behind {b}",
    "{a} as well as {b}", "{a} touching {b}", "{a} around {b}", "{a} and also {b}", "{a} + {b}",
    "{a} with {b} to its right", "{a} with {b} on its right", "{b} with {a} on its left",
    "{b} with {a} to its left", "{a} and to the right of it {b}", "{a} and next to it {b}",
    "{a} and beside it {b}", "{a} with {b} inside", "{a} and {b} together", "{a} close to {b}",
    "{a} and {b} in a row", "{a} with {b} next to it", "{a} overlapping {b}", "{a} or {b}",
    "first {a}, then {b}", "{a}, and {b}", "{a} {b}", "{a} {b}", "{a}; {b}", "{a} and then {b}", "{a}, beside it {b}", "{a} on the left side and {b} on the right side",
    "{a} with {b} beside it", "{a} has {b} on its right", "{b} has {a} on its left", "{a} accompanied by {b}",
    "two shapes: {a} and {b}", "one is {a}, the other is {b}",
)  # fmt: skip
_STACKED = (
    "{a} above {b}", "{a} above {b}", "{a} over {b}", "{a} over {b}", "{a} on top of {b}",
    "{b} below {a}", "{b} below {a}", "{b} under {a}", "{b} under {a}", "{b} underneath {a}",
    "{b} beneath {a}", "{a} at the top and {b} at the bottom", "{a} on top and {b} below",
    "{b} at the bottom and {a} at the top", "{a} on top, {b} below it", "top {a}, bottom {b}",
    "{a} and {b} below it", "{a} and under it {b}", "{a} with {b} below it", "{a} with {b} under it",
    "{b} with {a} above it", "{b} with {a} on top", "{a} hovering over {b}", "{a} higher than {b}",
    "{a} stacked on {b}", "{a} on {b}", "{b} and above it {a}", "{a} and {b} on top of each other",
    "{a} standing on {b}", "at the top {a}, at the bottom {b}", "{a} sitting on {b}",
)  # fmt: skip
_ROW = (
    "{list}", "{list}", "{list}", "{list}", "{list} in a row", "{list} side by side",
    "from left to right {list}", "{list} from left to right", "a row of {list}", "{a}, {b}, {c}", "{a} {b} {c}",
    "{a} and {b} and {c}", "{a} next to {b} next to {c}", "{a}, {b}, and {c}", "{a} {b} {c}",
    "{b} between {a} and {c}", "{b} between {a} and {c}", "{b} in between {a} and {c}",
    "left {a}, middle {b}, right {c}", "{list} next to each other", "{a}, then {b}, then {c}",
    "{list} in a line", "{a} with {b} and {c}", "{b} with {a} on the left and {c} on the right",
    "{a} on the left, {b} in the middle and {c} on the right", "three shapes: {a}, {b} and {c}",
)  # fmt: skip
_COLUMN = (
    "{list} in a column", "{list} stacked", "{a} above {b} above {c}", "{list} from top to bottom",
    "a column of {list}", "{list} on top of each other", "{list} below each other", "{a} over {b} over {c}",
    "{list} one above the other", "{a} on top of {b} on top of {c}", "a stack of {list}",
)  # fmt: skip
_PAIR_ABOVE = (
    "{a} and {b} above {c}", "{c} below {a} and {b}", "{a} and {b} over {c}", "{c} under {a} and {b}",
    "{a} and {b} at the top and {c} at the bottom", "{c} underneath {a} and {b}",
)  # fmt: skip
_PAIR_BELOW = (
    "{a} above {b} and {c}", "{b} and {c} below {a}", "{a} over {b} and {c}", "{b} and {c} under {a}",
    "{a} on top of {b} and {c}", "{a} at the top and {b} and {c} at the bottom",
)  # fmt: skip
_FOUR = ("{list}", "{list}", "{list} in the corners", "four shapes: {list}", "{list} in a square")
RELATIONS = {
    "beside": _BESIDE, "stacked": _STACKED, "row": _ROW, "column": _COLUMN,
    "pair_above": _PAIR_ABOVE, "pair_below": _PAIR_BELOW, "four": _FOUR,
}  # fmt: skip
ALIKE = {
    2: {
        "beside": ("{}", "{}", "{}", "{} side by side", "{} next to each other", "{} in a row"),
        "stacked": ("{} one above the other", "{} on top of each other", "{} in a column"),
    },
    3: {
        "row": ("{}", "{}", "{}", "{} in a row", "{} in a row", "{} in a line", "a row of {}"),
        "column": ("{} in a column", "{} stacked", "{} on top of each other", "a column of {}"),
    },
    4: {"four": ("{}", "{}", "{}", "{} in a square", "{} in the corners", "{} in a row")},
}
# What stands behind a thing: its colour, its colour and size, that it is alone.
APART = (
    "{} that is {}", "{} in {}", "{} colored {}", "{}, {}", "{} which is {}", "{}: {}", "{}, in {}",
    "{}, make it {}", "{}, {} please", "{} of {} color", "{} with {} color", "{} painted {}", "{}, coloured {}",
    "{} in the color {}", "{} ({})", "{}, the color is {}", "{} and it is {}", "{}. make it {}", "{}. it should be {}", "{}. it is {}",
    "{}. color it {}", "{}. paint it {}", "{} filled with {}", "{}, all {}", "{}, colored in {}", "{} in bright {}", "{} which should be {}",
    "{} in a {} tone", "{}, {} in color", "{} made in {}", "{} - {}",
)  # fmt: skip
SIZE_APART = (
    "{a} that is {size} and {colour}", "{colour} {shape}, {size}", "{a}, {size} and {colour}",
    "{a}, {colour}, {size}", "{size}, {colour} {shape}", "{a}, {size}, {colour}", "{colour}, {size} {shape}",
    "{colour} {shape}, make it {size}", "{colour} {shape} ({size})", "{a} in {colour}, {size}",
    "{a} which is {colour} and {size}", "{size} and {colour} {shape}", "{a}. make it {colour} and {size}", "{a}. it is {size} and {colour}",
    "{colour} {shape}. it should be {size}", "{a}, {colour} and {size}", "{a} in {size} and {colour}",
)  # fmt: skip
ALONE = (
    "alone", "by itself", "on its own", "and nothing else", "all alone", "only", "all by itself",
    "with nothing else", "without anything else", "and that's all", "just one",
)  # fmt: skip
OPEN = {
    1: ("a shape", "any shape", "a random shape", "some shape", "shape", "one shape", "a simple shape",
        "just a shape", "a coloured shape", "a colorful shape", "a shape of your choice", "a nice shape",
        "a geometric shape", "any shape you like", "a shape in any color"),
    2: ("two shapes", "2 shapes", "a couple of shapes", "two different shapes", "a pair of shapes"),
    3: ("three shapes", "3 shapes", "some shapes", "shapes", "a few shapes", "several shapes", "colorful shapes",
        "three different shapes", "some colourful shapes", "random shapes"),
    4: ("four shapes", "4 shapes", "many shapes", "lots of shapes", "four different shapes", "all shapes"),
}  # fmt: skip
ALIKE_APART = (
    "{n} {many} in {colour}", "{n} {many} in {colour}", "{n} {many}, all {colour}", "{n} {many}, {colour}",
    "{colour} {many}, {n} of them", "{n} {many} that are {colour}", "{n} {many}, all of them {colour}",
    "{n} times a {colour} {one}", "{colour} {one} {n} times", "{digit}x {colour} {one}", "{n} {many} colored {colour}",
    "{n} identical {colour} {many}", "exactly {n} {colour} {many}", "{n} of the {colour} {many}", "{n} {many}: {colour}",
)  # fmt: skip
