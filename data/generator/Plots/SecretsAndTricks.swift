extension Plot {
  /// A hides something from B, who is hurt until it turns out to be a surprise.
  static let secret = Plot(name: "secret") { s in
    s.cast("A", as: .child)
    s.opening()
    s.cast("B", as: s.choices.chance(60) ? .child : .adult)
    s.cast("o", ownedBy: "B")
    s.castPlaces("Q")
    s.meet("B", known: true)
    s.tell("But {A} <have> a secret.")
    s.tellOne(of: [
      "Every (day|[evening/time]) {A} <run> to {Q} alone.", "{A} <hide> something {Q.at} and <tell> nobody.",
      "{A} <go> away early and <come> back late.",
    ])
    s.feel("B", "curious")
    s.tell("«B ask A: (Where do you go|What do you hide|What are you doing) all the time?»")
    s.tellOne(of: [
      "«A say: I cannot tell you.//Not yet.»", "{A} <smile> and <say> nothing.", "«A whisper: It is a secret.»",
    ])
    s.feel("B", s.choices.pick(["angry", "sad", "lonely"]), because: "friends <do+> not have secrets")
    s.tellOne(of: [
      "So {B} <follow> {A.obj} to {Q}.", "One day {B} <creep> after {A.obj}.",
      "{B} <wait> behind a tree and [<watch>/sense=watch.look].",
    ])
    s.paragraph()
    s.move("A", "B", to: "Q")
    s.tell("{Q.sight} There <sit> {A.name} with (glue|paint|a needle|a hammer) and {o.a}.")
    s.feel("B", "surprised")
    s.tellOne(of: [
      "«A shout: Oh, now you have seen it!//It is for you.»", "«A say B: I made it for you.//It is done now.»",
      "«B ask: Is that for me?» «A answer.happy: Who else?//It took me \(numeral(s.choices.index(below: 5) + 3)) days.»",
    ])
    s.tell("Now {B} <understand>. {B} <can> {o.use}!")
    s.feel("B", s.choices.pick(["sorry", "happy"]), because: "{A.name} <have> worked so [hard/sense=hard.much]")
    s.tellOne(of: [
      "«B say A: Forgive me.//I was wrong about you.»", "«B say: It is the finest {o.noun} in the world!»",
      "{B} <hug> {A.obj} for a long time.",
    ])
    s.ending([
      "Some secrets are [kind/sense=kind.nice] ones.", "Not all that is hidden is bad.",
      "And {B.name} never <lose> {o}.",
    ])
  }

  /// Somebody cheats A of a treat and is tricked in turn.
  static let trick = Plot(name: "trick") { s in
    s.castHero("A")
    s.opening()
    s.cast("B", as: .animal)
    s.castPlaces("Q")
    s.fix(
      "food", ["a honey cake", "a plum pie", "a round cheese", "a basket of cherries", "a jar of jam", "a warm loaf"])
    s.tell("{A} <have> {food} for {A.their} [dinner/time].")
    s.meet("B", known: false)
    s.tell("{B} <be> [hungry/emotion] and (sly|full of tricks|as clever as [ten/number=10]).")
    s.tellOne(of: [
      "«B shout: Look, {A.name}!//A cow is [flying/sense=fly.move] over {P}!»",
      "«B say A: Your shoe is open.//Bend down and look.»",
      "«B ask A: Can you keep your eyes shut and count to \(numeral(s.choices.index(below: 6) + 5))?»",
    ])
    s.tell("{A} (<look>|<do> it|<believe> it), and (whoosh|snap|in a wink), {food} <be> gone!")
    s.tell("{B} {B.moves} away and <eat> it {Q.at}.")
    s.feel("A", s.choices.pick(["angry", "sad", "surprised"]), because: "{B.name} <have> tricked {A.them}")
    s.tell("Then {A} <have> a [bright/sense=bright.clever] idea.")
    s.paragraph()
    s.tellOne(of: [
      "{A} <fill> a box with stones and <write> FOOD on it.", "{A} <bake> a pie with [ten/number=10] spoons of pepper.",
      "{A} <paint> a stone until it <look> like {food}.",
    ])
    s.tell("The next day {A} <carry> it to {Q}.")
    s.move("A", "B", to: "Q")
    s.tellOne(of: [
      "«A say: What a fine meal!//I will just close my eyes for a moment.»",
      "«A say B: Please do not touch my dinner.//I must go away now.»",
    ])
    s.tell("{B} <can> not wait. {B} <take> a big bite. (Ouch|Oh dear|Ow)!")
    s.tellOne(of: [
      "{B.poss} teeth <hurt+> for a week.", "Water <run> from {B.names} eyes.", "What a face {B.they} <make>!",
    ])
    s.tell("«A ask.happy B: Does it taste good?»")
    s.feel("B", "sorry")
    s.tellOne(of: [
      "«B say A: I will never steal again.//I am sorry.» And {A} <give> {B.obj} {treat}.",
      "«B say: That was a good trick.//Teach it to me!» Then {they} both <laugh+>.",
      "«B say.sad: You are [right/sense=right.correct].//I was bad to you.»",
    ])
    s.ending([
      "Who tricks others is soon tricked.", "After that {B.name} always <ask> first.",
      "And the [two/number=2] <share+> many meals after that.",
    ])
  }
}
