extension Plot {
  /// A helps an animal that is stuck or hurt; later it repays the kindness.
  static let helping = Plot(name: "helping") { s in
    s.cast("A", as: .child)
    s.opening()
    s.cast("B", as: .animal)
    s.castPlaces("Q")
    s.tellOne(of: [
      "{A} <hear> a small cry {P.spot}.", "Suddenly {A} <stop>. Somebody <be> crying {P.spot}.",
      "A strange sound <come> out of the grass.",
    ])
    s.tell("It <be> {B.intro}.")
    s.fix(
      "trouble",
      [
        "{B.poss} foot <be> (caught|stuck) in a net", "{B} <have> a thorn in {B.their} foot",
        "{B} <have> [fallen/sense=fall.drop] into a hole", "{B.poss} leg <hurt>",
      ])
    s.tell("{trouble}.")
    s.feel("B", "afraid")
    s.tellOne(of: [
      "«A say B: Do not be [afraid/emotion].//I will help you.»",
      "«B ask A: Can you help me?» «A answer: Of course I can.»",
      "«B shout: Help! Please help me!» «A say: Hush, hush.//I am here.»",
    ])
    s.tellOne(of: [
      "With careful hands {A} <set> {B.obj} free.", "{A} <take> a deep breath and <work> for a long time.",
      "First {A} <pull>, then {A.they} <push>, and at last it <be> done.",
    ])
    if s.choices.chance(50) { s.tell("{A} <wrap> a cloth around {B.names} leg and <give> {B.them} some {B.food}.") }
    s.tell(
      "«B say A: (I will never forget this.|Thank you, {A.name}.)//(One day I will help you, too.|You are [kind/sense=kind.nice].)»"
    )
    s.tell("Then {B} {B.moves} away.")
    s.go("A", to: "Q")
    s.tellOne(of: [
      "There {A} <lose> {A.their} way.", "But there {A} <slip> and <fall> into deep mud.",
      "There a [mean/trait] goat <stand> in {A.poss} way.",
    ])
    s.feel("A", "afraid")
    s.tellOne(of: [
      "Who <come> just then? It <be> {B.name}!", "Then {A} <hear> a voice that {A.they} <know>.",
      "At that moment {B.name} <come> to help.",
    ])
    s.tell("«B say A: (You helped me|You set me free), (so now I help you|and now it is my turn).» ")
    s.tell("And {B} <lead> {A.obj} safely home.")
    s.feel("A", "happy", because: "{B.name} <have> not forgotten")
    s.ending([
      "Who helps is helped.", "A [kind/sense=kind.nice] deed comes back like a ball from a wall.",
      "From then on the [two/number=2] <be+> friends.",
    ])
  }

  /// A shares what A has with those who have none; it is counted.
  static let sharing = Plot(name: "sharing") { s in
    s.castHero("A")
    s.opening()
    s.fix("n", countables)
    let given = [s.choices.index(below: 3) + 1, s.choices.index(below: 3) + 1]
    let kept = s.choices.index(below: 3) + 1
    let total = given[0] + given[1] + kept
    s.tellOne(of: [
      "{A} <have> a basket with \(numeral(total)) {n}.", "{A} <carry> \(numeral(total)) {n} in {A.their} bag.",
      "In {A.poss} pocket <be+> \(numeral(total)) {n}.",
    ])
    s.maybe(50, "{A} <be> [proud/emotion] of {them} and <count> {them} again and again.")
    s.cast("B", as: .child)
    s.cast("C", as: s.choices.chance(50) ? .adult : .animal)
    for (role, count) in zip(["B", "C"], given) {
      s.meet(role, known: false)
      s.tellOne(of: [
        "«\(role) say: What fine {n}!//I have none.»", "«\(role) ask A: May I have some of your {n}?»",
        "{\(role)} <look> at the {n} and <say> nothing.",
      ])
      s.tellOne(of: [
        "«A say \(role): Here, take \(numeral(count)).»",
        "{A} <think> for a moment and <give> {\(role).obj} \(numeral(count)).",
        "So {A} <give> {\(role).obj} \(numeral(count)) of the {n}.",
      ])
      let left = role == "B" ? total - given[0] : kept
      s.maybe(70, "Now there <be\(left == 1 ? "" : "+")> \(numeral(left)) [left/sense=left.remain].")
      s.feel(role, "happy")
    }
    s.tellOne(of: [
      "\(numeral(kept)) <be> enough for {A.obj}.", "{A} <keep> \(numeral(kept)) and <be> [content/emotion=happy].",
      "«A say: \(numeral(kept)) for me.//That is plenty.»",
    ])
    s.tellOne(of: [
      "And {B.name} and {C.name} <give+> {A.obj} {treat}.",
      "Then all [three/number=3] <sit+> down and <eat+> together.",
      "«B say A: You are the best friend in the world!»",
    ])
    s.ending([
      "Sharing makes a small heap big.", "What we give away is never lost.",
      "{A} <have> fewer {n} now, but more friends.",
    ])
  }
}
