extension Plot {
  /// A loses something, searches in two places and gets it back.
  static let lost = Plot(name: "lost") { s in
    s.castHero("A")
    s.cast("o", ownedBy: "A")
    s.opening()
    s.castPlaces("Q", "R")
    s.cast("B", as: s.choices.chance(50) ? .child : .animal)
    s.tellOne(of: [
      "{A} <love> {A.their} {o.noun}, {o.a}, and <like> to {o.use}.",
      "{A} <have> {o.a} and <like> to {o.use}.", "{A.poss} dearest treasure <be> {o.a}.",
    ])
    s.tell("But (today|now|that day) {o} <be> gone.")
    s.feel("A", "sad", because: "{o.it} <be> a gift from {A.poss} (mother|father|aunt)")
    if s.choices.chance(40) { s.tell("{A} <look> {P.spot}, but {o} <be> not there.") }
    s.meet("B", known: s.choices.chance(40))
    s.tellOne(of: [
      "«B ask: What is wrong, {A.name}?» «A answer.sad: I have lost {o.my}.//It was {o.a}.»",
      "«A ask B: Have you seen {o.my}?//It is {o.a}.» «B say: No, but I will help you look.»",
      "«B ask A: Why are you so [sad/emotion]?» «A say: {o.my} is gone!»",
    ])
    s.tell("«B say: (Let us look|We could look|Maybe it is) {Q.at}(.|, {A.name}.)»")
    s.go("A", "B", to: "Q")
    s.tell("{they} <look+> {Q.spot}, but there <be> (nothing|only a [nail/sense=nail.metal]|only an old shoe).")
    if s.choices.chance(50) {
      s.feel("A", "tired")
      s.tell("«B say: Do not give up!//(Think. Where were you yesterday?|There is one more place.)»")
    } else {
      s.tell("«A ask: Where was I yesterday?//(Oh, I know!|Now I remember!)»")
    }
    s.go("A", "B", to: "R")
    s.tellOne(of: [
      "And there, {R.spot}, <lie> {o.full}!", "{B} <look> {R.spot} and <find> {o.full}.",
      "Something <shine> {R.spot}. It <be> {o.poss}!",
    ])
    s.feel("A", "happy")
    s.tellOne(of: [
      "«A say B: Thank you!//You are a true friend.»", "«A shout: Hooray!//You have found {o.my}!»",
      "{A} <hug> {B.name} and <hold> {o} tight.",
    ])
    s.ending([
      "A friend who helps to search is worth more than [ten/number=10] things.",
      "After that, {A} always <put> {o} back in its place.", "{A} never [<leave>/sense=left.remain] {o} alone again.",
    ])
  }

  /// A finds something and gives it back to its owner.
  static let found = Plot(name: "found") { s in
    s.castHero("A")
    s.opening()
    s.castPlaces("Q")
    s.cast("C", as: s.choices.chance(50) ? .adult : .child)
    s.cast("o", ownedBy: "C")
    s.tellOne(of: [
      "{P.spot}, {A} <find> {o.a}.", "Something <lie> {P.spot}. It <be> {o.a}.",
      "{A} <see> {o.a} {P.spot}, and nobody <be> near.",
    ])
    s.feel("A", "curious")
    s.tell("«A ask: Whose {o.noun} is this?» But nobody <answer>.")
    s.tellOne(of: [
      "{A} <want> to keep {o.it}. It <will> be fun to {o.use}.",
      "{A} <think> that now it <be> {A.theirs}. But <be> that [right/sense=right.correct]?",
      "{A} <put> {o} into {A.their} bag, but {A.their} heart <be> heavy.",
    ])
    s.go("A", to: "Q")
    s.characters["C"]?.place = "Q"
    s.tell("There <sit> {C.intro}. ")
    s.feel("C", "sad")
    s.tellOne(of: [
      "«A ask C: What is the matter?» «C answer.sad: I have lost {o.my}.»",
      "«C say.sad: I had {o.a}, and now it is gone.»",
    ])
    let finder = s.genderName(of: "A")
    s.tellOne(of: [
      "«A ask C: Is this {o.your}?//I found it {P.at}.»",
      "{A} <show> {o} and <ask>, \"[[Is it yours?/speaker_gender=\(finder)]/quotation=inside]\"",
      "{A} <know> at once that the {o.noun} <be> {C.theirs}.",
    ])
    s.give("o", to: "C")
    s.feel("C", s.choices.pick(["happy", "surprised"]), because: "{o} <be> back")
    s.tellOne(of: [
      "«C say A: You are an honest soul.//Take {treat} as thanks.»",
      "«C say: Thank you, {A.name}!//Not everyone would do that.»",
      "{C} <give> {A.obj} {treat} and a big hug.",
    ])
    s.feel("A", s.choices.pick(["proud", "happy"]))
    s.ending([
      "To give back what we find makes [two/number=2] hearts [light/sense=light.weight].",
      "It is [right/sense=right.correct] to ask whose a thing is.",
    ])
  }
}
