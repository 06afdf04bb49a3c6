extension Plot {
  /// Two friends swap what they have.
  static let trade = Plot(name: "trade") { s in
    s.castHero("A")
    s.cast("o", ownedBy: "A")
    s.opening()
    s.cast("B", as: s.choices.chance(65) ? .child : .animal)
    s.cast("p", ownedBy: "B")
    s.tell("{A} <have> {o.a}. {A} (<like> to|often <will>|<can>) {o.use}.")
    s.meet("B", known: s.choices.chance(60))
    s.tellOne(of: ["{B} <have> {p.a}.", "In {B.poss} arms <be> {p.a}.", "{B} <bring> {p.a} along."])
    s.feel("A", "curious", because: "{p} <be> so fine")
    s.tellOne(of: [
      "«A ask B: Will you give me {p.your} for {o.my}?»", "«A say B: I like {p.your}.//Shall we trade?»",
      "«B say A: I will give you {p.my} if you give me {o.your}.»",
    ])
    s.tellOne(of: [
      "{they} <shake+> hands. Now {o} <be> {B.theirs}, and {p} <be> {A.theirs}.",
      "«B say.happy: It is a deal!» So {A} <take> {p}, and {B.name} <take> {o}.",
    ])
    s.give("o", to: "B")
    s.give("p", to: "A")
    s.castPlaces("Q")
    s.go("A", to: "Q")
    s.tell("There {A} <try> to {p.use}.")
    if s.choices.chance(55) {
      s.tellOne(of: [
        "It <be> fun for a while, but not for long.", "But it <be> too [hard/sense=hard.difficult] for {A.obj}.",
        "But {A} <must> think of {A.their} old {o.noun}.",
      ])
      s.feel("A", "sad", because: "{A.they} <miss> {o}")
      s.tell("(The next day|Before long|At once) {A} <run> back to {B.name}.")
      s.move("A", to: "P")
      s.tellOne(of: [
        "«A ask B: May I have my old {o.noun} back?» «B answer.happy: Yes!//I miss {p.my}, too.»",
        "«B say A: I was just coming to you.//Let us trade back.»",
      ])
      s.give("o", to: "A")
      s.give("p", to: "B")
      s.tell("And so {A} <have> {A.their} {o.noun} again, and {B.name} <have> {p}.")
      s.feel("A", "happy")
      s.ending([
        "Sometimes we must lose a thing to know what it is worth.",
        "What is ours is often best.",
      ])
    } else {
      s.feel("A", "happy")
      s.tellOne(of: [
        "{A} <show> {A.their} new {p.noun} to everyone.", "«A say: This was a [bright/sense=bright.clever] idea.»",
        "Meanwhile {B.name} <learn> to {o.use}.",
      ])
      s.feel("B", "happy", because: "{o} <be> just [right/sense=right.correct] for {B.them}")
      s.ending(["A good trade makes [two/number=2] people glad.", "And neither of {them} ever <want> to trade back."])
    }
  }

  /// A saves coins at the bank and buys something at the market.
  static let savings = Plot(name: "savings") { s in
    s.cast("A", as: .child)
    s.opening()
    s.cast("o", ownedBy: nil)
    s.cast("C", as: .adult)
    for (role, name) in [("Q", "market"), ("R", "bank")] {
      s.places[role] = allPlaces.first { $0.name == name }
    }
    if s.places["P"]?.name == "market" { s.places["Q"] = allPlaces.first { $0.name == "harbor" } }
    let price = s.choices.index(below: 5) + 5
    let had = s.choices.index(below: 3) + 2
    let missing = price - had
    s.go("A", to: "Q")
    s.tell("At [one/number=1] stall {A} <see> {o.a}.")
    s.tellOne(of: [
      "How {A} <wish> to {o.use}!", "«A say: Oh, how I would like to have it!»", "{A} <can> not look away from {o.it}.",
    ])
    s.tell("{C.intro} <stand> behind the stall. «A ask C: How much is {o}?» «C answer: It is \(numeral(price)) coins.»")
    s.tell(
      "But {A} <have> only \(numeral(had)) coins. "
        + (missing == 1 ? "[One/number=1] coin <be> missing." : "\(numeral(missing)) coins <be+> missing."))
    if missing == 1 { s.tell("So near and yet so far!") }
    s.feel("A", "sad")
    s.tell("«C say A: (Work and save|Help me in the shop).//I will keep {o} for you.»")
    s.paragraph()
    s.tellOne(of: [
      "So {A} <carry> water and <clean> the yard, and for each job {A.they} <get> [one/number=1] coin.",
      "So {A} <look> after the hens every [morning/time] and <get> a coin for it.",
      "So {A} <sell> flowers from the [bank/sense=bank.river] of the river.",
    ])
    s.go("A", to: "R")
    s.tell("{A} <bring> the coins there, and a clerk <put> {them} in a [safe/sense=safe.box].")
    s.maybe(50, "«A ask: Are my coins [safe/sense=safe.secure] here?» The clerk <nod>.")
    s.tell("After \(numeral(missing + 1)) weeks {A} <have> \(numeral(price)) coins at last.")
    s.feel("A", "proud")
    s.go("A", to: "Q")
    s.give("o", to: "A")
    s.tellOne(of: [
      "«A say C: Here are \(numeral(price)) coins.» «C say A: And here is {o.your}.»",
      "{A} <count> \(numeral(price)) coins into {C.names} hand, and then {o} <be> {A.theirs}.",
    ])
    s.feel("A", "happy", because: "{A.they} <have> earned it")
    s.ending([
      "Nothing is as sweet as what we earn.", "At home {A} <can> {o.use} at last.",
      "And in the [bank/sense=bank.money] a new heap of coins <begin> to grow.",
    ])
  }
}
