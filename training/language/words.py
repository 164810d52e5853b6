"""The words of the picture world: names, synonyms, numbers, and words it does not know."""

import pydoc_data.topics
import random
import re
import unicodedata
from functools import cache

from training.world import BACKGROUNDS, COLOURS, SHAPES

COLOUR_WORDS = {
    "red": (
        "crimson", "scarlet", "ruby", "cherry red", "bright red", "dark red", "ruby red", "maroon",
        "burgundy", "deep red", "light red", "blood red", "tomato red", "vermilion", "reddish",
        "wine red", "brick red", "strawberry red", "intense red", "fire red", "rose red", "apple red", "vivid red", "carmine",
        "cardinal red", "tomato", "cherry", "ferrari red",
    ),
    "orange": (
        "bright orange", "tangerine", "dark orange", "light orange", "amber", "pumpkin orange",
        "apricot", "brown", "copper", "bronze", "rust", "carrot", "orangey", "deep orange",
        "peach", "ginger", "marigold", "terracotta", "neon orange", "orangish", "vivid orange", "burnt orange", "mango",
        "carrot orange", "sunset orange", "chestnut", "caramel", "pumpkin", "hazel", "light brown", "dark brown",
    ),
    "yellow": (
        "golden", "gold", "lemon", "bright yellow", "light yellow", "lemon yellow", "mustard",
        "dark yellow", "golden yellow", "sunny yellow", "pale yellow", "yellowish", "blond",
        "canary", "canary yellow", "saffron", "butter yellow", "sunflower yellow", "neon yellow", "banana yellow", "vivid yellow",
        "corn yellow", "honey", "sun yellow", "deep yellow", "straw",
    ),
    "green": (
        "lime", "emerald", "dark green", "light green", "bright green", "forest green", "olive",
        "lime green", "jade", "grass green", "deep green", "pale green", "greenish", "mint green",
        "olive green", "sea green", "moss green", "neon green", "pea green", "pistachio", "vivid green", "apple green", "leaf green",
        "khaki", "spring green", "emerald green", "avocado", "bottle green", "chartreuse",
    ),
    "cyan": (
        "turquoise", "teal", "aqua", "light blue", "sky blue", "baby blue", "aquamarine",
        "pale blue", "light cyan", "dark cyan", "ice blue", "bright cyan", "blue-green", "aqua blue",
        "seafoam", "icy blue", "powder blue", "turquoise blue", "bluish green", "electric cyan", "pastel blue", "greenish blue",
        "teal blue", "cyan blue", "light turquoise", "arctic blue", "pool blue",
    ),
    "blue": (
        "dark blue", "royal blue", "bright blue", "deep blue", "cobalt", "azure", "sapphire",
        "ocean blue", "navy", "navy blue", "cobalt blue", "medium blue", "bluish", "midnight blue",
        "ultramarine", "denim", "electric blue", "marine", "cornflower blue", "indigo blue", "vivid blue", "cerulean", "sapphire blue",
        "steel blue", "sea blue", "blueberry", "deep sea blue", "strong blue", "neon blue",
    ),
    "purple": (
        "violet", "lilac", "lavender", "indigo", "dark purple", "light purple", "plum", "mauve",
        "deep purple", "bright purple", "grape", "amethyst", "aubergine", "purplish", "orchid",
        "eggplant", "periwinkle", "royal purple", "violet purple", "pale purple", "vivid purple", "ultraviolet", "wisteria",
        "plum purple", "grape purple", "neon purple", "lavender purple", "heather", "pastel purple",
    ),
    "pink": (
        "magenta", "rose", "hot pink", "light pink", "fuchsia", "salmon", "pale pink",
        "bright pink", "dark pink", "baby pink", "rosy", "deep pink", "rose pink", "coral", "pinkish",
        "bubblegum", "bubblegum pink", "flamingo", "raspberry", "blush", "neon pink", "candy pink", "vivid pink", "pastel pink",
        "rose-coloured", "shocking pink", "barbie pink", "salmon pink", "coral pink", "cotton candy pink",
    ),
}  # fmt: skip
SHAPE_WORDS = {
    "circle": (
        "disc", "disk", "dot", "ball", "round shape", "sphere", "bubble", "sun", "moon", "full moon",
        "coin", "planet", "round thing", "spot", "circular shape", "marble", "globe", "orb", "button",
        "filled circle", "solid circle", "full circle", "polka dot", "pearl", "blob", "plate", "pebble",
        "round", "bullet point", "round blob", "oval", "ellipse", "balloon", "pancake", "penny", "circular thing", "cookie",
        "hexagon", "octagon", "pentagon", "crescent", "half moon", "round figure", "round disc", "perfectly round shape", "shape without corners", "basketball", "tennis ball", "full stop", "roundel", "lollipop",
        "football", "soccer ball", "beach ball", "golf ball", "bowling ball", "snowball", "earth", "bead", "medal", "badge", "puck",
        "frisbee", "poker chip", "token", "period", "pizza", "cd", "egg yolk", "round sticker", "circle shape", "circular disc",
        "round plate", "round pill", "pill", "clock face", "cherry", "eyeball", "point", "knob", "record", "round mark", "target",
    ),
    "square": (
        "box", "block", "cube", "tile", "rectangle", "square shape", "quadrilateral", "dice",
        "square block", "square box", "rect", "square thing", "brick", "window", "postage stamp",
        "four-sided shape", "shape with four sides", "pixel", "square tile", "cubic shape", "cardboard box", "diamond",
        "rhombus", "parallelogram", "trapezoid", "crate", "sticky note", "gift box", "shape with four equal sides", "4-sided shape", "shape with four corners", "four-cornered shape", "napkin", "chip", "oblong", "square patch",
        "ice cube", "sugar cube", "toy block", "building block", "lego brick", "parcel", "package", "carton", "floor tile", "panel",
        "checkbox", "square piece", "square card", "square button", "square frame", "cushion", "pillow", "slice of toast",
        "square sticker", "chessboard square", "four-sided figure", "square form", "screen", "square stamp",
    ),
    "triangle": (
        "pyramid", "arrowhead", "wedge", "cone", "triangular shape", "three-sided shape",
        "triangular thing", "tri", "slice of pizza", "mountain", "tent",
        "delta", "play button", "roof", "shape with three sides", "shape with three corners", "hill",
        "warning sign", "traffic cone", "party hat", "arrow", "slice of cake", "tortilla chip", "yield sign", "spike",
        "slice of cheese", "sail", "triangular sign", "three-cornered shape", "three-pointed shape", "3-sided shape",
        "shape with 3 corners", "triangular figure",
        "pizza slice", "watermelon slice", "cheese wedge", "road sign", "witch hat", "shark fin", "dorito", "nacho", "teepee",
        "mountain peak", "peak", "pennant", "guitar pick", "three-sided figure", "pyramid shape", "triangle shape", "caution sign",
        "arrow head", "up arrow", "doorstop", "triangle sign", "samosa",
    ),
    "star": (
        "starfish", "asterisk", "five-pointed star", "five pointed star", "star shape", "sparkle",
        "little star", "pentagram", "sheriff star", "christmas star", "twinkle",
        "shape with five points", "pointy star", "shooting star", "hollywood star", "sea star", "north star", "night star",
        "ninja star", "star symbol", "star sign", "star sticker", "five-point star", "5-pointed star", "shape with 5 points",
        "star-shaped thing", "star cookie", "pentacle", "hexagram", "star of david", "rating star", "pole star", "morning star",
        "evening star", "lone star", "five-armed star", "star figure", "star icon", "twinkling star", "star ornament", "spark",
    ),
    "ring": (
        "donut", "doughnut", "hoop", "loop", "bagel", "hollow circle", "circle with a hole",
        "ring shape", "letter o", "wedding ring", "wheel", "tire", "annulus", "bracelet", "washer",
        "halo", "hula hoop", "empty circle", "circle outline", "zero", "life buoy", "round frame", "onion ring", "o-ring",
        "lifebuoy", "inner tube", "napkin ring", "hollow disc", "circle with a hole in it", "circlet", "torus", "cheerio", "disc with a hole", "round shape with a hole", "hollow ring",
        "tyre", "key ring", "engagement ring", "swim ring", "rubber ring", "wreath", "band", "bangle", "collar", "round loop",
        "circular ring", "outline of a circle", "unfilled circle", "life ring", "life belt", "porthole", "number zero", "o",
        "steering wheel", "hollow round shape", "ring of gold", "ring doughnut", "circular band", "lifesaver", "open circle",
    ),
    "cross": (
        "plus", "plus sign", "plus symbol", "cross shape", "plus shape", "addition sign",
        "medical cross", "swiss cross", "letter x", "first aid cross", "x", "cross sign",
        "hospital sign", "positive sign", "crosshair", "mathematical plus", "health symbol", "addition symbol", "pharmacy cross",
        "pharmacy sign", "plus mark", "crucifix", "christian cross", "ambulance sign", "cross symbol", "greek cross", "plus-shaped sign", "shape like a plus",
        "plus icon", "add sign", "addition", "doctor sign", "medic cross", "church cross", "crossroad", "four-armed cross",
        "cross mark", "cross icon", "plus button", "plus cross", "cross figure", "math plus", "plus form",
    ),
    "heart": (
        "love heart", "valentine", "heart shape", "valentine heart", "heart symbol",
        "valentine's heart", "love symbol", "sweetheart", "heart sign",
        "heart emoji", "symbol of love", "romantic heart", "lovely heart", "love sign", "heart icon", "heart of love",
        "playing card heart", "cupid's heart", "heart sticker", "heart-shaped thing", "shape of a heart", "heart-shaped balloon",
        "loveheart", "valentine card", "heart card", "love icon", "emoji heart", "heart balloon", "candy heart", "chocolate heart",
        "heart-shaped cookie", "heart tattoo", "sweet heart", "valentines heart", "heart figure", "heart pendant", "i love you sign",
    ),
}  # fmt: skip
BACKGROUND_WORDS = {
    "white": ("light", "bright", "snow white", "pure white", "pale", "clean white", "snowy"),
    "gray": ("grey", "grey", "silver", "light gray", "dark grey", "light grey", "dark gray"),
    "black": ("dark", "pitch black", "jet black", "night", "darkness", "very dark"),
    "cream": ("beige", "ivory", "off-white", "sand", "light beige", "cream coloured", "tan"),
    "navy": ("navy blue", "dark blue", "midnight blue", "deep blue", "very dark blue"),
    "mint": ("mint green", "light green", "pale green", "minty", "light mint"),
    "red": ("dark red", "crimson", "deep red", "scarlet", "maroon"),
    "orange": ("light orange", "apricot", "peach", "amber", "bright orange"),
    "yellow": ("light yellow", "pale yellow", "golden", "gold", "lemon", "bright yellow", "sunny"),
    "green": ("grass green", "bright green", "lime", "dark green", "emerald", "lime green"),
    "cyan": ("turquoise", "teal", "aqua", "sky blue", "sky", "light cyan"),
    "blue": ("light blue", "bright blue", "royal blue", "baby blue", "pale blue"),
    "purple": ("violet", "lavender", "lilac", "dark purple", "light purple", "indigo"),
    "pink": ("light pink", "rose", "pale pink", "magenta", "hot pink", "baby pink"),
}
SIZE_WORDS = {
    "small": ("small", "small", "little", "tiny", "mini", "teeny", "wee", "smallish", "short", "very small", "miniature",
              "really small", "minuscule", "small-sized", "tiny little"),
    "large": ("large", "large", "big", "big", "huge", "giant", "enormous", "great big", "massive", "very big", "very large",
              "really big", "gigantic", "oversized", "bigger", "large-sized"),
}
SYNONYMS = 0.5  # the share of names in prompts that are other words for a colour or a shape
USUAL = 16  # of a list of other words the first are those that people say most
NUMBERS = ("no", "one", "two", "three", "four")
MANY = {
    2: ("two", "two", "2", "a pair of", "a couple of", "both", "twin", "double"),
    3: ("three", "three", "3", "a few", "several", "some", "three of these", "a trio of"),
    4: ("four", "four", "4", "four", "4", "four", "4", "many", "lots of", "a bunch of", "five", "six", "a dozen", "5", "ten",
        "a lot of", "five", "6", "plenty of", "five", "six", "seven", "eight", "nine", "7", "10", "a hundred", "loads of"),
}
ADJECTIVES = (
    "nice", "beautiful", "shiny", "cute", "happy", "pretty", "simple", "flat", "bold", "lovely",
    "perfect", "plain", "solid", "bright", "magic", "glowing", "funny", "soft", "wooden", "cool",
    "filled", "new", "old", "sad", "smooth", "sharp", "clean", "geometric", "crisp", "fluffy",
)  # fmt: skip
# Colours of which the world has backgrounds but no things, and what says none: any will do.
NO_COLOURS = (
    "black", "white", "gray", "grey", "silver", "beige", "black", "white", "rainbow", "colorful", "colourful", "multicolored",
    "transparent", "colored", "coloured", "dark", "bright", "pale", "neon", "pastel", "light",
)  # fmt: skip
OBJECTS = (
    "cat", "dog", "house", "tree", "car", "horse", "flower", "boat", "man", "woman", "bird", "fish",
    "cow", "elephant", "train", "plane", "bicycle", "robot", "dragon", "castle", "river", "beach",
    "forest", "city", "street", "table", "chair", "lamp", "book", "phone", "computer", "apple",
    "banana", "bottle", "cup", "hat", "shoe", "dress", "child", "baby", "king", "queen", "wizard",
    "monkey", "lion", "tiger", "bear", "rabbit", "mouse", "snake", "spider", "guitar", "piano",
    "bridge", "road", "garden", "kitchen", "sofa", "bed", "door", "spoon", "knife", "cake", "bread",
    "cheese", "egg", "pig", "sheep", "duck", "owl", "whale", "shark", "ship", "rocket", "truck",
    "bus", "ocean", "lake", "island", "desert", "person", "face", "eye", "hand", "leg", "kitten",
    "puppy", "unicorn", "mermaid", "astronaut", "portrait", "landscape", "sunset", "sunrise", "rain",
    "cloud", "snow", "fire", "water", "leaf", "rose bush", "statue", "tower", "village",
    "laptop", "pencil", "clock", "mirror", "candle", "camera", "umbrella", "violin", "drum", "goat",
    "frog", "turtle", "crab", "penguin", "giraffe", "zebra", "kangaroo", "panda", "fox", "wolf",
    "hedgehog", "squirrel", "butterfly", "bee", "ant", "snail", "dinosaur", "monster", "ghost",
    "vampire", "zombie", "pirate", "knight", "princess", "soldier", "doctor", "teacher", "farmer",
    "dancer", "singer", "tennis racket", "skateboard", "motorcycle", "helicopter",
)  # fmt: skip


# More of them, for the later part of a training.
EVERYDAY = """
airport alarm album alley alligator ambulance anchor ankle apartment apron aquarium armchair army
arrow artist aunt autumn avocado axe backpack bacon badge bakery balcony ballet bamboo bandage banjo
bank barn basement bat bath bathroom battle bay beans beard beaver bedroom beer beetle bell belt
bench berry bike bill billboard bishop bison blanket blender blizzard blouse bonfire boot border boss
boy bracelet brain branch bride broccoli brother brush bucket buffalo bull bulldozer bunny burger
burrito bush businessman butcher butter cab cabbage cabin cabinet cable cactus cafe calculator calendar
calf camel campfire canal canoe canyon cape caravan carnival carpet carriage carrot cartoon cathedral
cattle cave ceiling celebration cello cemetery chain champion cheetah chef cherry chess chicken chimney
chimpanzee chin chipmunk choir cigar circus classroom cliff climber closet clothes clown coach coast coat
cobra cockroach coconut coffee college comb comet concert cook cookie coral corridor cottage couch
country couple courtyard cousin cowboy coyote cradle crane crayon creek cricket crocodile crow crowd
crown cruise cucumber curtain cushion customer cyclist dad daisy dam dance daughter dawn deer dentist
desk detective dessert diary dinner dish dock dolphin donkey dragonfly drawer dream driver driveway
drone dusk dust eagle ear earthquake eel elbow elevator elf emperor engine engineer envelope evening
eyebrow factory fairy falcon family fan farm father feather fence ferry festival fiddle field fig
finger fireman fireplace fireworks fisherman flame flamingo flash flashlight flea fleet flood flour flute fly
fog folder football fork fortress fountain freezer fridge friend fruit funeral fur furniture galaxy
gallery gang garage garlic gate gazelle giant ginger girl glacier glasses globe glove goalkeeper goldfish
goose gorilla gown grandma grandpa grape grass grasshopper grave grill grocery guard guest gym hail
hair hairdresser hallway hammer hammock hamster harbor hare harp harvest hawk hay headphones hedge
heron highway hiker hill hippo hobby hockey hole holiday home hood hook horn hotel hurricane husband hut
ice iceberg igloo insect iron jacket jaguar jail jam jar jazz jeans jeep jellyfish jet jewel jogger
joke journey judge juice jungle kayak kettle key kid kite knee koala ladder lady ladybug lamb lantern
lava lawn lawyer leopard letter lettuce library lighthouse lightning lily lime lizard llama lobster lock
locomotive lorry luggage lunch machine magazine magician mailbox mailman mammoth mango map maple market marriage
mask meadow meal meat mechanic medicine melon menu meteor microphone microscope microwave milk mill miner
minister mole mom money monk moose morning mosque mosquito moth mother motor motorbike mouth movie mud
muffin mug museum mushroom music musician mustache neck necklace needle nephew nest newspaper niece night
noodle nose notebook nun nurse nut oak oasis octopus office oil olive omelette opera orchard orchestra
ostrich otter oven ox oyster package painter palace palm pan pancake parade parent park parrot party
passenger pasta path patient paw peach peacock peanut pear peasant pelican pen pepper perfume photo
photographer picnic pie pigeon pillow pilot pine pineapple pirates pistol plant plate platypus playground
plum plumber pocket poem poet police policeman pond pony pool pope popcorn porch port porcupine possum
postcard poster pot potato pottery priest printer prison professor pump pumpkin pyjamas quail queue quilt
raccoon race radio raft railway raincoat ram raspberry rat raven razor refrigerator reindeer restaurant
rhino ribbon rice rifle rooster roof room root rope rose rug ruins runner sailboat sailor salad
salmon salt samurai sand sandal sandcastle sandwich sauce saucer sauna sausage saw saxophone scarecrow scarf
school scientist scissors scooter scorpion screwdriver sculpture sea seagull seahorse seal secretary seed
selfie shadow shampoo shed shelf shell shepherd shirt shop shore shovel shower shrimp sink sister skeleton
ski skier skirt skull skunk sky skyscraper sled sleigh sloth smile smoke snowman soap sock soda son song
soup spaceship spaghetti sparrow spinach sponge spring squid stable stadium stairs station steak stool
stork storm stove strawberry stream student submarine subway suitcase suit summer superhero supermarket
surfer swamp swan sweater swing sword taco tail tailor tank taxi tea team teapot teenager telephone
telescope television temple tent termite theater throne thunder tie toad toaster toilet tomato tongue tool
toothbrush tornado tortoise tourist towel town tractor traffic trailer tram tray treasure trombone trousers
trout trumpet tsunami tulip tuna tunnel turkey turnip tuxedo uncle uniform university vacuum valley van
vase vegetable vet video viking villa volcano vulture waffle wagon waiter waitress wallet wallpaper walnut
walrus wand war wardrobe warrior washing wasp watch waterfall wave weather wedding weed werewolf wife wig wind
windmill window wine wing winter witch wood woodpecker wool world worm wrist writer yacht yak yard yogurt
zoo angry ancient beautiful broken busy calm cheap clever cold crazy cute dangerous dead delicious dirty dry
elegant evil expensive famous fantastic fast fat fluffy foggy fresh friendly frozen funny furry futuristic
gentle gigantic grumpy haunted heavy hungry jolly lazy lonely loud lovely magical medieval mysterious
modern noisy old peaceful poor pretty proud quiet rainy realistic rich rusty sad scary shiny shy silly
sleepy slow smart snowy soft spooky stormy strange strong stylish surreal sweet tall thick thin tired
tropical ugly vintage warm weak wet wild windy wise wooden young arguing baking barking biking boiling
boxing breathing building burning buying camping chasing cleaning climbing cooking counting crawling crying
cutting dancing digging diving dreaming drinking driving eating falling farming fighting fishing floating flying
gardening giving hiding hiking hugging hunting jogging jumping kicking kissing knitting laughing learning
lifting listening living looking marching melting painting parking paying petting playing praying pulling
pushing racing reading riding rowing running sailing sewing shopping shouting singing sitting skating
sleeping sliding smiling sneezing speaking spinning standing studying surfing swimming talking teaching
throwing travelling typing waiting walking washing watching wearing whispering winning working writing
yawning democracy freedom happiness history justice language memory mathematics nature philosophy physics
politics religion science silence society time truth africa america berlin brazil california canada china
egypt england europe france germany greece india italy japan london mars mexico moscow paris rome russia
spain texas tokyo venice alice bob charles david elizabeth emma john julia maria mary michael napoleon
peter sarah shakespeare einstein mozart picasso
"""


def known_words() -> tuple[str, ...]:
    """Every single word that names something of the world, lower case, sorted."""
    phrases: list[str] = [*COLOURS, *SHAPES, *BACKGROUNDS, "striped", "stripes", "background"]
    for table in (COLOUR_WORDS, SHAPE_WORDS, BACKGROUND_WORDS):
        for synonyms in table.values():
            phrases += synonyms
    phrases += [plural(p) for p in (*SHAPES, *(w for ws in SHAPE_WORDS.values() for w in ws))]
    skip = {"a", "with", "of", "very", "thing", "shape", "shaped", "sign", "symbol", "letter",
            "full", "first", "aid", "little", "clean", "hole", "slice", "pizza", "light", "bright",
            "deep", "pale", "medium", "three", "five", "sided", "pointed", "baby", "hot", "wedding",
            "ice", "things", "shapes", "signs", "symbols", "holes", "pure", "coloured", "postage",
            "sunny", "o", "s", "os", "pizzas", "tri", "tris", "jet", "ocean", "blood", "pitch", "swiss",
            "addition", "medical", "christmas", "hollow", "snow", "snowy", "letters", "stamp", "stamps", "sheriff", "off",
            "sides", "corners", "four", "points", "solid", "empty", "play", "warning", "emoji", "romantic",
            "lovely", "life", "outline", "point", "cardboard", "shooting", "hospital", "positive", "health",
            "mathematical", "frame", "intense", "electric", "royal", "rounds", "emojis", "stop", "gift", "party", "traffic", "yield",
            "cake", "cheese", "north", "sea", "sticker", "stickers", "onion", "inner", "open", "mark", "marks", "ambulance",
            "pharmacy", "christian", "greek", "icon", "icons", "playing", "card", "half", "it", "in", "patch", "tennis",
            "chip", "chips", "vivid", "strong", "fire", "apple", "ferrari", "burnt", "corn", "straw", "leaf", "spring", "bottle",
            "pool", "steel", "arctic", "cotton", "candy", "barbie", "shocking", "pastel", "neon", "patches", "sunset", "note", "notes", "stops", "hat", "hats", "tube", "tubes", "sticky", "cakes",
            "cheeses", "tortilla", "wine", "love", "loves", "banana", "ninja", "hollywood", "cd", "egg", "pill", "clock", "face", "target", "record", "period", "sugar", "toy", "building",
            "lego", "floor", "toast", "screen", "watermelon", "road", "witch", "guitar", "pick", "caution", "up", "head", "david",
            "rating", "pole", "morning", "evening", "lone", "armed", "key", "engagement", "swim", "rubber", "number",
            "unfilled", "steering", "add", "doctor", "medic", "church", "i", "you", "tattoo", "chocolate", "soccer", "bowling", "beach",
            "golf", "ornament", "poker", "shark", "collar", "band", "figure", "form", "piece", "math", "twinkling", "without", "equal", "cornered", "like", "figures", "perfectly", "forest", "honey",
            "outlines", "frames"}  # fmt: skip
    words = {w for phrase in phrases for w in re.findall(r"[a-z]+", phrase)}
    words -= {word for word in words if word.removesuffix("s") in skip}
    return tuple(sorted((words - skip) | {"shape", "shapes", "round", "dark", "colour", "color"}))


# English words that say something beside the names: where, how many, how large.
_COMMON = frozenset(
    ["the", "and", "are", "left", "right", "above", "below", "over", "under", "next", "between", "one", "two", "three", "four", "five", "six", "all", "any", "pair", "top", "bottom", "middle", "with", "small", "large", "big", "tiny", "little", "huge", "giant", "picture", "image", "draw", "drawing", "double", "triple", "both", "half", "empty", "plain", "background", "circled", "squared", "rounded", "shaped", "starred", "without", "hearts", "diamonds", "upper", "lower", "centre", "center", "beside", "behind", "front", "inside"]
)


def _strange(text: str, longest: int) -> tuple[str, ...]:
    """The words of a text, of 3 to `longest` letters, that mean nothing in the picture world."""
    found = set(re.findall(rf"\b[a-z]{{3,{longest}}}\b", text))
    return tuple(sorted(found - set(known_words()) - _COMMON))


@cache
def unknown_words() -> tuple[str, ...]:
    """English words that mean nothing in the picture world, from Python's own manual."""
    return _strange(" ".join(pydoc_data.topics.topics.values()), 10)


@cache
def unicode_objects() -> tuple[str, ...]:
    """Words of the names of Unicode's pictures that mean nothing in the picture world: teapot."""
    names = " ".join(unicodedata.name(chr(code), "") for code in range(0x1F300, 0x1FB00))
    return _strange(names.lower(), 12)


@cache
def everyday_words() -> tuple[str, ...]:
    """Words of everyday life that mean nothing in the picture world."""
    known = set(known_words())
    return tuple(word for word in EVERYDAY.split() if word not in known)


def unknown(rng: random.Random, *, late: bool = False) -> str:
    """Something that the world does not have; `late` in a training also of what people do all day."""
    if late and rng.random() < 0.65:
        return rng.choice(everyday_words())
    dice = rng.random()
    if dice < 0.4:
        return rng.choice(OBJECTS)
    return rng.choice(unicode_objects() if dice < 0.75 else unknown_words())


def adjective(rng: random.Random) -> str:
    """Something that may be said of a thing and changes nothing."""
    return rng.choice(ADJECTIVES if rng.random() < 0.6 else unknown_words())


def plural(phrase: str) -> str:
    """The plural of a shape's name."""
    for joint in (" with ", " of ", " like ", " without "):
        if joint in phrase:
            return phrase.replace(joint, f"s{joint}", 1)
    if phrase.endswith(("fish", "dice")):
        return phrase
    return phrase + ("es" if phrase.endswith(("s", "x", "ch")) else "s")


def article(phrase: str) -> str:
    """With a or an."""
    return ("an " if phrase[:1].lower() in "aeiou" and phrase[:2] != "un" else "a ") + phrase


def listed(parts: list[str], last: str = " and ") -> str:
    """Parts in one phrase: a, b and c."""
    return last.join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def colour_word(colour: str, rng: random.Random, share: float = SYNONYMS) -> str:
    return _other(COLOUR_WORDS[colour], rng) if rng.random() < share else colour


def shape_word(shape: str, rng: random.Random, share: float = SYNONYMS) -> str:
    return _other(SHAPE_WORDS[shape], rng) if rng.random() < share else shape


def _other(synonyms: tuple[str, ...], rng: random.Random) -> str:
    return rng.choice(synonyms[:USUAL] if rng.random() < 0.4 else synonyms)


def misspell(text: str, rng: random.Random) -> str:
    """One letter of one longer word dropped, doubled or swapped with the next."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long:
        return text
    number = rng.choice(long)
    word, at = words[number], rng.randrange(1, len(words[number]) - 1)
    kinds = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    words[number] = rng.choice(kinds)
    return " ".join(words)


def typed(text: str, rng: random.Random) -> str:
    """The text as people type it: lower case, a capital, a full stop, haste."""
    dice = rng.random()
    if dice < 0.40:
        text = text[:1].upper() + text[1:]
    elif dice < 0.43:
        text = text.upper()
    elif dice < 0.45:
        text = text.title()
    dice = rng.random()
    if dice < 0.22 and text[-1:] not in ".?!":
        text += "."
    elif dice < 0.28 and text[-1:] not in ".?!":
        text += "!"
    elif dice > 0.75 and text[-1:] in ".?!":
        text = text[:-1]
    return misspell(text, rng) if rng.random() < 0.06 else text

PLACE_WORDS = {
    "middle": ("in the middle", "in the center", "in the centre", "centered", "at the center"),
    "top": ("at the top", "on top", "up top", "near the top", "at the upper edge", "high up"),
    "bottom": ("at the bottom", "down below", "near the bottom", "at the lower edge", "low down"),
    "left": ("on the left", "on the left side", "at the left", "to the left", "left"),
    "right": ("on the right", "on the right side", "at the right", "to the right", "right"),
    "top left": (
        "in the top left corner", "at the top left", "in the upper left corner", "top left",
        "in the top left", "in the upper left", "in the left top corner", "in the corner",
    ),
    "top right": (
        "in the top right corner", "at the top right", "in the upper right corner", "top right",
        "in the top right", "in the upper right", "upper right",
    ),
    "bottom left": (
        "in the bottom left corner", "at the bottom left", "in the lower left corner",
        "bottom left", "in the bottom left", "in the lower left", "lower left",
    ),
    "bottom right": (
        "in the bottom right corner", "at the bottom right", "in the lower right corner",
        "bottom right", "in the bottom right", "in the lower right", "lower right corner",
    ),
}  # fmt: skip
