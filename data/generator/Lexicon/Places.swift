extension Place {
  fileprivate init(
    _ name: String, _ phrase: String? = nil, _ preposition: String, outdoors: Bool = true, sights: [String],
    spots: [String]
  ) {
    self.init(
      name: name, phrase: phrase ?? "the \(name)", preposition: preposition, outdoors: outdoors, sights: sights,
      spots: spots)
  }
}

let allPlaces: [Place] = [
  Place(
    "park", "the [park/sense=park.place]", "in",
    sights: [
      "(Two|Three|Four) children <play+> on the grass.", "A man with a long beard <feed> the birds.",
      "A cart <be> [parked/sense=park.stop] beside the gate.",
    ], spots: ["under the bench", "behind the fountain", "beside the gate"]),
  Place(
    "garden", nil, "in",
    sights: [
      "The [roses/sense=rose.flower] <be+> in bloom.", "Bees <hum+> above the beans.",
      "A snail <sit> on a [leaf/sense=leaves.plant].",
    ], spots: ["under the [rose/sense=rose.flower] bush", "behind the shed", "between two rows of beans"]),
  Place(
    "forest", nil, "in",
    sights: [
      "The trees <be+> tall and (old|dark|still).", "Somewhere a bird <tap> on the [bark/sense=bark.tree] of a tree.",
      "Dry [leaves/sense=leaves.plant] <lie+> on the path.",
    ], spots: ["under a fern", "in a hollow tree", "between the roots of an oak"]),
  Place(
    "beach", nil, "on",
    sights: [
      "The [waves/sense=wave.sea] <roll+> over the sand.", "A crab <hurry> along the water.",
      "Far out, a ship with white sails <go> by.",
    ], spots: ["under a heap of seaweed", "behind a [rock/sense=rock.stone]", "half under the sand"]),
  Place(
    "meadow", nil, "in",
    sights: [
      "The grass <be> high and full of flowers.", "A lark <sing> far above.",
      "[Three/number=3] cows <look+> up and <go+> on chewing.",
    ], spots: ["in the long grass", "under a thistle", "beside the fence post"]),
  Place(
    "hill", nil, "on",
    sights: [
      "One <can> see the whole village from there.", "The wind <be> strong up there.",
      "A lonely tree <stand> at the top.",
    ], spots: ["behind a big [rock/sense=rock.stone]", "under the lonely tree", "in a rabbit hole"]),
  Place(
    "lake", nil, "at",
    sights: [
      "The water <be> as smooth as glass.", "A [duck/sense=duck.bird] with (four|five|six) chicks <swim> past.",
      "Small fish <jump+> and <fall+> back.",
    ], spots: ["among the reeds", "under the old boat", "beside the landing"]),
  Place(
    "river bank", "the [bank/sense=bank.river] of the river", "on",
    sights: [
      "The river <run> fast and <sing> over the stones.", "A fisherman <sit> there and <wait>.",
      "A [fly/sense=fly.insect] <dance> above the water.",
    ], spots: ["between the reeds", "under a willow", "behind a wet log"]),
  Place(
    "bank", "the [bank/sense=bank.money]", "at", outdoors: false,
    sights: [
      "People <stand+> in line with their money.", "A clerk <count> coins behind the counter.",
      "A huge clock <tick> on the wall.",
    ], spots: ["under the counter", "behind the door", "beside the money chest"]),
  Place(
    "market", nil, "at",
    sights: [
      "There <be+> stalls with cheese, bread and fish.", "A woman <sell> pots and pans.",
      "A fiddler <play> a merry tune.",
    ], spots: ["under a stall", "behind the fish barrels", "in a crate of pears"]),
  Place(
    "school", nil, "at", outdoors: false,
    sights: [
      "The teacher <write> a long [letter/sense=letter.alphabet] A on the board.", "The benches <be+> in neat rows.",
      "Someone <giggle> in the back row.",
    ], spots: ["under a desk", "behind the map", "in the coat room"]),
  Place(
    "library", nil, "in", outdoors: false,
    sights: [
      "It <be> so quiet that one <can> hear the pages turn.", "The shelves <reach+> up to the ceiling.",
      "An old man <sleep> over a newspaper.",
    ], spots: ["behind a row of books", "under the reading table", "on the highest shelf"]),
  Place(
    "farm", nil, "on",
    sights: [
      "The hens <scratch+> in the yard.", "A [crane/sense=crane.machine] <lift> sacks onto the hay loft.",
      "The pigs <grunt+> in the mud.",
    ], spots: ["behind the hen house", "under the cart", "beside the trough"]),
  Place(
    "barn", nil, "in", outdoors: false,
    sights: [
      "It <smell> of hay.", "Dust <dance> in a thin [light/sense=light.lamp].",
      "[Bats/sense=bat.animal] <hang+> under the roof.",
    ], spots: ["under the hay", "behind a sack of corn", "on a beam"]),
  Place(
    "bridge", nil, "on",
    sights: [
      "The boards <creak+> at every step.", "Deep below, the water <rush> along.",
      "Somebody <have> [left/sense=left.remain] a hat on the rail.",
    ], spots: ["between two boards", "beside the last post", "under the rail"]),
  Place(
    "mill", nil, "at",
    sights: [
      "The wheel <turn> slowly.", "White flour <lie> on everything.", "The miller <carry> sacks on one shoulder.",
    ], spots: ["beside the wheel", "behind the flour sacks", "under the steps"]),
  Place(
    "bakery", nil, "in", outdoors: false,
    sights: [
      "It <smell> of warm bread.", "Rolls and cakes <lie+> in the window.", "The oven <be> as hot as summer.",
    ], spots: ["under the table", "behind the oven", "beside the flour bin"]),
  Place(
    "cave", nil, "in", outdoors: false,
    sights: [
      "It <be> cool and dark in there.", "Water <drip> from the roof.",
      "A hundred [bats/sense=bat.animal] <sleep+> on the ceiling.",
    ], spots: ["behind a pile of bones", "in a deep crack", "beside a pool"]),
  Place(
    "spring", "the [spring/sense=spring.water]", "at",
    sights: [
      "Clear water <come> out of the ground.", "Moss <grow> on the stones.", "A deer <drink> and <slip> away.",
    ], spots: ["under the wet moss", "behind a stone", "in the shallow water"]),
  Place(
    "harbor", nil, "at",
    sights: [
      "The ships <rock+> at their ropes.", "A [crane/sense=crane.machine] <lift> boxes out of a ship.",
      "A [seal/sense=seal.animal] <look> out of the water.",
    ], spots: ["behind a coil of rope", "under an old net", "beside the anchor"]),
  Place(
    "orchard", nil, "in",
    sights: [
      "The branches <be+> heavy with fruit.", "A ladder <lean> against a tree.", "Wasps <buzz+> around a sweet pear.",
    ], spots: ["under an apple tree", "beside the ladder", "behind a full basket"]),
  Place(
    "kitchen", nil, "in", outdoors: false,
    sights: [
      "A pot <bubble> on the stove.", "The table <be> white with flour.", "A [fly/sense=fly.insect] <sit> on the jam.",
    ], spots: ["under the table", "behind the stove", "in the bread box"]),
]
