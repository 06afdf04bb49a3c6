extension Plot {
  /// It is B's birthday and A has no present.
  static let birthday = Plot(name: "birthday") { s in
    s.castHero("A")
    s.opening()
    s.cast("B", as: s.choices.chance(60) ? .child : .animal)
    s.meet("B", known: true)
    let age = s.choices.index(below: 6) + 4
    s.tell("(Today|On this day|The next day) {B} <be> \(numeral(age)) years old. It <be> {B.poss} birthday!")
    s.feel("A", s.choices.pick(["sad", "sorry"]), because: "{A.they} <have> no [present/sense=present.gift]")
    s.castPlaces("Q")
    s.cast("o", ownedBy: "A")
    let way = s.choices.index(below: 3)
    s.go("A", to: "Q")
    switch way {
    case 0:
      s.tell("There {A} <find> some wood and <make> {o.a} out of it.")
    case 1:
      s.cast("C", as: .adult)
      s.meet("C", known: false)
      s.tell("«C say A: I have {o.a}.//Help me carry these sacks, and it is yours.»")
      s.tell(
        "{A} <carry> \(numeral(s.choices.index(below: 6) + 3)) sacks, until {A.their} back <hurt>. Then {o} <be> {A.theirs}."
      )
    default:
      s.tell("«A say: I could give away my own {o.noun}.» It <be> {o.a}, and {A} <love> to {o.use}.")
      s.tell(
        "It <be> not easy, but {A} <wrap> {o} in [\(s.choices.pick(["red", "blue", "yellow", "green"]))/color] paper.")
    }
    s.go("A", to: "P")
    s.tell("All the guests <be+> there. On the cake <burn+> \(numeral(age)) candles.")
    s.tellOne(of: [
      "«A say B: Happy birthday!//This is for you.»", "{A} <give> {B.obj} {o.a}.",
      "«B ask A: What is in there?» «A answer: Open it!»",
    ])
    s.give("o", to: "B")
    s.feel("B", s.choices.pick(["happy", "surprised"]), because: "{B.they} <have> always wanted to {o.use}")
    s.tellOne(of: [
      "«B say A: It is the best [present/sense=present.gift] of all!»",
      "{B} <can> not stop looking at {B.their} new {o.noun}.",
      "«B shout: Look, everybody!//Look at {o.my}!»",
    ])
    s.tell("Then {they} <eat+> {treat} and <dance+> until (late|[midnight/time=night]|the music <stop>).")
    s.feel("A", "happy", because: "{B.name} <be> [happy/emotion]")
    s.ending(["To give is as good as to get.", "The best [presents/sense=present.gift] come from the heart."])
  }

  /// A and B fight over a thing and make up.
  static let quarrel = Plot(name: "quarrel") { s in
    s.castHero("A")
    s.opening()
    s.cast("B", as: s.choices.chance(65) ? .child : .animal)
    s.meet("B", known: true)
    s.cast("o", ownedBy: nil)
    s.castPlaces("Q")
    s.tellOne(of: [
      "{P.spot} {they} <find+> {o.a}.", "One day {they} <get+> {o.a}, [one/number=1] for both of {them}.",
      "{they} <see+> {o.a} lying {P.spot}.",
    ])
    s.tellOne(of: [
      "«A shout: It is mine!» «B shout.angry: No, it is mine!»",
      "«A say B: I saw it first.» «B answer: But I touched it first!»",
      "Both <want+> to {o.use}, and both <pull+> at {o.it}.",
    ])
    s.feel(s.choices.pick(["A", "B"]), "angry")
    s.tellOne(of: [
      "«B say.angry A: You are not my friend any more.»", "«A shout: Go away!//I do not want to see you again.»",
      "{A} <say> a bad word, and {B.name} <say> a worse [one/antecedent=thing].",
    ])
    let holder = s.choices.pick(["A", "B"])
    let other = holder == "A" ? "B" : "A"
    s.give("o", to: holder)
    s.tell("So {\(holder)} <take> {o} and <go> away, and {\(other).name} <stay> behind.")
    s.paragraph()
    s.move(holder, to: "Q")
    s.tell("Now {\(holder)} <sit> {Q.at} with {o.poss}.")
    s.feel(holder, s.choices.pick(["lonely", "sad"]), because: "there <be> nobody to play with")
    s.tellOne(of: [
      "Alone it <be> no fun to {o.use}.", "{\(holder)} <think> of all the good days with {\(other).name}.",
      "Even {o} <look> sad now.",
    ])
    s.maybe(60, "Meanwhile {\(other).name} <sit> {P.at} and <be> [sorry/emotion], too.")
    s.go(holder, to: "P")
    s.tellOne(of: [
      "«\(holder) say \(other): I am sorry.//A {o.noun} is only a {o.noun}, but you are my friend.»",
      "«\(other) say: I was wrong.» «\(holder) say: So was I.//Let us be friends again.»",
      "For a while neither <say> a word. Then both <say+> at once, \"[[I am sorry!/speaker_gender=both]/quotation=inside]\"",
    ])
    s.tellOne(of: [
      "From now on {o} <belong> to both. On [one/number=1] day it <be> {A.theirs}, and on the next it <be> {B.theirs}.",
      "«\(other) ask: Shall we {o.use} together?» «\(holder) answer.happy: Yes, let us!»",
      "{they} <give+> {o} to a child who <have> nothing.",
    ])
    s.feel("A", "happy")
    s.ending([
      "A friend is worth more than a {o.noun}.", "Who says sorry first is the braver [one/antecedent=thing].",
      "It <be> the last time that {they} <fight+> over a thing.",
    ])
  }
}
