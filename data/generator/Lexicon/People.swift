let girls = [
  "Mia", "Ada", "Lena", "Nora", "Ruby", "Tess", "Ivy", "Hana", "Zoe", "Clara", "Wren", "Faye", "Dora", "Amina", "Lucia",
  "Penny",
]

let boys = [
  "Tom", "Otto", "Finn", "Leo", "Sam", "Hugo", "Max", "Theo", "Ravi", "Noah", "Emil", "Jonas", "Kofi", "Arlo", "Peter",
  "Milo",
]

/// Names for animals of either gender.
let animalNames = [
  "Pip", "Bramble", "Nutmeg", "Button", "Biscuit", "Moss", "Pepper", "Clover", "Dusty", "Maple", "Pebble", "Ziggy",
  "Tuft", "Acorn", "Rusty", "Misty",
]

/// Grown-ups: name, noun, gender.
let adults: [(name: String, noun: String, gender: Gender)] = [
  ("Grandma Rose", "grandmother", .female), ("Grandpa Joe", "grandfather", .male), ("Aunt Vera", "aunt", .female),
  ("Uncle Ben", "uncle", .male), ("Farmer Nell", "farmer", .female), ("Farmer Bert", "farmer", .male),
  ("Baker Anna", "baker", .female), ("Baker Paul", "baker", .male), ("Captain June", "captain", .female),
  ("Captain Ned", "captain", .male), ("Doctor Lin", "doctor", .female), ("Doctor Cole", "doctor", .male),
]

let traits = ["brave", "shy", "clever", "curious", "careful", "cheerful", "gentle", "patient", "lively", "stubborn"]

let childLooks = [
  "[little/attribute]", "[young/attribute]", "[small/attribute]", "[tall/attribute]", "little [brave/trait]",
  "[curious/trait]", "[kind/sense=kind.nice]", "[quiet/trait]",
]
