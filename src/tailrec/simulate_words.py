"""The words of a simulated shop: departments, types of product, materials, styles, brands.

A product is a type ("wall clock") in a category ("Home > Decoration"), with words of style
("rustic", "oak", "sage green", a brand) that people's hidden tastes go by.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Department:
    """One department's vocabulary.

    Attributes:
        types: types of product by category; neighbours in a list go together in use.
        materials: what its products are made of, or smell of.
        sizes: sizes or packs.
        price: median price of its products.
        consumable: whether people buy the same product again.
    """

    types: MappingProxyType[str, tuple[str, ...]]
    materials: tuple[str, ...]
    sizes: tuple[str, ...]
    price: float
    consumable: bool = False


def _types(**lists: str) -> MappingProxyType[str, tuple[str, ...]]:
    return MappingProxyType(
        {name.replace("_", " "): tuple(words.split(", ")) for name, words in lists.items()}
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


DEPARTMENTS: Final = MappingProxyType(
    {
        "Home": Department(
            _types(
                Decoration="wall clock, picture frame, photo album, vase, candle holder, tea light,"
                " wall mirror, door wreath",
                Lighting="table lamp, lamp shade, wall light, fairy lights, floor lamp, lantern",
                Textiles="cushion cover, cushion, throw blanket, rug, curtain, curtain tieback",
                Storage="storage basket, wall shelf, coat hook, laundry hamper, jewellery box",
            ),
            _words("oak, rattan, linen, ceramic, brass, walnut, glass, bamboo, iron, wool"),
            _words("small, medium, large, set of 2, set of 4"),
            24.0,
        ),
        "Kitchen": Department(
            _types(
                Tableware="dinner plate, soup bowl, mug, saucer, teapot, milk jug, cake stand",
                Cookware="frying pan, saucepan, casserole dish, oven glove, baking tin, pie dish",
                Tools="chef's knife, cutting board, knife sharpener, peeler, whisk, mixing bowl",
                Storage="spice jar, spice rack, lunch box, water bottle, bread bin, cake tin",
            ),
            _words("stoneware, porcelain, steel, beech, enamel, copper, glass, cast iron, acacia"),
            _words("single, set of 2, set of 4, set of 6, 1 litre, 2 litres"),
            19.0,
        ),
        "Beauty": Department(
            _types(
                Skin="face cleanser, face toner, face serum, day cream, night cream, eye cream,"
                " clay mask, sun cream",
                Hair="shampoo, hair conditioner, hair mask, hair oil, styling cream, hair brush",
                Make_up="foundation, concealer, blush, mascara, eyeliner, lipstick, lip liner",
                Bath="body wash, body lotion, bath salts, hand soap, hand cream, bath sponge",
            ),
            _words(
                "rose, lavender, argan, aloe, charcoal, vanilla, green tea, coconut, shea, citrus"
            ),
            _words("30 ml, 50 ml, 100 ml, 200 ml, travel size, twin pack"),
            14.0,
            consumable=True,
        ),
        "Fashion": Department(
            _types(
                Women="summer dress, cardigan, blouse, midi skirt, leggings, trench coat, swimsuit",
                Men="oxford shirt, chinos, leather belt, polo shirt, hooded sweater, rain jacket",
                Shoes="trainers, ankle boots, sandals, loafers, shoe care kit, slippers",
                Accessories="scarf, gloves, beanie, tote bag, wallet, sunglasses, earrings",
            ),
            _words(
                "cotton, linen, merino, denim, silk, suede, leather, corduroy, viscose, cashmere"
            ),
            _words("XS, S, M, L, XL, one size"),
            36.0,
        ),
        "Garden": Department(
            _types(
                Growing="plant pot, plant saucer, plant stand, seed tray, watering can",
                Tools="hand trowel, garden fork, secateurs, garden gloves, garden hose, hose reel",
                Outdoor_Living="garden bench, parasol, parasol base, fire pit, hammock",
                Wildlife="bird feeder, bird table, nest box, bird bath, bee hotel, hedgehog house",
            ),
            _words("terracotta, cedar, zinc, teak, willow, slate, cork, bronze, steel"),
            _words("small, medium, large, pack of 3, pack of 10"),
            17.0,
        ),
        "Toys": Department(
            _types(
                Building="building blocks, train set, train track, marble run, magnetic tiles",
                Pretend="play kitchen, play food, doll, doll's pram, dress-up cape, hand puppet",
                Games="board game, card game, jigsaw puzzle, puzzle mat, dice set, memory game",
                Creative="crayons, colouring book, modelling clay, craft paper, bead kit",
            ),
            _words("beech, felt, cotton, cardboard, maple, plush, birch, soy wax, foam, tin"),
            _words("ages 1 and up, ages 3 and up, ages 5 and up, ages 8 and up, family pack"),
            18.0,
        ),
        "Stationery": Department(
            _types(
                Writing="fountain pen, ink bottle, ballpoint pen, pencil set, eraser, pencil case",
                Paper="notebook, diary, wall calendar, letter set, envelopes, sticky notes",
                Gifts="gift wrap, ribbon, gift tag, gift bag, greeting card, party bunting",
                Desk="desk organiser, desk lamp, paper tray, stapler, tape dispenser, desk mat",
            ),
            _words(
                "kraft paper, leather, brass, walnut, cotton, felt, aluminium, cork, linen, resin"
            ),
            _words("A5, A4, pack of 5, pack of 12, single"),
            9.0,
            consumable=True,
        ),
        "Grocery": Department(
            _types(
                Drinks="ground coffee, coffee filters, black tea, herbal tea, hot chocolate",
                Breakfast="granola, porridge oats, honey, strawberry jam, peanut butter",
                Cooking="olive oil, balsamic vinegar, spaghetti, pasta sauce, basmati rice",
                Sweets="dark chocolate, shortbread, fudge, liquorice, nougat, fruit gums",
            ),
            _words(
                "ginger, almond, lemon, smoked, sea salt, hazelnut, chilli, cardamom, orange, maple"
            ),
            _words("100 g, 250 g, 500 g, 1 kg, multipack"),
            5.0,
            consumable=True,
        ),
    }
)

STYLES: Final = MappingProxyType(
    {
        "rustic": "a farmhouse feeling, honest and a little worn",
        "minimalist": "clean lines and nothing that is not needed",
        "vintage": "the charm of a flea market find",
        "retro": "the cheerful curves of the fifties",
        "nordic": "calm northern light all year round",
        "bohemian": "free spirited, layered and full of travel",
        "industrial": "raw edges from an old workshop",
        "botanical": "leaves and petals drawn from nature",
        "coastal": "salt air and driftwood by the sea",
        "art deco": "gleaming geometry from the jazz age",
        "romantic": "soft, pretty and made for daydreams",
        "playful": "a wink and a smile every day",
        "luxury": "indulgence for those who want the best",
        "organic": "grown and made without harsh chemicals",
        "handmade": "no two pieces are quite alike",
        "sporty": "ready to move when you are",
        "classic": "a timeless choice that never dates",
        "festive": "sparkle for the holidays and parties",
        "japanese": "quiet craft and thoughtful detail",
        "geometric": "bold shapes and sharp contrast",
        "tropical": "palms, parrots and sunshine",
        "gothic": "dark, dramatic and mysterious",
        "eco": "kind to the planet, with little waste",
        "everyday": "good value that simply works",
    }
)

COLOURS: Final = _words(
    "white, black, navy, sage green, mustard, blush pink, graphite, rust, cream, teal, red,"
    " lilac, sky blue, olive, gold, silver"
)

BRAND_STARTS: Final = _words(
    "Alder, Birk, Clove, Dahl, Elm, Fjord, Grove, Hazel, Iris, Juno, Kestrel, Lumi, Maren, Nørd,"
    " Otter, Plum, Quill, Rowan, Søl, Thyme, Umbra, Vesper, Wren, Yarrow, Zinn, Café, Mère, Über"
)
BRAND_ENDS: Final = (
    " & Co", "house", "well", "field", " Studio", "ford", "works",
    "ley", "mark", " Atelier", "wick", "haven",
)  # fmt: skip

DESCRIPTIONS: Final = (
    "{Style} {type} in {colour}, with {material}: {phrase}. {Size}. By {brand}.",
    "{brand} {type}, {size}: {phrase}. {Material} and {colour}.",
    "{brand} presents the {style} {type} ({size}). {Colour} with a note of {material}; {phrase}.",
    "For people who like {phrase}: {style} {type}. {Size}, {colour}, {material}.",
)

REVIEWS: Final = (
    ("Broke within a week, very disappointed.", "Poor quality, I sent it back.",
     "Not at all as described. Avoid.", "Terrible, a waste of money."),
    ("Not what I had hoped for.", "Looks cheaper than in the picture.",
     "Arrived late and feels flimsy.", "A bit of a letdown."),
    ("It is okay for the price.", "Does the job, nothing more.",
     "Fine, though the colour is a little off.", "Average."),
    ("Good quality, would buy again.", "Very nice, arrived quickly.",
     "Happy with it, a small mark on one side.", "Lovely colour and well made."),
    ("Absolutely love it!", "Perfect, exactly what I was looking for.",
     "Excellent quality, bought a second one as a gift.", "Beautiful, could not be happier."),
)  # fmt: skip
"""Reviews by stars, one star first."""
