extension Plot {
  /// The weather spoils a plan; shelter turns out better.
  static let weatherChange = Plot(name: "weather") { s in
    s.castHero("A")
    s.opening()
    s.cast("B", as: s.choices.chance(60) ? .child : .animal)
    s.meet("B", known: true)
    s.castPlaces("Q", outdoors: true)
    s.castPlaces("R", outdoors: false)
    s.fix("plan", ["have a picnic", "fly kites", "look for berries", "play ball", "build a hut", "paint a picture"])
    s.tellOne(of: [
      "{they} <want+> to {plan} {Q.at}.", "«A ask B: Shall we {plan} {Q.at} today?» «B shout.happy: Oh yes!»",
      "All week long {they} <have+> planned to {plan} {Q.at}.",
    ])
    s.maybe(50, "{A} <bring> {treat}, and {B.name} <bring> {treat}.")
    s.go("A", "B", to: "Q")
    s.feel(s.choices.pick(["A", "B"]), "happy")
    let change = s.choices.pick(s.weathersOfSeason.filter { $0.name != "sun" })
    s.words["time"] = "[day/time]"
    s.tell("But then the weather <change>. \(change.effects[0]) \(s.choices.pick(Array(change.effects[1...])))")
    s.tellOne(of: [
      "«A say.sad: Now we cannot {plan} in \(change.phrase).»",
      "«B shout: Oh no, \(change.phrase)!//Our plan is spoiled.»",
      "«B ask A: What shall we do in \(change.phrase)?»",
    ])
    s.tell(
      "«\(s.choices.pick(["A", "B"])) say: (I know a place.|Quick!|Come with me!)//(We can hide|It is dry and warm) {R.at}.»"
    )
    s.go("A", "B", to: "R")
    s.tellOne(of: [
      "Inside, {they} <tell+> stories about (ghosts|kings|pirates|giants).",
      "There {they} <play+> hide and seek {R.spot}.",
      "There {they} <sing+> songs until {their} throats <be+> dry.", "{they} <find+> an old drum and <make+> music.",
    ])
    s.tellOne(of: [
      "«B say A: This is better than our plan!»", "«A say.happy: I am almost glad about \(change.phrase).»",
      "{they} <laugh+> so much that {they} <forget+> the weather.",
    ])
    s.tell("When {they} <look+> out again, (the [sun/weather] <shine>|the sky <be> [clear/weather=sun]|all <be> over).")
    s.feel("A", s.choices.pick(["happy", "surprised", "tired"]))
    s.ending([
      "A spoiled plan can be the start of a better [one/antecedent=thing].",
      "There is no bad weather for good friends.", "Next time {they} <will> bring umbrellas.",
    ])
  }

  /// A seed is planted, waited for, and gives fruit to share.
  static let seed = Plot(name: "seed") { s in
    s.cast("A", as: .child)
    s.opening()
    s.cast("C", as: .adult)
    s.meet("C", known: false)
    s.fix("plant", ["bean", "pumpkin", "sunflower", "[rose/sense=rose.flower]", "cherry", "melon"])
    s.tellOne(of: [
      "«C say A: Here is a {plant} seed.//Plant it and wait.»", "{C} <give> {A.obj} a tiny {plant} seed.",
      "«C ask A: Do you know what sleeps in this {plant} seed?»",
    ])
    s.tell("{A} <dig> a hole {P.spot}, <put> the seed in and <give> it water.")
    let days = s.choices.index(below: 4) + 2
    s.paragraph()
    s.tell("(Every [morning/time]|Each day) {A} <come> to look. For \(numeral(days)) days there <be> nothing.")
    s.feel("A", s.choices.pick(["sad", "angry"]), because: "nothing <grow>")
    s.tellOne(of: [
      "«A ask C: Is my seed dead?» «C answer: No.//Good things need time.»",
      "«A say: It is [hard/sense=hard.difficult] to wait!» «C say: That is [right/sense=right.correct].//But wait all the same.»",
      "«C say A: A seed does not hear when you scold it.»",
    ])
    s.tell("Then there <be> [rain/weather], and (after the [rain/weather] |then )the [sun/weather].")
    s.tellOne(of: [
      "And on the next day a [green/color] tip <look> out of the ground!",
      "And see, there <be> [two/number=2] tiny [green/color] [leaves/sense=leaves.plant]!",
      "And suddenly something [green/color] <stand> there.",
    ])
    s.feel("A", s.choices.pick(["surprised", "happy"]))
    let height = s.choices.pick(["knee", "belt", "nose", "hat"])
    s.tell("It <grow> and <grow> until it <reach> up to {A.poss} \(height).")
    let fruit = s.choices.index(below: 6) + 3
    s.paragraph()
    s.tell("In the [fall/sense=fall.season] {A} <count> \(numeral(fruit)) (fine|big|sweet) (fruits|ones) on it.")
    s.cast("B", as: s.choices.chance(50) ? .child : .animal)
    s.tellOne(of: [
      "{A} <give> [one/number=1] to {C.name} and [one/number=1] to {B.intro} next door, and \(numeral(fruit - 2)) <be\(fruit == 3 ? "" : "+")> [left/sense=left.remain].",
      "«A say C: The first [one/number=1] is yours.» «C say.proud: You have learned to wait.»",
      "{A.poss} friend {B.name} <get> the biggest [one/number=1].",
    ])
    s.feel("A", "proud", because: "{A.they} <have> waited so long")
    s.ending([
      "Who can wait gets the sweetest fruit.",
      "And {A} <keep> [one/number=1] seed for the next [spring/sense=spring.season].",
    ])
  }
}
