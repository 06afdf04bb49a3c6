/// Passages that any plot may use.
extension StoryWriter {
  /// Introduces A at place P.
  func opening() {
    fixCommonWords()
    castPlaces("P", outdoors: true)
    let season = choices.pick(seasons)
    words["season"] = season
    let weather = choices.pick(weathersOfSeason)
    move("A", to: "P")
    let introductions = [
      "Once there <be> {A.intro}.", "{A.intro} <live> near {P}.", "This is the story of {A.intro}.",
      "Not far from {P} <live> {A.intro}.",
      "In a house at the end of the road <live> {A.intro}.",
    ]
    switch choices.index(weights: [3, 2, 2]) {
    case 0:
      tellOne(of: introductions)
      maybe(60, "{A} <be> (very|rather|always) {A.trait}(.|, and everybody <know> it.| and [kind/sense=kind.nice].)")
      tell("One {time} in \(season), {A} <be> {P.at}.")
      if choices.chance(60) { tell(weather) }
    case 1:
      tell(weather)
      tell("{A.intro} (<sit>|<stand>|<wait>) {P.at}.")
    default:
      tell("One {time} in \(season), {A.intro} (<go>|<come>|<walk>) to {P}.")
      if choices.chance(50) { tell(weather) }
    }
    if choices.chance(45) { tell("{P.sight}") }
    if choices.chance(80) { aside() }
  }

  /// The kinds of weather that the season of the story knows.
  var weathersOfSeason: [Weather] { weathers.filter { $0.name != "snow" || words["season"] == "winter" } }

  private func tell(_ weather: Weather) {
    tellOne(of: weather.openings)
    if choices.chance(35) { tellOne(of: weather.effects) }
  }

  /// A sentence or two beside the plot.
  func aside() {
    switch choices.index(weights: [3, 3, 2]) {
    case 0: vignette()
    case 1: tellOne(of: observations)
    default: tellOne(of: musings)
    }
  }

  /// `first` and `second` chat about this and that.
  func chat(_ first: String, _ second: String) {
    let swapped = choices.chance(50)
    let (x, y) = swapped ? (second, first) : (first, second)
    tell(
      choices.pick(smallTalk).replacing("{X", with: "{" + x).replacing("{Y", with: "{" + y)
        .replacing("«X", with: "«" + x).replacing("«Y", with: "«" + y)
        .replacing(" X: ", with: " \(x): ").replacing(" Y: ", with: " \(y): "))
  }

  /// Says how `role` feels, perhaps why (a clause after "because"), perhaps how it shows.
  func feel(_ role: String, _ name: String, because reason: String? = nil) {
    guard let feeling = feelings[name] else { preconditionFailure("no feeling is called \(name)") }
    let word = choices.pick(feeling.adjectives)
    let adjective = (word.contains(" ") ? "" : "(2*|very |so )") + "[\(word)/emotion=\(name)]"
    let sign = choices.pick(feeling.signs).replacing("{X", with: "{" + role)
    let cause = reason.map { ", because " + $0 } ?? ""
    switch choices.index(weights: [3, 2, 2]) {
    case 0: tell("{\(role)} (2*<be>|<feel>) \(adjective)\(cause).")
    case 1: tell("[\(sign)/emotion=\(name)]. {\(role)} <be> \(adjective)\(cause).")
    default: tell("[\(sign)/emotion=\(name)]\(cause).")
    }
  }

  /// Walks one or two characters to another place.
  func go(_ roles: String..., to place: String) {
    paragraph()
    let first = roles[0]
    if roles.count > 1 {
      let second = roles[1]
      tellOne(of: [
        "{\(first).name} and {\(second).name} <go+> to {\(place)}.", "Together {they} <go+> to {\(place)}.",
        "So {they} <walk+> to {\(place)}, {\(first).name} in front and {\(second).name} behind.",
        "{they} <run+> all the way to {\(place)}.",
      ])
    } else if characters[first]?.species != nil, choices.chance(60) {
      tell("(So|Then|At once) {\(first)} {\(first).moves} to {\(place)}.")
    } else {
      tellOne(of: [
        "{\(first)} <go> to {\(place)}.", "So {\(first)} <walk> to {\(place)}.", "Then {\(first)} <run> to {\(place)}.",
        "{\(first)} <take> the path to the [left/sense=left.side] and <come> to {\(place)}.",
      ])
    }
    for role in roles { characters[role]?.place = place }
    if roles.count > 1 { move(roles[0], roles[1], to: place) } else { move(first, to: place) }
    if choices.chance(50) { tell("{\(place).sight}") }
    if choices.chance(60) {
      if roles.count > 1, choices.chance(60) { chat(roles[0], roles[1]) } else { aside() }
    }
  }

  /// Brings in a second character where A is.
  func meet(_ role: String, known: Bool) {
    let place = characters["A"]?.place ?? "P"
    characters[role]?.place = place
    if known {
      tellOne(of: [
        "{A.poss} best friend <be> {\(role).intro}.", "{A} <have> a friend, {\(role).intro}.",
        "{\(role).intro} <be> {A.poss} friend.",
      ])
    } else {
      tellOne(of: [
        "Just then {\(role).intro} <come> along.", "There {A} <meet> {\(role).intro}.",
        "{\(role).intro} <look> over the fence.", "Soon {\(role).intro} <come> by.",
      ])
    }
    if characters[role]?.species != nil { maybe(40, "{\(role)} (3*{\(role).sound}|{\(role).sound} (twice|softly)).") }
    if choices.chance(40) { chat("A", role) }
  }

  /// Something small that happens; most use a word in one of its senses.
  private func vignette() {
    let outdoors = characters["A"]?.place.flatMap { places[$0]?.outdoors } ?? true
    let told = words["vignette"]
    let fitting = vignettes.filter { ($0.anywhere || outdoors) && $0.text != told }
    let chosen = choices.pick(fitting).text
    words["vignette"] = chosen
    tell(chosen)
  }

  /// Rounds the story off.
  func ending(_ lessons: [String]) {
    if choices.chance(40) { aside() }
    paragraph()
    if choices.chance(50) { tellOne(of: lessons) }
    tellOne(of: [
      "In the [evening/time] {A} <go> home and <sleep> well.",
      "That [night/time] {A} <dream> of {P}.",
      "When the [sun/weather] <go> down, {A} <be> in bed, [tired/emotion] and [happy/emotion].",
      "And from that day on, {A} often <think> of it.",
      "[Stars/time=night] <shine+> over {P}, and all <be> well.",
      "The moon <rise>, and {A} <fall> asleep.",
      "And that is the end of the story.",
    ])
  }
}
