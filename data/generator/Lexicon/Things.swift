/// A kind of thing, before a story fixes its colour and make.
struct ThingKind {
  var noun: String
  var template: String
  var colors: [String]
  var makes: [String]
  var use: String

  init(_ noun: String, sense: String? = nil, _ colors: String, _ makes: String, use: String) {
    self.noun = noun
    template = sense.map { "[\(noun)/sense=\(noun).\($0)]" } ?? noun
    self.colors = colors.split(separator: " ").map(String.init)
    self.makes = makes.split(separator: " ").map(String.init)
    self.use = use
  }
}

let thingKinds = [
  ThingKind("kite", "red blue yellow green purple", "big paper new", use: "[fly/sense=fly.move] {o.it} in the wind"),
  ThingKind("ball", "red blue green orange white", "big bouncy soft", use: "(kick|throw) {o.it} high into the air"),
  ThingKind("hat", "blue green black yellow", "warm tall old", use: "wear {o.it} every day"),
  ThingKind("ring", sense: "jewel", "golden silver", "thin tiny old", use: "turn {o.it} in the sun"),
  ThingKind("watch", sense: "clock", "silver golden black", "small old round", use: "listen to {o.it} tick"),
  ThingKind("bat", sense: "club", "brown red white", "wooden heavy new", use: "swing {o.it} with both hands"),
  ThingKind("drum", "red blue white", "big round loud", use: "play {o.it} all day"),
  ThingKind("boat", "white blue red", "wooden tiny paper", use: "float {o.it} on the water"),
  ThingKind("doll", "pink white blue", "soft old little", use: "sing to {o.it}"),
  ThingKind("book", "green brown red", "thick old thin", use: "read {o.it} again and again"),
  ThingKind("lamp", "golden green white", "old round tiny", use: "read beside {o.it} at night"),
  ThingKind("basket", "brown yellow white", "big round deep", use: "carry {o.it} on one arm"),
  ThingKind("cup", "white blue pink", "small pretty tin", use: "drink milk from {o.it}"),
  ThingKind("bell", "silver golden", "little shiny loud", use: "[ring/sense=ring.sound] {o.it} in the morning"),
  ThingKind("scarf", "red purple green gray", "long warm woolen", use: "wrap {o.it} around both ears"),
  ThingKind("key", "golden silver black", "tiny heavy old", use: "keep {o.it} in a safe pocket"),
  ThingKind("coin", "golden silver", "shiny old round", use: "rub {o.it} for luck"),
  ThingKind("flute", "silver brown", "thin wooden long", use: "play songs on {o.it}"),
  ThingKind("map", "yellow brown white", "old torn folded", use: "look at {o.it} and dream of far lands"),
  ThingKind("box", "blue black yellow", "small wooden square", use: "hide treasures in {o.it}"),
  ThingKind("umbrella", "orange red purple", "huge old new", use: "open {o.it} with a snap"),
  ThingKind("whistle", "silver red", "tiny loud tin", use: "blow {o.it} as loud as a train"),
  ThingKind("bow", sense: "ribbon", "pink blue yellow", "silk big neat", use: "tie {o.it} in a new way each day"),
  ThingKind("wagon", "red green blue", "little wooden strong", use: "pull {o.it} up and down the road"),
]

/// Makes that stand after the colour.
let materials: Set<String> = ["paper", "wooden", "tin", "woolen", "silk"]

/// Something sweet or filling to share: templates of "some …" and "a …" phrases.
let treats = [
  "some bread and jam", "a plum cake", "some warm soup", "an apple pie", "some honey cakes", "a bowl of berries",
  "some nut cookies", "a jug of milk", "a ripe [orange/sense=orange.fruit]", "some pancakes",
]

/// Things one can count: plural templates.
let countables = [
  "apples", "pears", "nuts", "eggs", "buttons", "shells", "berries", "stones", "cookies",
  "[oranges/sense=orange.fruit]", "[roses/sense=rose.flower]", "[nails/sense=nail.metal]",
]

let numerals = [
  "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
]

/// A number from 1 to 12 in words, labelled.
func numeral(_ n: Int) -> String { "[\(numerals[n])/number=\(n)]" }
