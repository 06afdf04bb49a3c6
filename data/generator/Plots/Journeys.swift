extension Plot {
  /// A carries something to C through several places.
  static let journey = Plot(name: "journey") { s in
    s.castHero("A")
    s.opening()
    s.cast("B", as: s.choices.chance(50) ? .child : .animal)
    s.cast("C", as: .adult)
    s.cast("o", ownedBy: "C")
    s.castPlaces("Q", "R", "S")
    s.meet("B", known: true)
    let writer = s.genderName(of: "C")
    s.tellOne(of: [
      "[One/number=1] day a [letter/sense=letter.mail] <come> from {C.name}. \"[[Please bring me {o.my},/speaker_gender=\(writer)]/quotation=inside]\" it <say>.",
      "{A.poss} mother <give> {A.them} {o.a} for {C.name}, who <live> far away.",
      "«A say B: I must bring {o.a} to {C.name}.//Will you come with me?» «B answer.happy: I will!»",
    ])
    let steps = [("Q", 60), ("R", 60)]
    var event = 0
    for (place, _) in steps {
      s.go("A", "B", to: place)
      let events = [
        "A [rock/sense=rock.stone] <block> the way. {they} <push+> until it <roll> aside.",
        "A guard <stop> {them}. «B say: We are friends of {C.name}.» So {they} <can+> pass.",
        "{A} <be> [hungry/emotion], and {they} <eat+> {treat}.",
        "{B} <fall> and <hurt> {B.their} knee, but {A.name} <help> {B.them} up.",
        "There <be> [two/number=2] roads. «A say: [Left/sense=left.side] is [wrong/sense=wrong.false].//We go [right/sense=right.side].»",
        "{they} <cross+> a stream on \(numeral(s.choices.index(below: 5) + 3)) stones.",
        "An old woman <ask> the way to {P}, and {they} <show+> her.",
        "It <get> so [cold/sense=cold.weather] that {they} <run+> to keep warm.",
      ]
      var index = s.choices.index(below: events.count - (event == 0 ? 0 : 1))
      if event > 0, index >= event - 1 { index += 1 }
      event = index + 1
      s.tell(events[index])
      s.feel(s.choices.pick(["A", "B"]), s.choices.pick(["tired", "curious", "happy", "afraid"]))
      s.maybe(50, "«B ask A: Is it still far?» «A answer: (Not far now|Only a little more|Behind the next hill).»")
    }
    s.go("A", "B", to: "S")
    s.tell("And there at last <stand> {C.intro}.")
    s.tellOne(of: [
      "«A say C: We bring you {o}.»", "{A} <hold> out {o}. «A say: This is yours.»",
      "{A} <put> {o} into {C.names} hands.",
    ])
    s.feel("C", s.choices.pick(["happy", "surprised"]))
    s.tell("«C say: You have come so far!//(Sit down and rest.|Now I can be [happy/emotion].)»")
    s.tell("{they} <eat+> {treat}, and {C.name} <tell> of {C.their} (youth|travels|garden).")
    s.feel("A", "proud", because: "the way <be> so long")
    s.ending([
      "A long way is short with a good friend.", "The way back <be> much shorter.",
      "Who wants to see the world must take the first step.",
    ])
  }

  /// A and B race; one of them stops to help.
  static let contest = Plot(name: "contest") { s in
    s.castHero("A")
    s.opening()
    s.cast("B", as: s.choices.chance(50) ? .child : .animal)
    s.cast("C", as: .animal)
    s.cast("o", ownedBy: nil)
    s.castPlaces("Q", outdoors: true)
    s.meet("B", known: true)
    s.tellOne(of: [
      "«B say A: I am faster than you!» «A shout: No, I am!»", "«A ask B: Who can run faster, you or I?»",
      "Both <want+> to be the fastest.",
    ])
    s.tell("«\(s.choices.pick(["A", "B"])) say: Let us race to {Q}.//Who wins gets {o.a}.»")
    s.tell("[One/number=1], [two/number=2], [three/number=3], and off {they} <go+>!")
    let leader = s.choices.pick(["A", "B"])
    let other = leader == "A" ? "B" : "A"
    s.tell(
      "{\(leader)} <be> in front from the start, and {\(other).name} <be> \(numeral(s.choices.index(below: 6) + 4)) steps behind."
    )
    s.tellOne(of: [
      "Halfway there <lie> {C.intro}, who <have> hurt {C.their} leg.",
      "Suddenly somebody <call> for help. It <be> {C.intro}.",
    ])
    s.tell("«C say.sad: Please stop!//I cannot walk.»")
    s.tell(
      "{\(leader)} (<run> on|<do> not stop|<look> away and <run> on). But {\(other).name} <stop> and <help> {C.obj}.")
    s.paragraph()
    s.move("A", "B", "C", to: "Q")
    s.tell("So {\(leader).name} <win> and <get> {o.a}.")
    s.give("o", to: leader)
    s.feel(leader, s.choices.pick(["proud", "happy"]))
    s.tell("But then {\(other).name} <come> with {C.name}, and all <clap+> for {\(other).obj}.")
    s.feel(leader, s.choices.pick(["sorry", "surprised"]), because: "nobody <look> at {o}")
    s.tellOne(of: [
      "«\(leader) say \(other): You are the true winner.//{o} is yours.»", "{\(leader)} <give> {o} to {\(other).name}.",
      "«\(leader) say: I should have stopped, too.//I am sorry, {C.name}.»",
    ])
    s.tellOne(of: [
      "«C say \(other): You have a good heart.»", "And {C} <eat> {C.their} fill of {C.food}.",
      "«\(other) say: We can share it.//Let us {o.use} together.»",
    ])
    s.ending([
      "To help is better than to win.", "The [second/number=2] place can be the first.",
      "And the next race {they} <run+> side by side.",
    ])
  }
}
