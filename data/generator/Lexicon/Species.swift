/// A kind of animal and what is true of all of its kind here.
struct Species {
  var noun: String
  var colors: [String]
  /// Templates: how it moves and what it says, as verbs of the narration; what it eats.
  var moves: String
  var sound: String
  var food: String

  init(_ noun: String, _ colors: String, moves: String, sound: String, food: String) {
    self.noun = noun
    self.colors = colors.split(separator: " ").map(String.init)
    self.moves = moves
    self.sound = sound
    self.food = food
  }
}

let allSpecies = [
  Species("fox", "red brown white", moves: "<trot>", sound: "<yelp>", food: "berries"),
  Species("rabbit", "white brown gray", moves: "<hop>", sound: "<squeak>", food: "carrots"),
  Species("bear", "brown black", moves: "<plod>", sound: "<growl>", food: "honey"),
  Species("duck", "white yellow", moves: "<waddle>", sound: "<quack>", food: "seeds"),
  Species("dog", "black brown white", moves: "<run>", sound: "[<bark>/sense=bark.sound]", food: "bones"),
  Species("cat", "orange gray black", moves: "<creep>", sound: "<purr>", food: "milk"),
  Species("mouse", "gray white", moves: "<scurry>", sound: "<squeak>", food: "cheese"),
  Species("owl", "brown white", moves: "[<fly>/sense=fly.move]", sound: "<hoot>", food: "moths"),
  Species("frog", "green brown", moves: "<leap>", sound: "<croak>", food: "[flies/sense=fly.insect]"),
  Species("squirrel", "red gray", moves: "<scamper>", sound: "<chatter>", food: "nuts"),
  Species("turtle", "green brown", moves: "<crawl>", sound: "<hum>", food: "[leaves/sense=leaves.plant]"),
  Species("goat", "white brown", moves: "<skip>", sound: "<bleat>", food: "grass"),
  Species("pony", "brown black white", moves: "<gallop>", sound: "<snort>", food: "hay"),
  Species("hen", "red white brown", moves: "<strut>", sound: "<cluck>", food: "corn"),
  Species("hedgehog", "brown gray", moves: "<shuffle>", sound: "<sniff>", food: "apples"),
  Species(
    "[bat/sense=bat.animal]", "black brown gray", moves: "[<fly>/sense=fly.move]", sound: "<squeak>", food: "moths"),
  Species(
    "[crane/sense=crane.bird]", "white gray", moves: "<stride>", sound: "<call>", food: "little fish"),
]
