extension Plot {
  /// A is afraid of something and, with B's help, overcomes it.
  static let fear = Plot(name: "fear") { s in
    s.castHero("A")
    s.opening()
    s.cast("B", as: s.choices.chance(35) ? .adult : s.choices.chance(60) ? .child : .animal)
    let terrors: [(place: String, what: String, deed: String)] = [
      ("cave", "the dark", "go in"), ("lake", "deep water", "swim across"),
      ("bridge", "the high bridge", "walk over it"),
      ("hill", "high places", "climb up"), ("forest", "the shadows between the trees", "walk through"),
      ("barn", "the [bats/sense=bat.animal] in the barn", "look up at them"),
      ("library", "speaking before people", "read a poem aloud"),
    ].filter { $0.place != s.places["P"]?.name }
    let terror = s.choices.pick(terrors)
    s.places["Q"] = allPlaces.first { $0.name == terror.place }
    s.tellOne(of: [
      "{A} <be> [afraid/emotion] of [one/number=1] thing: \(terror.what).",
      "There <be> only [one/number=1] thing that {A} <fear>, and that <be> \(terror.what).",
      "Nobody <know> that {A} <be> [scared/emotion=afraid] of \(terror.what).",
    ])
    s.meet("B", known: s.choices.chance(60))
    s.tellOne(of: [
      "«B say: Come with me to {Q}!»", "«B ask A: Will you come with me to {Q}?»",
      "«B say A: I must go to {Q}.//Come along!»",
    ])
    s.feel("A", "afraid")
    s.tellOne(of: [
      "«A whisper: I cannot.//I am [afraid/emotion] of \(terror.what).»", "«A say.afraid: No, please!//Not there.»",
      "{A} <want> to say no, but no word <come> out.",
    ])
    s.tellOne(of: [
      "«B say A: I was [afraid/emotion], too, when I was small.//Hold on to me.»",
      "«B say: Being brave means being [afraid/emotion] and going all the same.»",
      "«B answer: Then we go slowly.//[One/number=1] step, and then the next.»",
    ])
    s.go("A", "B", to: "Q")
    s.tellOne(of: [
      "{A} <take> [one/number=1] step. Then {A} <take> another.",
      "{A} <hold> on to {B.name} and <close> {A.their} eyes.",
      "{A} <count>: [one/number=1], [two/number=2], [three/number=3]. Then {A.they} <begin>.",
    ])
    s.maybe(50, "Something <crack>. {A} <want> to run, but {A.they} <stay>.")
    s.tellOne(of: [
      "And then it <be> done! {A} <have> dared to \(terror.deed).", "And see, it <be> not so bad to \(terror.deed).",
      "«A shout.happy: I did it!//I dared to \(terror.deed)!»",
    ])
    s.feel("A", "proud", because: "{A.they} <be> stronger than {A.their} fear")
    s.tell(
      "«B say A: (I knew you could do it.|Well done, {A.name}!)//(Shall we do it again?|I am [proud/emotion] of you.)»")
    s.maybe(60, "«A say: Again, please!»")
    s.ending([
      "Fear is like a shadow: it grows small when one walks up to it.", "Who is [afraid/emotion] can still be brave.",
      "Now {A} <help> others who <be+> [afraid/emotion].",
    ])
  }

  /// A is lost at night, until a light shows the way.
  static let nightLight = Plot(name: "night") { s in
    s.castHero("A")
    s.opening()
    s.castPlaces("Q", outdoors: true)
    s.cast("C", as: s.choices.chance(50) ? .adult : .animal)
    s.cast("o", ownedBy: "C")
    s.tell("{A} <be> on {A.their} way home (from a visit|from school|with a full basket).")
    s.go("A", to: "Q")
    s.tellOne(of: [
      "Soon it <be> [night/time], and there <be> no moon.", "It <get> [dark/time=night] fast.",
      "The last [light/sense=light.day] of the day <be> gone.",
    ])
    s.tell(
      "{A} <go> to the [left/sense=left.side], then to the [right/sense=right.side], but every way <look> the same.")
    s.feel("A", s.choices.pick(["afraid", "lonely", "tired"]))
    s.maybe(60, "An owl <hoot>. {A} <jump>.")
    s.tell(
      "Then, far away, {A} <see> a (tiny|warm|[yellow/color]) [light/sense=light.lamp]. It (<move>|<rock>|<swing>) to and fro."
    )
    s.tellOne(of: [
      "Step by step {A} <walk> toward it.", "{A} <run> as fast as {A.they} <can>.",
      "«A shout: Hello! Is anybody there?»",
    ])
    s.tell("It <be> {C.intro} with a lantern and {o.a}.")
    s.tellOne(of: [
      "«C ask A: Who are you, and where do you live?» «A answer: I am {A.name}, and I live near {P}.»",
      "«C say A: You look [tired/emotion], {A.name}.//Come and get warm.»",
      "«A say: I have lost my way.» «C say: Then I will show you.»",
    ])
    s.tell("{C} <give> {A.obj} {treat} and <tell> {A.them} about {o.poss}.")
    s.paragraph()
    s.tell("Then {C} <lead> {A.obj} home along the [bank/sense=bank.river] of the river.")
    s.tellOne(of: [
      "At the door {A.poss} mother <wait>. «A shout: Here I am!»",
      "{A.poss} father <stand> at the gate with open arms.",
      "Soon {A} <be> back {P.at}.",
    ])
    s.characters["A"]?.lastMention = nil  // "he" might be the father by now
    s.move("A", "C", to: "P")
    s.feel("A", "happy", because: "{A.they} <be> [safe/sense=safe.secure]")
    s.ending([
      "A small [light/sense=light.lamp] is enough in a big [night/time].",
      "Since then {A} always <put> a [light/sense=light.lamp] in the window, for others.",
    ])
  }
}
